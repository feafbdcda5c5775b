"""The page of each kind of result: one file for each, found here by the class of the result.

A file of this folder decorates its function with `page.register`; a result without a page of its own gets the plain
one.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil

from phosphene.core.result import Result
from phosphene.report.page import Page
from phosphene.report.plain_page import plain_page


@functools.singledispatch
def page(result: Result) -> Page:
    """The page of a result, by its class or the nearest class above it.

    Args:
        result: of any verb.
    """
    return plain_page(result)


for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
