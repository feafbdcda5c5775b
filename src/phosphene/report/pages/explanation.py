"""The page of one explained picture."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from phosphene.core import files
from phosphene.core.images.image import Uint8Image, levels
from phosphene.core.images.preprocess import Box
from phosphene.report.figures import figure, percent, predicted
from phosphene.report.html import FOOTER
from phosphene.report.page import Figure, Page, Section, View
from phosphene.report.pages import page
from phosphene.report.plain_page import weights_text
from phosphene.report.score_charts import charts, comparison
from phosphene.report.thumbnails import thumbnail
from phosphene.studies.explanation import Explanation

WIDE = 640
"""Longer side of a photograph on the page, in pixels."""


@page.register
def explanation_page(result: Explanation) -> Page:
    """The page of one explained picture."""
    picture, best = result.picture, result.predictions[0]
    return Page(
        title=f"Why {result.target}?",
        lead=f"{result.network.name} sees {best.label} in {picture.name or 'this picture'} "
        f"({percent(best.probability)}). The maps show which pixels matter to {result.target}.",
        facts=(
            ("Network", result.network.name),
            ("Weights", weights_text(result.network.sha256)),
            ("Picture", f"{picture.path or picture.name}, {picture.width} × {picture.height}"),
            ("Cost", str(result.cost)),
        ),
        sections=tuple(_sections(result)),
        footer=FOOTER,
    )


def _sections(result: Explanation) -> Iterator[Section]:
    small = thumbnail(result.picture.pixels, WIDE)
    photograph = _photograph(result, small)
    yield Section("What the network saw", figures=(photograph,), tables=(predicted(result.predictions),))
    maps = tuple(
        figure(made, scores=result.scores.get(name), file=f"{files.slug(name)}.npy")
        for name, made in result.maps.items()
    )
    text = "Every map is raw and on a color scale of its own, given below it with its unit."
    yield Section(f"Maps for {result.target}", text, maps, notes=result.notes)
    if result.scores:
        text = (
            "Deletion and insertion cover or show the pixels in the order of a map and measure the probability; "
            "sanity compares the map with that of the network when the upper half of its weights is random."
        )
        table = comparison(result.scores)
        yield Section("How reliable each map is", text, charts=charts(result.curves), tables=(table,))
    if result.cutout is not None or result.boxes:
        yield Section("Where it is", figures=tuple(_places(result, small)))
    yield Section(
        "What the layers respond to",
        "The strongest channels of each layer, brightest where they respond most; one scale for each layer.",
        tuple(_layers(result)),
    )


def _photograph(result: Explanation, small: bytes) -> Figure:
    name = result.picture.name
    whole = View("photograph", small, f"The photograph {name}.")
    pixels = levels(result.images[0].cpu().numpy().transpose(1, 2, 0))
    alt = f"The middle of it, at the size that {result.network.name} wants."
    return Figure(name or "picture", (View("as the network saw it", pixels, alt), whole), notes=result.picture.notes)


def _places(result: Explanation, small: bytes) -> Iterator[Figure]:
    cutout, picture = result.cutout, result.picture
    if cutout is not None and not cutout.notes:
        alt = f"The object cut out of the picture; it covers {percent(cutout.share)} of it."
        reading = "Sure foreground and background from the quantiles of the saliency, the rest decided by GrabCut."
        yield Figure("cut-out", (View("cut-out", _over_checks(cutout.rgba), alt),), reading=reading)
    if result.boxes:
        alt = "The photograph with a box for each map: " + "; ".join(
            f"{name}, rows {box.top:.0f} to {box.bottom:.0f}, columns {box.left:.0f} to {box.right:.0f}"
            for name, box in result.boxes.items()
        )
        scale = WIDE / max(WIDE, picture.width, picture.height)
        scaled = tuple((name, Box(*(edge * scale for edge in box))) for name, box in result.boxes.items())
        reading = "The largest connected part of each map above 20 % of its maximum."
        yield Figure("boxes", (View("boxes", small, alt, boxes=scaled),), reading=reading)


def _layers(result: Explanation) -> Iterator[Figure]:
    for maps in result.activations:
        channels = maps.values.shape[1]
        shown = len(maps.order())
        alt = f"{shown} of {channels} channels of {maps.layer} as grey maps, the strongest first."
        facts = (("Layer", maps.layer), ("Channels", f"{shown} of {channels}"))
        yield Figure(maps.layer, (View("channels", maps.grid(), alt),), facts, notes=maps.notes, wide=True)


def _over_checks(rgba: Uint8Image) -> Uint8Image:
    """A cut-out over a checkered ground."""
    height, width = rgba.shape[:2]
    alpha = rgba[..., 3:] / 255.0
    rows, columns = np.mgrid[:height, :width] // 8
    checks = ((rows + columns) % 2 * 24 + 216)[..., None]
    return levels((rgba[..., :3] * alpha + checks * (1 - alpha)) / 255.0)
