"""The page of one unit: its strongest and weakest patches, their projections, and the numbers of all images."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from phosphene.report import unit_charts
from phosphene.report.figures import percent
from phosphene.report.html import FOOTER, number
from phosphene.report.page import Facts, Mosaic, Page, Section, View
from phosphene.report.pages import page
from phosphene.report.plain_page import weights_text
from phosphene.report.thumbnails import small
from phosphene.studies.evidence.crops import PatchCrop
from phosphene.studies.unit_evidence import Level, UnitEvidence

TITLES = {"deconvnet": "Deconvnet", "guided-backprop": "Guided backprop", "gradient": "Gradient"}


@page.register
def unit_page(result: UnitEvidence) -> Page:
    """The page of one unit."""
    return Page(result.target, _lead(result), _facts(result), tuple(_sections(result)), FOOTER)


def _lead(result: UnitEvidence) -> str:
    row = result.row
    images = f"{number(row['images'])} images"
    if result.dead:
        return (
            f"This unit is dead: its activation is {number(row['max'])} at every place of all {images}, so no picture "
            "is shown."
        )
    if not row["images"]:
        broken = f": it was a NaN or an infinity in {_images(row['broken'])}" if row["broken"] else ""
        return f"No image gave a finite activation of this unit{broken}. So none is shown."
    share = percent(row["images_positive"] / row["images"])
    places = percent(row["places_positive"] / row["places"])
    lead = f"It is above zero somewhere in {share} of {images}, and at {places} of all places."
    if result.vector:
        lead = f"It is above zero in {share} of {images}."
    if row.get("class"):
        lead += f" It prefers {row['class']}: selectivity {number(row['selectivity'], 2)}, where 1 is the most."
    return lead


def _facts(result: UnitEvidence) -> Facts:
    row, vector = result.row, result.vector
    numbers = {
        "In an image" if vector else "Strongest in an image": f"{number(row['mean_max'])} ± {number(row['std_max'])}",
        "At a place": "" if vector else f"{number(row['mean'])} ± {number(row['std'])}",
        "Range": f"{number(row['min'])} … {number(row['max'])}",
        "Images above zero": percent(row["images_positive"] / max(1, row["images"])),
        "Places above zero": "" if vector else percent(row["places_positive"] / max(1, row["places"])),
        "Dead": "yes" if result.dead else "no",
        "Broken": f"{_images(row['broken'])} with a NaN or an infinity, not counted" if row["broken"] else "",
    }
    return (
        ("Unit", _unit(result)),
        ("Receptive field", _field(result)),
        *((term, value) for term, value in numbers.items() if value),
        ("Network", result.network.name),
        ("Weights", weights_text(result.network.sha256)),
        ("Survey", f"{_images(row['images'])}, {result.run.folder.name}"),
        ("Cost of this page", str(result.cost)),
    )


def _unit(result: UnitEvidence) -> str:
    if result.layer == "logits":
        return f"the logit of {result.network.label(result.channel)}"
    return f"channel {result.channel} of {result.layer}, {result.network.layer(result.layer).kind}"


def _sections(result: UnitEvidence) -> Iterator[Section]:
    if result.top:
        yield Section(
            "Strongest activations",
            f"Its strongest activations, in {_images(len(result.top))}, cut from the original files at {_cut(result)}. "
            "The same place in every grid is the same patch; the number is its activation.",
            mosaics=tuple(_grids(result)),
            notes=result.notes,
        )
        yield Section("All images", _DISTRIBUTION, charts=unit_charts.charts(result))
    if len(result.classes.get("class", ())):
        yield unit_charts.classes(result)
    if result.levels:
        yield Section(
            "From least to most",
            "Images from each octave of the activations, drawn by a hash of their number: what the unit responds to "
            "below its maximum.",
            mosaics=(Mosaic("", tuple(_level(result, level) for level in result.levels)),),
            notes=(f"The recorded activations were computed again; they differ by at most {number(result.drift)}.",),
        )
    if result.random and result.weakest:
        yield Section(
            "Random and weakest",
            mosaics=(
                _row(result, "Images at random", result.random, "Drawn at random", _RANDOM),
                _row(result, "Weakest activations", result.weakest, "Weakest", _WEAKEST),
            ),
        )
    if result.top:
        yield Section("Where the patches are from", tables=(unit_charts.sources(result),))


def _cut(result: UnitEvidence) -> str:
    whole = [patch.patch.whole for patch in result.top]
    exact = "the exact receptive field of the place of the activation"
    if not any(whole):
        return exact
    effective = "the effective field, a box with at least 95 % of the gradient"
    if all(whole):
        return f"{effective}: the receptive field is the whole picture"
    return f"{exact}, or, where that is the whole picture, at {effective}"


def _grids(result: UnitEvidence) -> Iterator[Mosaic]:
    columns = min(6, math.isqrt(len(result.top) - 1) + 1)
    views = tuple(_view(result, f"Strongest patch {i + 1}", patch) for i, patch in enumerate(result.top))
    yield Mosaic("Patches", views, columns)
    for method, projections in result.projections.items():
        tiles = tuple(
            View(number(made.patch.activation), small(made.picture()), f"{method} projection of patch {i + 1}.")
            for i, made in enumerate(projections)
        )
        yield Mosaic(TITLES[method], tiles, columns)
    tiles = tuple(
        View(number(patch.patch.activation), small(pixels), f"Where patch {i + 1} lies in its photograph.")
        for i, (patch, pixels) in enumerate(zip(result.top, result.context, strict=True))
    )
    yield Mosaic("In context", tiles)


def _view(result: UnitEvidence, what: str, cropped: PatchCrop, label: str = "") -> View:
    patch, activation = cropped.patch, number(cropped.patch.activation)
    where = unit_charts.box_text(patch)
    image = unit_charts.image_name(result.run, patch.image)
    alt = f"{what} of {result.target}: activation {activation}, {image}, {where}."
    return View(label or activation, small(cropped.crop), alt)


def _level(result: UnitEvidence, level: Level) -> View:
    ends = f"{number(level.low)} to {number(level.high)}".replace("−inf to", "below").replace("to inf", "and more")
    label = f"{number(level.patch.patch.activation)}\n{ends}: {_images(level.images)}"
    return _view(result, f"From {ends}", level.patch, label)


def _row(result: UnitEvidence, title: str, row: Sequence[PatchCrop], what: str, reading: str) -> Mosaic:  # noqa: PLR0917
    return Mosaic(title, tuple(_view(result, what, patch) for patch in row), 0, reading)


_DISTRIBUTION = (
    "The largest activation in each image, and activations at places sampled from all maps. All octaves are equally "
    "wide; values close to zero are one column."
)
_RANDOM = "Drawn uniformly, the same images for every unit of this survey, cut at the strongest activation in each."
_WEAKEST = "Cut at the weakest activation."


def _field(result: UnitEvidence) -> str:
    height, width = result.network.preprocess.size
    if result.field is None and result.layer != "logits":
        return "not known; the whole picture is shown"
    if result.field is None or result.field.whole:
        return f"the whole picture, {height} × {width} pixels"
    rows, columns = result.field.size
    if rows >= height and columns >= width:
        return f"{rows} × {columns} pixels, cut off where the picture of {height} × {width} ends"
    seen = min(rows, height) * min(columns, width) / (height * width)
    return f"{rows} × {columns} pixels, {percent(seen)} of the picture"


def _images(count: int) -> str:
    return f"{count:,} image{'' if count == 1 else 's'}"
