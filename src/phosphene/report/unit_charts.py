"""The activations of a unit over all images of a survey, as charts and tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from phosphene.report.chart import Bin, histogram
from phosphene.report.html import number
from phosphene.report.page import Bar, Chart, Column, PageTable, Section
from phosphene.studies.unit_evidence import CLASSES, UnitEvidence
from phosphene.survey.store.patch import Patch
from phosphene.survey.store.run import Run


def charts(evidence: UnitEvidence) -> tuple[Chart, ...]:
    """The histogram of the strongest activation in each image, and that of activations at places.

    Args:
        evidence: of the unit; its strongest patches are marked.
    """
    top = [patch.patch.activation for patch in evidence.top]
    title, mark = "Strongest activation in each image", f"the {len(top)} patches shown above"
    images = Chart(title, histogram(bins(evidence, "image", top), "activation", "images", title=title, mark=mark))
    if evidence.vector:
        return (images,)
    title = "Activations at sampled places"
    return images, Chart(title, histogram(bins(evidence, "place"), "activation", "places", title=title))


def bins(evidence: UnitEvidence, of: Literal["image", "place"], marked: Sequence[float] = ()) -> list[Bin]:
    """A histogram of the survey; its outermost bins, which are open, end where the activations end.

    Args:
        evidence: of the unit.
        of: images, by their strongest activation, or places.
        marked: activations to count apart.
    """
    values, (lows, highs, totals) = np.array(marked), evidence.run.histogram(evidence.layer, evidence.channel, of)
    columns = (
        np.where(np.isinf(lows), np.minimum(evidence.row["min"], 2 * highs), lows),
        np.where(np.isinf(highs), np.maximum(evidence.row["max"], 2 * lows), highs),
        totals,
    )
    return [
        Bin(low, high, total, int(((values >= low) & (values < high)).sum()))
        for low, high, total in zip(*(column.tolist() for column in columns), strict=True)
    ]


def classes(evidence: UnitEvidence) -> Section:
    """The classes that a unit is most selective for.

    Args:
        evidence: of the unit.
    """
    text = (
        "μ is the mean, over the images of a class, of the strongest activation in each, ρ that over all other images. "
        "Selectivity is (μ − ρ) / (|μ| + |ρ|); d′ is μ − ρ in standard deviations within the two groups."
    )
    if not any(evidence.run.images["label"]):
        text = f"The images have no labels: a class here is what the network itself predicted. {text}"
    shown = {name: column[:CLASSES].tolist() for name, column in evidence.classes.items()}
    largest = max(0.0, evidence.classes["mean_max"].max())
    bars = [Bar(max(0.0, mean) / largest if largest else 0.0, number(mean)) for mean in shown["mean_max"]]
    measures = ([value if math.isfinite(value) else None for value in shown[name]] for name in _MEASURES)
    rows = tuple(zip(shown["class"], bars, shown["images"], *measures, strict=True))
    head = tuple(map(Column, ("Class", "Mean of the strongest activations, μ", "Images")))
    head += tuple(Column(title, decimals=2) for title in _MEASURES.values())
    caption = f"The most selective of {number(len(evidence.classes['class']))} classes"
    single = "Each of these classes has a single image, so this ranks images rather than classes."
    return Section(
        "Classes", text, tables=(PageTable(caption, head, rows),), notes=(single,) * (max(shown["images"]) < 2)
    )


def sources(evidence: UnitEvidence) -> PageTable:
    """Where the strongest patches are from, one row each.

    Args:
        evidence: of the unit.
    """
    images = evidence.run.images
    labels = [name for name in _LABELS if any(images[name])]
    rows = tuple(
        (
            rank,
            patch.activation,
            Path(evidence.run.source(patch.image)).name,
            *(images[name][patch.image] or None for name in labels),
            f"{patch.row}, {patch.column}",
            box_text(patch),
        )
        for rank, (patch, _) in enumerate(evidence.top, 1)
    )
    columns = ("Patch", "Activation", "Image", *(_LABELS[name] for name in labels), "Row, column")
    return PageTable("The strongest patches", tuple(map(Column, (*columns, "Pixels of the photograph"))), rows)


def image_name(run: Run, number: int) -> str:
    """The file of an image, and its label where it has one."""
    name, label = Path(run.source(number)).name, run.images["label"][number]
    return f"{name} ({label})" if label else name


def box_text(patch: Patch) -> str:
    """The box of a patch in words."""
    top, left, bottom, right = (round(edge) for edge in patch.box)
    return f"rows {top} to {bottom}, columns {left} to {right}"


_MEASURES = {"selectivity": "Selectivity", "d_prime": "d′"}
_LABELS = {"label": "Label", "prediction": "Predicted"}
