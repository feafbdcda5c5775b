"""The scores of maps as a table, and deletion and insertion as curves."""

from __future__ import annotations

from collections.abc import Mapping

from markupsafe import Markup

from phosphene.attribution.evaluate.deletion import Curves
from phosphene.report.chart import Series, line_chart
from phosphene.report.page import Cell, Chart, Column, PageTable
from phosphene.studies.evidence.map_scores import MapScores, curve_unit


def comparison(scores: Mapping[str, MapScores], caption: str = "Scores of the maps") -> PageTable:
    """The scores of several maps in one table; a score that no map has gets no column.

    Args:
        scores: name of the map → what was measured.
        caption: of the table.

    >>> table = comparison({"grad-cam": MapScores(sanity=0.03), "gradient": MapScores(sanity=0.1)})
    >>> [column.title for column in table.columns], table.rows[0]
    (['Map', 'Sanity'], ('grad-cam', 0.03))
    """
    units = " or ".join(sorted({measured.unit for measured in scores.values()}))
    columns = {
        "deletion": Column("Deletion", f"area under the {units}; lower is better", 2),
        "insertion": Column("Insertion", f"area under the {units}; higher is better", 2),
        "sanity": Column(
            "Sanity", "rank correlation with the map when half of the weights are random; near 0 is better", 2
        ),
        "pointing": Column("Pointing", "share of the map in the cell of its class; higher is better", 2),
    }
    used = [name for name in columns if any(getattr(measured, name) is not None for measured in scores.values())]
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (name, *(getattr(measured, score) for score in used)) for name, measured in scores.items()
    )
    return PageTable(caption, (Column("Map"), *(columns[name] for name in used)), rows)


def charts(curves: Mapping[str, tuple[Curves, Curves]], index: int = 0) -> tuple[Chart, ...]:
    """The deletion curves of several maps in one chart, their insertion curves in another.

    Args:
        curves: name of the map → deletion and insertion.
        index: of the image in the batch.
    """
    if not curves:
        return ()
    deletions, insertions = ({name: pair[i] for name, pair in curves.items()} for i in (0, 1))
    return (
        Chart(
            "Deletion",
            _draw(deletions, index, "removed"),
            "The sooner a curve falls, the better its map knows which pixels the network needs.",
        ),
        Chart(
            "Insertion",
            _draw(insertions, index, "shown"),
            "The sooner a curve rises, the better its map knows which pixels suffice.",
        ),
    )


def _draw(curves: Mapping[str, Curves], index: int, done: str) -> Markup:
    first = next(iter(curves.values()))
    unit = curve_unit(first)
    series = [
        Series(name, tuple(zip(curve.shares.tolist(), curve.values[unit][index].tolist(), strict=True)))
        for name, curve in curves.items()
    ]
    y_range = (0.0, 1.0) if unit == "probability" else None
    title = first.kind.capitalize()
    return line_chart(series, f"share of the pixels {done}", f"{unit} of {first.target}", title=title, y_range=y_range)
