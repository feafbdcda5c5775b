"""The page of the units of a layer: a wall of tiles and a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from phosphene.report.figures import percent
from phosphene.report.html import FOOTER, number
from phosphene.report.page import Bar, Cell, Column, Mosaic, Page, PageTable, Section, View
from phosphene.report.pages import page
from phosphene.report.thumbnails import small
from phosphene.report.unit_charts import box_text, image_name
from phosphene.studies.ranked_units import RankedUnits


@page.register
def ranked_units_page(result: RankedUnits) -> Page:
    """The page of the units of a layer."""
    return Page(
        result.layer,
        result.lines()[0],
        (("Survey", f"{number(len(result.run.images['ok']))} images, {result.run.folder.name}"),),
        (
            Section(
                "Units",
                "Each by its strongest patches, cut at the receptive field from the original files; below it the "
                "number of the unit. A dead unit has the same value everywhere, and no picture.",
                mosaics=(Mosaic("", tuple(_tile(result, row) for row in result.rows)),),
            ),
            Section("In numbers", tables=(_table(result),)),
        ),
        FOOTER,
    )


def _table(result: RankedUnits) -> PageTable:
    """The units shown; a value that none of them has gets no column."""
    rows = tuple(_cells(result.layer, row) for row in result.rows)
    known = [column for column in range(len(_HEAD)) if any(row[column] is not None for row in rows)]
    cells = tuple(tuple(row[column] for column in known) for row in rows)
    return PageTable(f"Units of {result.layer}", tuple(_HEAD[column] for column in known), cells)


def _cells(layer: str, row: Mapping[str, Any]) -> tuple[Cell, ...]:
    share = row["places_positive"] / row["places"] if row["places"] else 0.0
    return (
        f"{layer}:{row['channel']}", row.get("class") or None, row.get("selectivity"),
        row.get("d_prime"), row["max"], row["mean"], Bar(share, percent(share)), row["dead"],
    )  # fmt: skip


def _tile(result: RankedUnits, row: Mapping[str, Any]) -> View:
    channel = row["channel"]
    name, patches = f"{result.layer}:{channel}", result.patches.get(channel, ())
    if not patches:
        why = "dead" if row["dead"] else "no activation"
        return View(f"{channel}\n{why}", result.tile(channel), f"{name}: {why}.")
    label = f"{channel}\n{row.get('class') or ''}".strip()
    first = patches[0].patch
    image = image_name(result.run, first.image)
    alt = f"{name}: activation {number(first.activation)} in {image}, {box_text(first)}."
    return View(label, small(result.tile(channel)), alt)


_HEAD = (
    Column("Unit"), Column("Class"), Column("Selectivity", decimals=2), Column("d′", decimals=2),
    Column("Greatest"), Column("Mean", "over all places"), Column("Places above zero"), Column("Dead"),
)  # fmt: skip
