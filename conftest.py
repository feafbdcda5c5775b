"""What every doctest may use: a tiny network, two images, and the public names."""

from __future__ import annotations

from typing import Any

import pytest

import nets
import phosphene as ph


@pytest.fixture(autouse=True)
def _doctest_names(doctest_namespace: dict[str, Any]) -> None:
    doctest_namespace.update({name: getattr(ph, name) for name in ph.__all__})
    doctest_namespace.update(ph=ph, tiny=nets.build("gap"), images=nets.pictures())
