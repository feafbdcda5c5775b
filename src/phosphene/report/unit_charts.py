"""The answers of a unit to all images of a survey, as charts and tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from phosphene.report.chart import Bin, histogram
from phosphene.report.html import number
from phosphene.report.page import Bar, Chart, Column, Section, Table
from phosphene.studies.evidence.crops import PatchCrop
from phosphene.studies.unit_evidence import UnitEvidence
from phosphene.survey.store.run import Patch, Run

CLASSES = 8
"""Classes that a page names."""


def charts(found: UnitEvidence) -> tuple[Chart, ...]:
    """The histogram of the strongest answers in each image, and that of answers at places.

    Args:
        found: the evidence; its strongest patches are marked.
    """
    top = [shot.patch.activation for shot in found.top]
    title, told = "Strongest answer in each image", f"the {len(top)} patches shown above"
    images = Chart(title, histogram(bins(found, "image", top), "activation", "images", title=title, mark=told))
    if found.vector:
        return (images,)
    title = "Answers at sampled places"
    return images, Chart(title, histogram(bins(found, "place"), "activation", "places", title=title))


def bins(found: UnitEvidence, of: Literal["image", "place"], marked: Sequence[float] = ()) -> list[Bin]:
    """A histogram of the survey; its outermost bins, which have no end, end where the activations do.

    Args:
        found: whose.
        of: images, by their strongest answer, or places.
        marked: activations to count apart.
    """
    values, (lows, highs, totals) = np.array(marked), found.run.histogram(found.layer, found.channel, of)
    ends = (
        np.where(np.isinf(lows), np.minimum(found.facts["min"], 2 * highs), lows),
        np.where(np.isinf(highs), np.maximum(found.facts["max"], 2 * lows), highs),
        totals,
    )
    return [
        Bin(low, high, total, int(((values >= low) & (values < high)).sum()))
        for low, high, total in zip(*(each.tolist() for each in ends), strict=True)
    ]


def classes(found: UnitEvidence) -> Section:
    """The classes that a unit tells best from the others.

    Args:
        found: the evidence.
    """
    text = (
        "μ is the mean, over the images of a class, of the strongest answer in each, ρ that over all other images. "
        "Selectivity is (μ − ρ) / (|μ| + |ρ|); d′ is μ − ρ in standard deviations within the two groups."
    )
    if not any(found.run.images["label"]):
        text = f"The images have no labels: a class here is what the network itself predicted. {text}"
    shown = {name: column[:CLASSES].tolist() for name, column in found.classes.items()}
    most = max(0.0, found.classes["mean_max"].max())
    bars = [Bar(max(0.0, mean) / most if most else 0.0, number(mean)) for mean in shown["mean_max"]]
    measures = ([value if math.isfinite(value) else None for value in shown[name]] for name in _MEASURES)
    rows = tuple(zip(shown["class"], bars, shown["images"], *measures, strict=True))
    head = tuple(map(Column, ("Class", "Mean of the strongest answers, μ", "Images")))
    head += tuple(Column(title, decimals=2) for title in _MEASURES.values())
    caption = f"The most selective of {number(len(found.classes['class']))} classes"
    single = "Each of these classes has a single image, so this ranks images rather than classes."
    return Section("Classes", text, tables=(Table(caption, head, rows),), notes=(single,) * (max(shown["images"]) < 2))


def sources(found: UnitEvidence) -> Table:
    """Where the strongest patches are from, one row each.

    Args:
        found: the evidence.
    """
    images = found.run.images
    told = [name for name in _TOLD if any(images[name])]
    rows = tuple(
        (
            place + 1,
            patch.activation,
            Path(found.run.source(patch.image)).name,
            *(images[name][patch.image] or None for name in told),
            f"{patch.row}, {patch.column}",
            region(patch),
        )
        for place, (patch, _) in enumerate(found.top)
    )
    heads = ("Patch", "Activation", "Image", *(_TOLD[name] for name in told), "Row, column", "Pixels of the photograph")
    return Table("The strongest patches", tuple(map(Column, heads)), rows)


def listed(run: Run, shots: Sequence[PatchCrop]) -> list[dict[str, Any]]:
    """Patches as a manifest tells of them."""
    return [
        {
            "image": patch.image,
            "source": run.source(patch.image),
            "activation": patch.activation,
            "row": patch.row,
            "column": patch.column,
            "box": list(patch.box),
        }
        for patch, _ in shots
    ]


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values that JSON can hold: None for what is not finite.

    >>> plain({"max": 2.0, "d_prime": float("nan")})
    {'max': 2.0, 'd_prime': None}
    """
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in values.items()
    }


def named(run: Run, number: int) -> str:
    """The file of an image, and its label where it has one."""
    name, label = Path(run.source(number)).name, run.images["label"][number]
    return f"{name} ({label})" if label else name


def region(patch: Patch) -> str:
    """The box of a patch in words."""
    top, left, bottom, right = (round(edge) for edge in patch.box)
    return f"rows {top} to {bottom}, columns {left} to {right}"


_MEASURES = {"selectivity": "Selectivity", "d_prime": "d′"}
_TOLD = {"label": "Label", "prediction": "Predicted"}
