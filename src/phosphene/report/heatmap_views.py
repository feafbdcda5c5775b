"""A heatmap as pictures: the map, its overlay, and the part of the photograph where it is strongest."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from phosphene.attribution import Heatmap
from phosphene.attribution.localize.boxes import saliency
from phosphene.core.images import drawing
from phosphene.core.images.drawing import Scale
from phosphene.core.images.image import Uint8Image, levels
from phosphene.report.html import number
from phosphene.report.page import Legend, View
from phosphene.report.places import describe

STRONGEST = 0.1
"""Share of the pixels in the view of the strongest places: the same for all maps, so that they can be compared."""


def views(heatmap: Heatmap, index: int = 0) -> tuple[View, ...]:
    """The views of one map, first the one in which its method is usually shown.

    Args:
        heatmap: that holds the map.
        index: of the image in the batch.
    """
    shown, values, unit = heatmap.method.display, heatmap.values[index].detach().cpu(), heatmap.unit
    if shown == "classes":
        return _classes(heatmap, index)
    plane = values.sum(0) if shown == "heat" else values.abs().amax(0)
    words = _words(heatmap, plane)
    over = _view("overlay", heatmap.overlay(index), f"{words}, over the photograph.", blend=True)
    shown_views = [over, _view("map", heatmap.picture(index), f"{words}, alone.")]
    if shown != "heat":
        signed = _view("signed", drawing.signed(values, unit=unit), f"{words}; grey is zero.")
        magnitude = _view("magnitude", drawing.magnitude(values, unit=unit), f"{words}; the brighter, the more.")
        shown_views = [signed, over, magnitude] if shown == "color" else [magnitude, over, signed]
    return (*shown_views, *_strongest(heatmap, index))


def _words(heatmap: Heatmap, plane: Tensor) -> str:
    """What the map shows, in words."""
    where = f" at {heatmap.layer}" if heatmap.layer else ""
    mass = "positive mass" if plane.min() < 0 else "mass"
    return f"{heatmap.name} for {heatmap.target}{where}: {describe(plane.double().numpy(), mass)}"


def _view(label: str, drawn: tuple[Uint8Image, Scale], alt: str, *, blend: bool = False) -> View:
    pixels, scale = drawn
    ticks = (scale.low, 0.0, scale.high) if scale.low < 0 else (scale.low, scale.high)
    beyond = f"; {scale.clipped:.1%} beyond".replace("%", " %") if scale.clipped >= 0.0005 else ""
    legend = Legend(_strip(scale, blend=blend), tuple(map(number, ticks)), scale.unit + beyond)
    return View(label, pixels, alt, legend)


def _strip(scale: Scale, *, blend: bool) -> Uint8Image:
    """The colors of a scale; those of an overlay as they look on mid-grey."""
    both = scale.low < 0 and scale.map != "grey"
    ramp = np.tile(np.linspace(-1.0 if both else 0.0, 1.0, 256), (8, 1))
    if blend:
        return drawing.overlay(np.full((8, 256, 3), 128, np.uint8), ramp, quantile=1)[0]
    return drawing.colors(ramp, scale.map, 1.0)


def _strongest(heatmap: Heatmap, index: int) -> tuple[View, ...]:
    """The photograph where the map is strongest, and transparent elsewhere; nothing for a constant map."""
    strength = saliency(heatmap.values[index, None].detach().cpu())[0].numpy()
    if strength.max() == strength.min():
        return ()
    least = np.quantile(strength, 1 - STRONGEST)
    mask = strength >= least if least > 0 else strength > 0
    alt = f"The {mask.mean():.0%} of the photograph where {heatmap.name} is strongest; the rest is left blank."
    cut = drawing.transparent_outside(levels(heatmap.images[index]), mask.astype(np.float64))
    return (View("strongest", cut, alt.replace("%", " %")),)


def _classes(heatmap: Heatmap, index: int) -> tuple[View, ...]:
    """A map of classes, and the names of its colors, the most frequent first."""
    seen, first, counts = np.unique(heatmap.values[index, 0].cpu().numpy(), return_index=True, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    names = [heatmap.network.label(int(seen[i])) for i in order]
    shares = [f"{name} on {counts[i] / counts.sum():.0%}" for name, i in zip(names, order, strict=True)]
    alt = f"{heatmap.name}: {', '.join(shares)} of the places".replace("%", " %")
    drawn = {"map": heatmap.picture(index)[0], "overlay": heatmap.overlay(index)[0]}
    hues = np.repeat(drawn["map"].reshape(-1, 3)[first[order]][None], 8, 0).repeat(-(-256 // len(names)), 1)
    strips = {"map": hues, "overlay": ((hues.astype(np.uint16) + 128) // 2).astype(np.uint8)}
    return tuple(
        View(label, pixels, f"{alt}, as {label}.", Legend(strips[label], tuple(names), "one color for each class"))
        for label, pixels in drawn.items()
    )
