"""One map as a figure, with its method, target, cost and known weakness; and the best classes as a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from phosphene.attribution import Attribution, Heatmap
from phosphene.core.networks.network import Prediction
from phosphene.report.heatmap_views import views
from phosphene.report.html import number
from phosphene.report.page import Bar, Column, Figure, Link, PageTable
from phosphene.studies.evidence.map_scores import MapScores


def figure(heatmap: Heatmap, index: int = 0, *, scores: MapScores | None = None, file: str = "") -> Figure:
    """One map with its method, target, layer, values, cost, how to read it, and its known weakness.

    Args:
        heatmap: that holds the map.
        index: of the image in the batch.
        scores: what was measured of it.
        file: path of its raw values, relative to the page; "" where they are not written.
    """
    method, count = heatmap.method, len(heatmap.images)
    low, high = heatmap.values[index].min().item(), heatmap.values[index].max().item()
    facts: list[tuple[str, str | Link]] = [
        ("Method", spelled(method)),
        ("Target", str(heatmap.target)),
        ("Layer", heatmap.layer or "the pixels"),
        ("Target value", f"{number(heatmap.scores[index].item())} {heatmap.target.unit}"),
        ("Values", f"{number(low)} … {number(high)}"),
        ("Cost", str(heatmap.cost) + (f", for {count} pictures" if count > 1 else "")),
    ]
    if file:
        facts.append(("Raw values", Link(Path(file).name, file)))
    measured = (scores.sentence, *scores.notes) if scores else ()
    notes = (*filter(None, measured), *heatmap.notes)
    return Figure(heatmap.name, views(heatmap, index), tuple(facts), method.reading, method.weakness, notes)


def predicted(predictions: Sequence[Prediction]) -> PageTable:
    """The best classes with their probabilities as bars."""
    rows = tuple((best.label, Bar(best.probability, percent(best.probability)), best.logit) for best in predictions)
    return PageTable("Best classes", (Column("Class"), Column("Probability"), Column("Logit", decimals=2)), rows)


def percent(share: float) -> str:
    """A share for reading.

    >>> percent(0.391), percent(0.004), percent(0.00001)
    ('39 %', '0.4 %', '< 0.1 %')
    """
    return (
        "< 0.1 %"
        if 0 < share < 0.001
        else f"{share:.1%}".replace("%", " %")
        if share < 0.01
        else f"{share * 100:.0f} %"
    )


def spelled(method: Attribution) -> str:
    """A method with its options.

    >>> spelled(GradCAM(layer="features.5"))
    'grad-cam (layer features.5, rectify yes)'
    """
    given = {name: value for name, value in method.manifest().items() if name != "name" and value is not None}
    options = [f"{name} {('no', 'yes')[value] if isinstance(value, bool) else value}" for name, value in given.items()]
    return f"{method.name} ({', '.join(options)})" if options else str(method.name)
