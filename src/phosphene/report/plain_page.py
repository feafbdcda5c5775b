"""The page of a result that has none of its own: its pictures, lines, facts and files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from phosphene.core.images.image import Uint8Image
from phosphene.core.result import Result
from phosphene.report.html import FOOTER
from phosphene.report.page import Cell, Column, Facts, Figure, Link, Page, PageTable, Section, View
from phosphene.report.thumbnails import thumbnail

WIDTH = 640
"""Longer side of a picture, in pixels."""

LONGEST = 200
"""Characters of a value that is neither a number nor a row of a table."""


def plain_page(result: Result) -> Page:
    """Everything that a result of any verb can show.

    Args:
        result: of any verb.
    """
    target = str(getattr(result, "target", ""))
    return Page(
        f"{result.verb}: {target}" if target else result.verb,
        " ".join(line if line.endswith(".") else f"{line}." for line in result.lines()),
        provenance(result),
        tuple(_sections(result)),
        FOOTER,
    )


def provenance(result: Result) -> Facts:
    """The network, the photographs, the options and the cost of a result."""
    facts: list[tuple[str, str | Link]] = []
    if result.network is not None:
        sha256 = result.network.sha256
        facts += [("Network", result.network.name), ("Weights", weights_text(sha256))]
    facts += [
        ("Picture", f"{picture.path or picture.name}, {picture.width} × {picture.height}") for picture in result.inputs
    ]
    facts += [(name, _text(value)) for name, value in result.options.items()]
    return (*facts, ("Cost", str(result.cost)))


def weights_text(sha256: str) -> str:
    """The first digits of a hash of weights.

    >>> weights_text("0123456789abcdef"), weights_text("")
    ('SHA-256 0123456789ab…', 'not from a file')
    """
    return f"SHA-256 {sha256[:12]}…" if sha256 else "not from a file"


def _sections(result: Result) -> Iterator[Section]:
    figures = tuple(_figure(result, number, pixels) for number, pixels in enumerate(result.pictures(), 1))
    if figures or result.notes:
        yield Section("Pictures" if figures else "Notes", figures=figures, notes=result.notes)
    if tables := tuple(_tables(result.facts())):
        yield Section("In numbers", tables=tables)
    if rows := tuple((Link(file.path, file.path), str(file.kind)) for file in result.files()):
        yield Section("Files", tables=(PageTable("Beside this page", (Column("File"), Column("Kind")), rows),))


def _figure(result: Result, number: int, pixels: Uint8Image) -> Figure:
    """A picture, as a JPEG unless it is transparent."""
    small = thumbnail(pixels, WIDTH) if pixels.shape[-1] == 3 else pixels
    title = f"{result.verb} {number}"
    return Figure(title, (View("picture", small, f"Picture {number} of {result.verb}."),))


def _tables(facts: Mapping[str, Any]) -> Iterator[PageTable]:
    """One table of the single values, and one for each list of rows."""
    single = tuple((name, _cell(value)) for name, value in facts.items() if not _is_rows(value))
    if single:
        yield PageTable("Values", (Column("Name"), Column("Value")), single)
    for name, rows in facts.items():
        if _is_rows(rows):
            columns = tuple(dict.fromkeys(column for row in rows for column in row))
            cells = tuple(tuple(_cell(row.get(column)) for column in columns) for row in rows)
            yield PageTable(name, tuple(map(Column, columns)), cells)


def _is_rows(value: object) -> bool:
    return isinstance(value, Sequence) and bool(value) and all(isinstance(row, Mapping) for row in value)


def _cell(value: object) -> Cell:
    value = _short(value)
    return value if value is None or isinstance(value, int | float) else _text(value)


def _short(value: object) -> object:
    """Numbers to four digits, and a list of one value as that value."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, list | tuple):
        return _short(value[0]) if len(value) == 1 else [_short(member) for member in value]
    return value


def _text(value: object) -> str:
    value = _short(value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
