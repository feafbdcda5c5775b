"""Docstrings end with an example that runs, without a heading; the site shows it as code under "Examples:"."""

from __future__ import annotations

from typing import Any

import griffe


class Doctests(griffe.Extension):
    """Puts the lines from the first `>>>` on under "Examples:"."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite one docstring, in memory."""
        if obj.docstring is not None:
            obj.docstring.value = sectioned(obj.docstring.value)


def sectioned(docstring: str) -> str:
    r"""The docstring with its example in a section.

    >>> sectioned("Sum.\n\n>>> 1 + 1\n2")
    'Sum.\n\nExamples:\n    >>> 1 + 1\n    2'
    """
    lines = docstring.splitlines()
    start = next((number for number, line in enumerate(lines) if line.startswith(">>>")), len(lines))
    indented = [f"    {line}".rstrip() for line in lines[start:]]
    return "\n".join([*lines[:start], *(["Examples:", *indented] if indented else [])])
