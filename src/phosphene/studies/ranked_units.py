"""The units of a layer in an order."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from phosphene.core.errors import OptionError, nearest
from phosphene.studies.evidence.crops import PatchCrop
from phosphene.studies.evidence.selection import strongest_crops
from phosphene.studies.unit_evidence import NEEDED, require_columns
from phosphene.survey.store.run import Run
from phosphene.survey.store.table import Columns

Sort = Literal["selectivity", "max", "mean", "sparsity", "index"]


@dataclasses.dataclass(frozen=True, eq=False)
class RankedUnits:
    """The units of a layer in an order, the best of them with their strongest patches.

    Args:
        run: the survey.
        layer: whose units.
        sort: what they are ordered by.
        units: rows of the table of units, in that order.
        top: how many of them are shown.
        shots: channel → its strongest patches; none for a dead unit.
    """

    run: Run
    layer: str
    sort: Sort
    units: Columns
    top: int
    shots: Mapping[int, tuple[PatchCrop, ...]]


def ranked_units(run: Run, layer: str, sort: Sort = "selectivity", *, top: int = 64, patches: int = 1) -> RankedUnits:
    """The units of a layer in an order, dead ones last.

    Args:
        run: a finished survey.
        layer: whose units.
        sort: selectivity, max and mean fall; sparsity begins with the units that answer at the fewest places; index.
        top: of how many units to cut patches.
        patches: how many of each.

    Raises:
        LayerError: no such layer in the survey.
        OptionError: no such order.
        RunError: the survey kept too little.
    """
    if sort not in get_args(Sort):
        raise OptionError(f"units cannot be sorted by {sort!r}; {nearest(sort, get_args(Sort))}")
    units = run.units(layer)
    require_columns(units, NEEDED | ({sort} if sort == "selectivity" else set()))
    last = units["dead"] & (sort != "index")
    key = _key(units, sort)
    order = np.lexsort((units["channel"], key, np.isnan(key), last))
    units = {name: column[order] for name, column in units.items()}
    shown = units["channel"][:top][~units["dead"][:top]].tolist()
    top = min(top, len(units["channel"]))
    return RankedUnits(
        run, layer, sort, units, top, {unit: strongest_crops(run, layer, unit, patches) for unit in shown}
    )


def _key(units: Columns, sort: Sort) -> npt.NDArray[np.float64]:
    """What rises in the order asked for; NaN where it is not known."""
    if sort == "index":
        return units["channel"].astype(np.float64)
    if sort == "sparsity":
        return np.asarray(units["places_positive"] / np.where(units["places"], units["places"], np.nan))
    return -units[sort].astype(np.float64)
