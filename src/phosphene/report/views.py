"""A heatmap as pictures: over the photograph, alone, and what of the photograph it points at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from phosphene.attribution import Heatmap
from phosphene.attribution.localize import saliency
from phosphene.core import picture
from phosphene.core.image import Pixels, levels
from phosphene.core.picture import Scale
from phosphene.report.html import number
from phosphene.report.page import Legend, View
from phosphene.report.places import describe

STRONGEST = 0.1
"""Share of the pixels that the view of the strongest places shows: the same for all maps, so that they compare."""


def views(heatmap: Heatmap, index: int = 0) -> tuple[View, ...]:
    """The views of one map, the one that its method is read by first.

    Shares in the target are added up over the channels. Where a rule rewrote the gradient, its colors are the picture;
    of any other gradient it is the magnitude.

    Args:
        heatmap: what a method found.
        index: which image of the batch.
    """
    values, photograph = heatmap.values[index].detach().cpu(), levels(heatmap.images[index])
    if heatmap.unit == "class index":
        return (_classes(heatmap, index, values),)
    if len(values) == 3 and heatmap.unit == heatmap.target.unit:
        values = values.sum(0, keepdim=True)
    words, unit = _words(heatmap, values), heatmap.unit
    over = _view(
        "overlay", picture.overlay(photograph, values, unit=unit), f"{words}, over the photograph.", blend=True
    )
    alone = _view("map", picture.heatmap(values, unit=unit), f"{words}, alone.")
    found: list[View] = [over, alone]
    if len(values) == 3:
        alone = _view("signed", picture.signed(values, unit=unit), f"{words}; grey is zero, each channel in its color.")
        how_much = _view("magnitude", picture.magnitude(values, unit=unit), f"{words}; the brighter, the more.")
        found = [alone, over, how_much] if type(heatmap.method).rule else [how_much, over, alone]
    return (*found, *_strongest(photograph, values, str(heatmap.method.name)))


def _words(heatmap: Heatmap, values: Tensor) -> str:
    """What the map shows, in words."""
    mass = "positive mass" if len(values) == 1 and values.min() < 0 else "mass"
    plane = values[0] if len(values) == 1 else values.abs().amax(0)
    where = f" at {heatmap.layer}" if heatmap.layer else ""
    return f"{heatmap.method.name} for {heatmap.target}{where}: {describe(plane.numpy(), mass)}"


def _view(label: str, drawn: tuple[Pixels, Scale], alt: str, *, blend: bool = False) -> View:
    pixels, scale = drawn
    ticks = (scale.low, 0.0, scale.high) if scale.low < 0 else (scale.low, scale.high)
    beyond = f"; {scale.clipped:.1%} of the pixels lie beyond".replace("%", " %") if scale.clipped >= 0.0005 else ""
    legend = Legend(
        _strip(scale, blend=blend), tuple(number(float(f"{tick:.3g}")) for tick in ticks), scale.unit + beyond
    )
    return View(label, pixels, alt, legend)


def _strip(scale: Scale, *, blend: bool) -> Pixels:
    """The colors of a scale; those of an overlay as they look on mid-grey."""
    both = scale.low < 0 and scale.map != "grey"
    ramp = np.tile(np.linspace(-1.0 if both else 0.0, 1.0, 256), (8, 1))
    if blend:
        return picture.overlay(np.full((8, 256, 3), 128, np.uint8), ramp, quantile=1)[0]
    return picture.colors(ramp, scale.map, 1.0)


def _strongest(photograph: Pixels, values: Tensor, name: str) -> Sequence[View]:
    """What of the photograph the map points at; nothing where it points nowhere."""
    strength = saliency(values[None])[0].numpy()
    least = np.quantile(strength, 1 - STRONGEST)
    if strength.max() == strength.min():
        return ()
    mask = strength >= least if least > 0 else strength > 0
    alt = f"The {mask.mean():.0%} of the photograph where {name} is strongest; the rest is left blank.".replace(
        "%", " %"
    )
    return (View("strongest", picture.cutout(photograph, mask.astype(np.float64)), alt),)


def _classes(heatmap: Heatmap, index: int, values: Tensor) -> View:
    """A map of classes: one color for each, in the order of their index."""
    seen, order = torch.unique(values[0].long(), return_inverse=True)
    names = [heatmap.network.label(i) for i in seen.tolist()]
    last = max(len(names) - 1, 1)
    blocks = np.repeat(np.arange(len(names), dtype=np.float64), -(-256 // len(names)))
    legend = Legend(picture.colors(np.tile(blocks, (8, 1)), scale=last), tuple(names), "classes, from left to right")
    shares = [f"{name} on {(values[0] == i).float().mean():.0%}" for name, i in zip(names, seen.tolist(), strict=True)]
    alt = f"{heatmap.method.name}: {', '.join(shares).replace('%', ' %')} of the places of image {index + 1}."
    return View("map", picture.colors(order.numpy(), scale=last), alt, legend)
