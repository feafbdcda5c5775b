"""A page as plain values: `Page` → `Section` → `Figure`, `PageTable`, `Chart`; independent of what is reported."""

from __future__ import annotations

import base64
import urllib.parse
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from phosphene.core.images import image
from phosphene.core.images.preprocess import Box

Pixels = bytes | NDArray[np.uint8]
"""A whole PNG or JPEG file, or uint8 (H, W, 3) or (H, W), which becomes a PNG."""


@dataclass(frozen=True)
class Link:
    """A link to a file beside the page.

    Args:
        text: of the link.
        href: a relative path, as the file system spells it.

    >>> Link("map", "why cat?/grad-cam.npy").url
    './why%20cat%3F/grad-cam.npy'
    """

    text: str
    href: str

    @property
    def url(self) -> str:
        """The path as a link holds it; it can name no host and no scheme."""
        return "./" + urllib.parse.quote(self.href.lstrip("/"))


@dataclass(frozen=True)
class Bar:
    """A share, drawn as a bar and written beside it.

    Args:
        share: length, in [0, 1].
        text: such as "39 %".
    """

    share: float
    text: str


Cell = str | int | float | bool | None | Link | Bar
Facts = tuple[tuple[str, str | Link], ...]
"""Pairs of a term and its value."""


@dataclass(frozen=True, eq=False)
class View:
    """One view of a figure, such as its overlay or the raw map.

    Args:
        label: what the switch between the views calls it.
        image: the picture.
        alt: text alternative; never empty.
        legend: what its colors mean.
        boxes: rectangles to draw on it, in its pixels, each with its name.
    """

    label: str
    image: Pixels
    alt: str
    legend: Legend | None = None
    boxes: tuple[tuple[str, Box], ...] = ()

    def __post_init__(self) -> None:
        assert self.alt.strip(), f"the picture {self.label!r} needs a text alternative"

    @cached_property
    def encoded(self) -> bytes:
        """The file that is embedded."""
        return self.image if isinstance(self.image, bytes) else image.encode_png(self.image)

    @cached_property
    def size(self) -> tuple[int, int]:
        """Width and height, in pixels."""
        pixels = image.load(self.image).pixels if isinstance(self.image, bytes) else self.image
        return pixels.shape[1], pixels.shape[0]

    @property
    def uri(self) -> str:
        """The picture as a data URI."""
        kind = "png" if self.encoded.startswith(b"\x89PNG") else "jpeg"
        return f"data:image/{kind};base64,{base64.b64encode(self.encoded).decode()}"


@dataclass(frozen=True, eq=False)
class Legend:
    """What the colors of a picture mean.

    Args:
        strip: the colors from low to high, as one wide picture.
        ticks: values along it at equal distances, the first and the last at its ends.
        unit: of those values.
    """

    strip: Pixels
    ticks: tuple[str, ...]
    unit: str

    @property
    def view(self) -> View:
        """The strip with its text alternative."""
        return View("scale", self.strip, f"Color scale, {' to '.join(self.ticks)}, in {self.unit}.")


@dataclass(frozen=True, eq=False)
class Figure:
    """A picture with its origin, how to read it, and its known weakness.

    Args:
        title: its heading.
        views: ways to see it, the first one shown.
        facts: method, target, layer, cost.
        reading: one sentence on how to read it.
        weakness: one sentence on its known weakness.
        notes: choices and warnings.
        href: page that the heading leads to, relative.
        wide: whether it takes a whole row.
    """

    title: str
    views: tuple[View, ...]
    facts: Facts = ()
    reading: str = ""
    weakness: str = ""
    notes: tuple[str, ...] = ()
    href: str = ""
    wide: bool = False

    def __post_init__(self) -> None:
        assert self.views, f"the figure {self.title!r} has no picture"

    @property
    def link(self) -> Link | None:
        """The heading as a link, where it is one."""
        return Link(self.title, self.href) if self.href else None


@dataclass(frozen=True)
class Column:
    """Head of a column.

    Args:
        title: its name.
        note: what its numbers are, such as "area under the curve; lower is better".
        decimals: of its numbers; None for three digits, whatever their size.
    """

    title: str
    note: str = ""
    decimals: int | None = None


@dataclass(frozen=True)
class PageTable:
    """Rows under named columns; the first cell of a row is its head. Numbers stand to the right, None is a dash.

    Args:
        caption: what it lists.
        columns: their heads.
        rows: cells, as many as there are columns.
        notes: below it.
    """

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        assert all(len(row) == len(self.columns) for row in self.rows), f"{self.caption}: rows and columns differ"

    @property
    def numeric(self) -> tuple[bool, ...]:
        """Which columns hold numbers."""
        return tuple(any(quantity(cell) for cell in column) for column in zip(*self.rows, strict=True)) or (
            False,
        ) * len(self.columns)


@dataclass(frozen=True)
class Chart:
    """A drawing in lines.

    Args:
        title: its heading.
        svg: as `phosphene.report.chart.line_chart` draws it.
        reading: one sentence on how to read it.
    """

    title: str
    svg: Markup
    reading: str = ""


@dataclass(frozen=True, eq=False)
class Mosaic:
    """Small pictures to be compared at a glance, each with its label below it.

    Args:
        title: its heading; "" where that of the section will do.
        tiles: the pictures, in the order in which they are read.
        columns: how many in a row, up to 6; 0 for as many as there is room for.
        reading: one sentence on how to read it.
    """

    title: str
    tiles: tuple[View, ...]
    columns: int = 0
    reading: str = ""

    def __post_init__(self) -> None:
        assert self.tiles, f"the mosaic {self.title!r} has no tiles"
        assert 0 <= self.columns <= 6, self.columns


@dataclass(frozen=True)
class Section:
    """A part of a page. One figure with tables or charts stands beside them; several stand in a grid above them.

    Args:
        title: its heading.
        text: paragraphs before the rest, parted by an empty line.
        figures: pictures.
        mosaics: small pictures, below them.
        charts: curves.
        tables: numbers.
        notes: choices and warnings.
        small: whether the figures are thumbnails.
    """

    title: str
    text: str = ""
    figures: tuple[Figure, ...] = ()
    mosaics: tuple[Mosaic, ...] = ()
    charts: tuple[Chart, ...] = ()
    tables: tuple[PageTable, ...] = ()
    notes: tuple[str, ...] = ()
    small: bool = False

    @property
    def beside(self) -> bool:
        """Whether the one figure stands beside the rest."""
        return len(self.figures) == 1 and not self.figures[0].wide and bool(self.tables or self.charts)

    @property
    def views(self) -> tuple[str, ...]:
        """Views that several of the figures share; one switch selects them in all figures."""
        shown = [view.label for figure in self.figures if len(figure.views) > 1 for view in figure.views]
        return tuple(label for label in dict.fromkeys(shown) if shown.count(label) > 1)


@dataclass(frozen=True)
class Page:
    """A whole page.

    Args:
        title: its one first heading.
        lead: the result, in a sentence or two.
        facts: network, input and cost.
        sections: its parts.
        footer: last words.
        up: page above this one.
    """

    title: str
    lead: str = ""
    facts: Facts = ()
    sections: tuple[Section, ...] = ()
    footer: str = ""
    up: Link | None = None


def quantity(cell: object) -> bool:
    """Whether a cell is a number; a bool is none."""
    return isinstance(cell, int | float) and not isinstance(cell, bool)
