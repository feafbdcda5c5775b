"""The units of a layer in an order, the first of them with their strongest patches."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from phosphene.core.errors import OptionError, did_you_mean
from phosphene.core.images import drawing
from phosphene.core.images.image import Uint8Image
from phosphene.core.result import File, Result
from phosphene.core.table import Table
from phosphene.studies.evidence.crops import PatchCrop
from phosphene.studies.evidence.selection import strongest_crops
from phosphene.studies.evidence.tables import UNIT_COLUMNS, plain, require_columns
from phosphene.studies.evidence.tiles import fit_square
from phosphene.survey.store.run import Run

UnitOrder = Literal["selectivity", "max", "mean", "sparsity", "index"]

ORDERS: Mapping[UnitOrder, str] = {
    "selectivity": "the most selective first",
    "max": "by the strongest activation",
    "mean": "by the mean activation",
    "sparsity": "those that are active at the fewest places first",
    "index": "by number",
}

TILE = 96
"""Side of a tile on the wall, in pixels."""


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class RankedUnits(Result):
    """The units of a layer in an order, the first of them with their strongest patches.

    Args:
        run: the survey.
        layer: whose units.
        sort: what they are ordered by.
        units: rows of the table of units, in that order.
        top: how many of them are shown.
        patches: channel → its strongest patches; none for a dead unit.
    """

    verb: str = "units"

    run: Run
    layer: str
    sort: UnitOrder
    units: Table
    top: int
    patches: Mapping[int, tuple[PatchCrop, ...]]

    @property
    def rows(self) -> tuple[dict[str, Any], ...]:
        """The units shown, as plain values; None for what is not known."""
        columns = {name: column[: self.top].tolist() for name, column in self.units.items()}
        rows = (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))
        return tuple(map(plain, rows))

    def tile(self, channel: int) -> Uint8Image:
        """The strongest patch of a unit, or several in a square; light grey where there is none."""
        crops = [crop for _, crop in self.patches.get(channel, ())]
        if len(crops) < 2:
            return crops[0] if crops else np.full((TILE, TILE, 3), 238, np.uint8)
        columns = math.isqrt(len(crops) - 1) + 1
        return drawing.grid([fit_square(crop, 2 * TILE // columns) for crop in crops], columns, gap=2)

    def wall(self, columns: int = 8) -> Uint8Image:
        """The tiles of the units shown, uint8 (H, W, 3), each below the number of its unit.

        Args:
            columns: tiles in a row.
        """
        channels = [row["channel"] for row in self.rows]
        tiles = [fit_square(self.tile(channel), TILE) for channel in channels]
        return drawing.grid(tiles, columns, gap=6, labels=[str(channel) for channel in channels])

    def files(self) -> Iterator[File]:
        """The wall."""
        yield File.picture("wall.png", self.wall(), layer=self.layer)

    def facts(self) -> Mapping[str, Any]:
        """The rows, and the network that the survey names."""
        return {"model": self.run.record["model"], "units": list(self.rows)}

    def pictures(self) -> Sequence[Uint8Image]:
        """The wall."""
        return (self.wall(),)

    def lines(self) -> tuple[str, ...]:
        """Which units are shown, and in what order."""
        count, dead = len(self.units["channel"]), int(self.units["dead"].sum())
        shown = f"{self.top} of {count:,} units" if self.top < count else f"{count:,} units"
        order = ORDERS[self.sort]
        if self.sort == "selectivity" and np.isnan(self.units["selectivity"]).all():
            order = "by number: no class has two images, so none of them can be called selective"
        return (f"{shown} of {self.layer}, {order}. {dead:,} of all {'is' if dead == 1 else 'are'} dead.",)


def ranked_units(
    run: Run, layer: str, sort: UnitOrder = "selectivity", *, top: int = 64, patches: int = 1
) -> RankedUnits:
    """The units of a layer in an order, dead ones last.

    Args:
        run: a finished survey.
        layer: whose units.
        sort: descending by selectivity, max or mean; sparsity begins with the units active at the fewest places; index.
        top: how many units are shown with patches.
        patches: how many of each.

    Raises:
        LayerError: no such layer in the survey.
        OptionError: no such order.
        RunError: the survey recorded too little.
    """
    if sort not in get_args(UnitOrder):
        raise OptionError(f"units cannot be sorted by {sort!r}; {did_you_mean(sort, get_args(UnitOrder))}")
    units = run.units(layer)
    require_columns(units, UNIT_COLUMNS | ({sort} if sort == "selectivity" else set()))
    last = units["dead"] & (sort != "index")
    key = _key(units, sort)
    order = np.lexsort((units["channel"], key, np.isnan(key), last))
    units = units.take(order)
    shown = units["channel"][:top][~units["dead"][:top]].tolist()
    return RankedUnits(
        run=run,
        layer=layer,
        sort=sort,
        units=units,
        top=min(top, len(units["channel"])),
        patches={channel: strongest_crops(run, layer, channel, patches) for channel in shown},
        options={"survey": str(run.folder), "layer": layer, "sort": sort, "top": top, "patches": patches},
    )


def _key(units: Table, sort: UnitOrder) -> npt.NDArray[np.float64]:
    """What rises in the order asked for; NaN where it is not known."""
    if sort == "index":
        return units["channel"].astype(np.float64)
    if sort == "sparsity":
        return np.asarray(units["places_positive"] / np.where(units["places"], units["places"], np.nan))
    return -units[sort].astype(np.float64)
