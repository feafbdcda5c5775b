"""What every doctest may use: a tiny network, two images, and the public names; and plugins for the laws."""

from __future__ import annotations

from typing import Any

import pytest

import nets
import phosphene as ph
from phosphene.core import user_code


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take plugins: the laws then hold for what they register, too."""
    parser.addoption("--plugin", action="append", default=[], metavar="FILE.py")


def pytest_configure(config: pytest.Config) -> None:
    """Run the plugins before the tests are collected."""
    for path in config.getoption("--plugin"):
        user_code.plugin(path)


@pytest.fixture(autouse=True)
def _doctest_names(doctest_namespace: dict[str, Any]) -> None:
    doctest_namespace.update({name: getattr(ph, name) for name in ph.__all__})
    doctest_namespace.update(ph=ph, tiny=nets.build("gap"), images=nets.pictures())
