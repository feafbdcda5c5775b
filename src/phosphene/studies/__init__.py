"""Studies: questions put together. One file is one figure of a paper; a `Study` is also a command of its own."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from phosphene.studies.study import Study


def registered() -> Mapping[str, type[Study]]:
    """The studies by name, from every file of this folder and from plugins.

    The files are imported here and not with the package: together they take a second, and most verbs need one of them.

    >>> "deconvnet-check" in registered()
    True
    """
    from phosphene.studies.study import Study  # noqa: PLC0415

    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return Study.table
