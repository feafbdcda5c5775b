"""How far to believe each map: what was measured of it, as words, a table and curves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from markupsafe import Markup

from phosphene.attribution.evaluate.deletion import Curves
from phosphene.attribution.evaluate.pointing import PointingGame
from phosphene.attribution.evaluate.sanity import Sanity
from phosphene.report.chart import Series, line_chart
from phosphene.report.html import number
from phosphene.report.page import Cell, Chart, Column, Table

INSENSITIVE, SENSITIVE = 0.5, 0.2
"""Rank correlations with the map of random weights above which a map says little of the weights, below which much."""


@dataclass(frozen=True)
class Scores:
    """What was measured of a map; None for what was not.

    Args:
        deletion: area under the curve while the strongest pixels disappear; lower is better.
        insertion: area under the curve while the strongest pixels appear; higher is better.
        sanity: rank correlation with the map when the upper half of the weights is random; near 0 is better.
        pointing: share of the map in the cell that shows its class, in [0, 1]; higher is better.
        unit: of the two areas.
        notes: what was met on the way.
    """

    deletion: float | None = None
    insertion: float | None = None
    sanity: float | None = None
    pointing: float | None = None
    unit: str = "probability"
    notes: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        curves: tuple[Curves, Curves] | None = None,
        sanity: Sanity | None = None,
        pointing: PointingGame | None = None,
        *,
        index: int = 0,
    ) -> Self:
        """The scores of one image of a batch.

        Args:
            curves: deletion and insertion.
            sanity: its last stage counts, by the magnitudes of the values.
            pointing: the game that the method played.
            index: which image.
        """
        unit = _unit(curves[0]) if curves else "probability"
        falls, rises = (each.areas[unit][index].item() for each in curves) if curves else (None, None)
        left = sanity.absolute[-1, index].item() if sanity else None
        blank = bool(left == 0 and sanity and sanity.notes)  # sanity counts a map without ranks as 0: here it is none
        notes = (
            ("No sanity score: with half of the weights random the map is blank, or it was before.",) if blank else ()
        )
        return cls(falls, rises, None if blank else left, pointing.mean if pointing else None, unit, notes)

    @property
    def verdict(self) -> str:
        """What the sanity score says, in a sentence; "" where there is none."""
        if self.sanity is None:
            return ""
        if abs(self.sanity) >= INSENSITIVE:
            means = "the map stays much the same, so it says little of what the network has learned"
        elif abs(self.sanity) <= SENSITIVE:
            means = "the map is another one, as it should be"
        else:
            means = "part of the map stays"
        return f"Measured here, sanity score {number(self.sanity, 2)}: with half of the weights random {means}."


def comparison(scores: Mapping[str, Scores], caption: str = "Scores of the maps") -> Table:
    """The scores of several maps in one table; what was measured of none has no column.

    Args:
        scores: name of the map → what was measured.
        caption: of the table.

    >>> table = comparison({"grad-cam": Scores(sanity=0.03), "gradient": Scores(sanity=0.1)})
    >>> [column.title for column in table.columns], table.rows[0]
    (['Map', 'Sanity'], ('grad-cam', 0.03))
    """
    units = " or ".join(sorted({each.unit for each in scores.values()}))
    columns = {
        "deletion": Column("Deletion", f"area under the {units}; lower is better", 2),
        "insertion": Column("Insertion", f"area under the {units}; higher is better", 2),
        "sanity": Column(
            "Sanity", "rank correlation with the map when half of the weights are random; near 0 is better", 2
        ),
        "pointing": Column("Pointing", "share of the map in the cell of its class; higher is better", 2),
    }
    used = [name for name in columns if any(getattr(each, name) is not None for each in scores.values())]
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (name, *(getattr(each, field) for field in used)) for name, each in scores.items()
    )
    return Table(caption, (Column("Map"), *(columns[name] for name in used)), rows)


def charts(curves: Mapping[str, tuple[Curves, Curves]], index: int = 0) -> tuple[Chart, ...]:
    """The deletion curves of several maps in one chart, their insertion curves in another.

    Args:
        curves: name of the map → deletion and insertion.
        index: which image of the batch.
    """
    if not curves:
        return ()
    falls, rises = ({name: pair[i] for name, pair in curves.items()} for i in (0, 1))
    return (
        Chart(
            "Deletion",
            _drawn(falls, index, "removed"),
            "The sooner a curve falls, the better its map knows which pixels the network needs.",
        ),
        Chart(
            "Insertion",
            _drawn(rises, index, "shown"),
            "The sooner a curve rises, the better its map knows which pixels suffice.",
        ),
    )


def _drawn(curves: Mapping[str, Curves], index: int, done: str) -> Markup:
    first = next(iter(curves.values()))
    unit = _unit(first)
    series = [
        Series(name, tuple(zip(each.shares.tolist(), each.values[unit][index].tolist(), strict=True)))
        for name, each in curves.items()
    ]
    y_range = (0.0, 1.0) if unit == "probability" else None
    title = first.way.capitalize()
    return line_chart(series, f"share of the pixels {done}", f"{unit} of {first.target}", title=title, y_range=y_range)


def _unit(curves: Curves) -> str:
    return "probability" if "probability" in curves.values else next(iter(curves.values))
