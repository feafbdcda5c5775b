"""The units of a layer as a wall of tiles and a table."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from phosphene.core.images import drawing
from phosphene.core.images.image import Uint8Image
from phosphene.report.figures import percent
from phosphene.report.html import FOOTER, number, render, save
from phosphene.report.page import Bar, Cell, Column, Mosaic, Page, Section, Table, View
from phosphene.report.thumbnails import small, square
from phosphene.report.unit_charts import named, plain, region
from phosphene.studies.ranked_units import RankedUnits

TILE = 96
"""Side of a tile on the wall, in pixels."""

ORDERS = {
    "selectivity": "the most selective first",
    "max": "by the strongest answer",
    "mean": "by the mean answer",
    "sparsity": "those that answer at the fewest places first",
    "index": "by number",
}


@dataclasses.dataclass(frozen=True, eq=False)
class Wall:
    """The first units of a ranking as tiles, and all that is known of them in a table.

    Args:
        found: what `phosphene.studies.ranked_units.ranked` returned.
    """

    found: RankedUnits

    @property
    def page(self) -> Page:
        """The page, before it is drawn."""
        found = self.found
        return Page(
            found.layer,
            self.lead,
            (("Survey", f"{number(len(found.run.images['ok']))} images, {found.run.folder.name}"),),
            (
                Section(
                    "Units",
                    "Each by its strongest patches, cut at the receptive field from the original files; below it the "
                    "number of the unit. A dead unit has the same value everywhere, and no picture.",
                    mosaics=(Mosaic("", tuple(self._tile(row) for row in self.rows)),),
                ),
                Section("In numbers", tables=(self.table,)),
            ),
            FOOTER,
        )

    @property
    def lead(self) -> str:
        """Which units are shown, in what order."""
        found, count, dead = self.found, len(self.found.units["channel"]), int(self.found.units["dead"].sum())
        shown = f"{found.top} of {number(count)} units" if found.top < count else f"{number(count)} units"
        order = ORDERS[found.sort]
        if found.sort == "selectivity" and np.isnan(found.units["selectivity"]).all():
            order = "by number: no class has two images, so none of them can be called selective"
        return f"{shown} of {found.layer}, {order}. {number(dead)} of all {'is' if dead == 1 else 'are'} dead."

    @property
    def rows(self) -> tuple[dict[str, Any], ...]:
        """The units shown, as plain values; None for what is not known."""
        columns = {name: column[: self.found.top].tolist() for name, column in self.found.units.items()}
        rows = (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))
        return tuple(map(plain, rows))

    @property
    def table(self) -> Table:
        """The units shown; what is known of none has no column."""
        rows = tuple(map(self._cells, self.rows))
        known = [place for place in range(len(_HEAD)) if any(row[place] is not None for row in rows)]
        cells = tuple(tuple(row[place] for place in known) for row in rows)
        return Table(f"Units of {self.found.layer}", tuple(_HEAD[place] for place in known), cells)

    def _cells(self, row: Mapping[str, Any]) -> tuple[Cell, ...]:
        share = row["places_positive"] / row["places"] if row["places"] else 0.0
        return (
            f"{self.found.layer}:{row['channel']}", row.get("class") or None, row.get("selectivity"),
            row.get("d_prime"), row["max"], row["mean"], Bar(share, percent(share)), row["dead"],
        )  # fmt: skip

    def _tile(self, row: Mapping[str, Any]) -> View:
        name, shots = f"{self.found.layer}:{row['channel']}", self.found.shots.get(row["channel"], ())
        label = f"{row['channel']}\n{row.get('class') or ''}".strip()
        if not shots:
            why = "dead" if row["dead"] else "no answer"
            return View(f"{row['channel']}\n{why}", _empty(), f"{name}: {why}.")
        first = shots[0].patch
        alt = f"{name}: activation {number(first.activation)} in {named(self.found.run, first.image)}, {region(first)}."
        return View(label, small(self._pixels(row["channel"])), alt)

    def _pixels(self, channel: int) -> Uint8Image:
        """The strongest patch, or several in a square."""
        crops = [crop for _, crop in self.found.shots.get(channel, ())]
        if len(crops) < 2:
            return crops[0] if crops else _empty()
        columns = math.isqrt(len(crops) - 1) + 1
        return drawing.grid([square(each, 2 * TILE // columns) for each in crops], columns, gap=2)

    def picture(self, columns: int = 8) -> Uint8Image:
        """The wall alone, uint8 (H, W, 3), each tile below the number of its unit.

        Args:
            columns: tiles in a row.
        """
        channels = [row["channel"] for row in self.rows]
        tiles = [square(self._pixels(each), TILE) for each in channels]
        return drawing.grid(tiles, columns, gap=6, labels=[str(each) for each in channels])

    def html(self) -> str:
        """The page as one file of HTML."""
        return render(self.page)

    def save(self, folder: str | Path) -> tuple[Mapping[str, Any], ...]:
        """Write index.html and wall.png; return what a manifest says of them.

        Args:
            folder: made where it is missing.

        Raises:
            OutputError: the folder cannot be written.
        """
        return save(folder, self.page, {"wall.png": self.picture()}, {"layer": self.found.layer})


_HEAD = (
    Column("Unit"), Column("Class"), Column("Selectivity", decimals=2), Column("d′", decimals=2),
    Column("Greatest"), Column("Mean", "over all places"), Column("Places above zero"), Column("Dead"),
)  # fmt: skip


def _empty() -> Uint8Image:
    return np.full((TILE, TILE, 3), 238, np.uint8)
