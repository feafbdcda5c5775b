"""Rows of the tables of a survey, as plain values."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from phosphene.core.errors import RunError
from phosphene.studies.evidence.crops import PatchCrop
from phosphene.survey.store.run import Run

UNIT_COLUMNS = frozenset(
    "images mean_max std_max mean std max min images_positive places_positive places broken dead".split()
)
"""Columns of the table of units that the pages of units show."""


def require_columns(columns: Mapping[str, Any], names: Iterable[str]) -> None:
    """Refuse a table of units that lacks some columns.

    Raises:
        RunError: it lacks some.

    >>> require_columns({"max": 1.0}, {"max"})
    """
    if missing := set(names) - columns.keys():
        raise RunError(f"the survey kept no {', '.join(sorted(missing))}; run it again with its default accumulators")


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values that JSON can hold: None for numbers that are not finite.

    >>> plain({"max": 2.0, "d_prime": float("nan")})
    {'max': 2.0, 'd_prime': None}
    """
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in values.items()
    }


def patch_rows(run: Run, patches: Sequence[PatchCrop]) -> list[dict[str, Any]]:
    """Patches as result.json lists them."""
    return [
        {
            "image": patch.image,
            "source": run.source(patch.image),
            "activation": patch.activation,
            "row": patch.row,
            "column": patch.column,
            "box": list(patch.box),
        }
        for patch, _ in patches
    ]
