"""Maps as pictures: color maps with their scale, overlays, outlines, labels and grids, in numpy and Pillow."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from phosphene.core.errors import ImageError
from phosphene.core.images.image import Uint8Image, levels
from phosphene.core.images.palette import DIVERGING, HUES, Floats, paint, scale_of
from phosphene.core.images.palette import Scale as Scale

Values = npt.NDArray[Any] | Tensor
"""A map: (H, W), (1, H, W) or (3, H, W), alone in a batch or not; numbers of any kind."""


def colors(values: Values, map: str = "viridis", scale: float | None = None) -> Uint8Image:
    """Colors of a map (H, W) → uint8 (H, W, 3).

    Sequential maps run from 0 to scale, "blue-red" from -scale through white at 0 to scale; values beyond are clipped.

    Args:
        values: one number for each pixel.
        map: "viridis", "ember", "grey" or "blue-red".
        scale: value of the last color; the greatest magnitude by default.

    Raises:
        ImageError: values of another shape, or not finite.
        OptionError: no such map.

    >>> colors(np.array([[-1.0, 0.0, 1.0]]), "blue-red")[0, 1].tolist()
    [250, 250, 250]
    """
    planes = _planes(values)
    if len(planes) != 1:
        raise ImageError(f"colors takes one number per pixel, not {len(planes)}; use heatmap, signed or magnitude")
    return paint(planes[0], map, float(np.abs(planes).max()) if scale is None else scale)


def heatmap(values: Values, *, unit: str = "", quantile: float = 0.995) -> tuple[Uint8Image, Scale]:
    """A map in the colors that suit its range.

    One channel of both signs: "blue-red", symmetric about 0. One channel without a negative: "viridis" from 0. Three
    channels: see `signed`.

    Args:
        values: (H, W), (1, H, W) or (3, H, W).
        unit: of the values.
        quantile: of the magnitudes, at which the scale ends; 1 for the greatest.

    Raises:
        ImageError: values of another shape, or not finite.

    >>> picture, scale = heatmap(np.array([[0.0, 0.5], [1.0, 2.0]]), unit="logit", quantile=1)
    >>> picture.shape, str(scale)
    ((2, 2, 3), '0 … 2 logit')
    """
    planes = _planes(values)
    if len(planes) == 3:
        return signed(planes, unit=unit, quantile=quantile)
    map = "blue-red" if planes.min() < 0 else "viridis"
    scale = scale_of(planes, map, unit, quantile)
    return colors(planes, map, scale.high), scale


def signed(values: Values, *, unit: str = "", quantile: float = 0.995) -> tuple[Uint8Image, Scale]:
    """A gradient as a picture: mid-grey is 0, brighter is positive, each channel in its own color.

    picture = 0.5 + values / (2 · scale), the same scale for all channels.

    Args:
        values: (3, H, W), or (1, H, W) for grey.
        unit: of the values.
        quantile: see `heatmap`.
    """
    planes = _planes(values)
    scale = scale_of(planes, "grey", unit, quantile)
    scale = dataclasses.replace(scale, low=-scale.high)
    picture = levels((0.5 + planes / (2 * (scale.high or 1.0))).clip(0, 1).transpose(1, 2, 0))
    return _rgb(picture), scale


def magnitude(
    values: Values, *, map: str = "grey", unit: str = "", quantile: float = 0.995
) -> tuple[Uint8Image, Scale]:
    """The magnitude of a map: the greatest |value| over channels.

    Args:
        values: (1, H, W) or (3, H, W).
        map: see `colors`.
        unit: of the values.
        quantile: see `heatmap`.
    """
    strength = np.abs(_planes(values)).max(0, keepdims=True)
    scale = scale_of(strength, map, unit, quantile)
    return colors(strength, map, scale.high), scale


def class_colors(values: Values, *, unit: str = "") -> tuple[Uint8Image, Scale]:
    """Indices of classes, each in a color of its own, the most frequent in grey.

    Args:
        values: (H, W), such as the most probable class at each position.
        unit: of the values.
    """
    plane = _planes(values)[0]
    numbers, places, counts = np.unique(plane, return_inverse=True, return_counts=True)
    rank = np.empty(len(numbers), int)
    rank[np.argsort(-counts, kind="stable")] = np.arange(len(numbers))
    hues = HUES[np.minimum(rank, len(HUES) - 1)]
    return hues[places.reshape(plane.shape)], Scale(float(numbers[0]), float(numbers[-1]), unit, map="grey")


def overlay(
    pixels: Values, values: Values, alpha: float = 0.85, *, unit: str = "", quantile: float = 0.995
) -> tuple[Uint8Image, Scale]:
    """A map over its photograph with less color; where the map is 0 nothing covers it.

    weight = alpha · min(1, |value| / scale); colors are "ember", or "blue-red" where there are both signs.

    Args:
        pixels: the photograph, uint8 (H, W, 3) or what `levels` takes.
        values: (H, W), (1, H, W) or (3, H, W); resized to the photograph where they differ.
        alpha: opacity of the largest magnitude, in [0, 1].
        unit: of the values.
        quantile: see `heatmap`.

    Raises:
        ImageError: a photograph or values of another shape.
    """
    photograph, planes = _rgb(pixels).astype(np.float64), _planes(values)
    if len(planes) == 3:
        planes = np.abs(planes).max(0, keepdims=True)
    map = "blue-red" if planes.min() < 0 else "ember"
    scale = scale_of(planes, map, unit, quantile)
    plane = planes[0]
    if plane.shape != photograph.shape[:2]:
        height, width = photograph.shape[:2]
        small = Image.fromarray(plane.astype(np.float32))
        plane = np.asarray(small.resize((width, height), Image.Resampling.BILINEAR), np.float64)
    weight = alpha * (np.abs(plane) / (scale.high or 1.0)).clip(0, 1)[..., None]
    luma = photograph @ _LUMA
    pale = 0.25 * photograph + 0.75 * luma[..., None]
    mixed = (1 - weight) * pale + weight * paint(plane, map, scale.high)
    return np.rint(mixed).astype(np.uint8), scale


def legend(scale: Scale, width: int = 256) -> Uint8Image:
    """A color bar of a scale from low to high, with its limits and unit below: uint8 (H, width, 3).

    Args:
        scale: returned with the picture.
        width: in pixels.
    """
    ramp = np.linspace(-1 if scale.low < 0 and scale.map in DIVERGING else 0, 1, width)
    bar = np.repeat(paint(ramp[None], scale.map, 1.0), _LINE // 2, axis=0)
    image = Image.new("RGB", (width, _LINE), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(_LINE * 0.6)
    draw.text((1, _LINE / 2), f"{scale.low:.3g}", "black", font, "lm")
    if scale.low < 0:
        draw.text((width / 2, _LINE / 2), "0", "black", font, "mm")
    draw.text((width - 1, _LINE / 2), f"{scale.high:.3g} {scale.unit}".strip(), "black", font, "rm")
    return np.concatenate([bar, np.asarray(image)])


def label(picture: Values, text: str) -> Uint8Image:
    """A picture with a line of text above it; text that is too long ends in "…".

    Args:
        picture: uint8 (H, W, 3).
        text: one line.
    """
    pixels = _rgb(picture)
    width = pixels.shape[1]
    image = Image.new("RGB", (width, _LINE), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(_LINE * 0.65)
    shown = text = " ".join(text.translate(_REPLACED).split())
    while text and draw.textlength(shown, font) > width - 2:
        text = text[:-1]
        shown = text.rstrip() + "…"
    draw.text((1, _LINE / 2), shown, "black", font, "lm")
    return np.concatenate([np.asarray(image), pixels])


def grid(tiles: Sequence[Values], columns: int, gap: int = 4, labels: Sequence[str] | None = None) -> Uint8Image:
    """Pictures side by side on white, row by row; smaller ones are centered in their cell.

    Args:
        tiles: uint8 (H, W, 3) each.
        columns: pictures in a row.
        gap: between pictures, in pixels.
        labels: one above each.

    >>> grid([np.zeros((8, 10, 3), np.uint8)] * 5, columns=3, gap=2).shape
    (18, 34, 3)
    """
    assert tiles, "a grid needs pictures"
    assert columns >= 1, columns
    cells = [_rgb(tile) for tile in tiles]
    if labels is not None:
        cells = [label(cell, text) for cell, text in zip(cells, labels, strict=True)]
    height, width = (max(cell.shape[axis] for cell in cells) for axis in (0, 1))
    rows, columns = -(-len(cells) // columns), min(columns, len(cells))
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, np.uint8)
    for index, cell in enumerate(cells):
        top = index // columns * (height + gap) + (height - cell.shape[0]) // 2
        left = index % columns * (width + gap) + (width - cell.shape[1]) // 2
        sheet[top : top + cell.shape[0], left : left + cell.shape[1]] = cell
    return sheet


def enlarged(tiles: Sequence[Uint8Image], least: int = 128) -> list[Uint8Image]:
    """Pictures of one size, small ones enlarged by a whole number so that their labels have room.

    Args:
        tiles: uint8 (H, W, 3) each.
        least: pixels of the shorter side, at least.

    >>> enlarged([np.zeros((28, 28, 3), np.uint8)])[0].shape
    (140, 140, 3)
    """
    times = -(-least // min(tiles[0].shape[:2]))
    return [tile.repeat(times, 0).repeat(times, 1) for tile in tiles]


def outline(pixels: Values, box: Sequence[float], color: tuple[int, int, int] = (255, 214, 0)) -> Uint8Image:
    """A picture with the outline of a box, drawn inside the box and clipped to the picture.

    Args:
        pixels: uint8 (H, W, 3).
        box: top, left, bottom, right in pixels; bottom and right are exclusive.
        color: RGB in 0 … 255.
    """
    drawn = _rgb(pixels).copy()
    height, width = drawn.shape[:2]
    top, left, bottom, right = (round(edge) for edge in box)
    line = max(1, round(min(height, width) / 120))
    rows, columns = np.arange(height)[:, None], np.arange(width)[None]
    depth = np.minimum(np.minimum(rows - top, bottom - 1 - rows), np.minimum(columns - left, right - 1 - columns))
    drawn[(depth >= 0) & (depth < line)] = color
    return drawn


def transparent_outside(pixels: Values, mask: Values) -> Uint8Image:
    """A picture that is transparent outside of a mask: uint8 (H, W, 4).

    Args:
        pixels: uint8 (H, W, 3).
        mask: (H, W), booleans or opacities in [0, 1].

    Raises:
        ImageError: the mask has another size.
    """
    picture, plane = _rgb(pixels), _planes(mask)[0]
    if plane.shape != picture.shape[:2]:
        raise ImageError(f"the mask is {plane.shape} and the picture {picture.shape[:2]}; resize the mask")
    return np.dstack([picture, levels(plane)])


def _planes(values: Values) -> Floats:
    """Floats (1 or 3, H, W), all finite, from every kind of map."""
    array = values.detach().cpu().float().numpy() if isinstance(values, Tensor) else np.asarray(values)
    shape = array.shape
    if array.ndim == 4 and len(array) == 1:
        array = array[0]
    if array.ndim == 2:
        array = array[None]
    if array.ndim != 3 or len(array) not in {1, 3} or array.size == 0:
        raise ImageError(f"a map of shape {shape} cannot be drawn; give (H, W), (1, H, W) or (3, H, W)")
    planes = array.astype(np.float64)
    if not np.isfinite(planes).all():
        raise ImageError(f"a map holds {np.count_nonzero(~np.isfinite(planes))} numbers that are not finite; mask them")
    return planes


def _rgb(pixels: Values) -> Uint8Image:
    """uint8 (H, W, 3); greys repeated in all channels."""
    array = levels(pixels)
    return np.repeat(array[..., None], 3, axis=2) if array.ndim == 2 else array[..., :3]


_LUMA = np.array([0.299, 0.587, 0.114])
_LINE = 20  # height of a line of text, in pixels
_REPLACED = str.maketrans({"×": "x", "–": "-", "−": "-", "→": ">"})  # what the font of Pillow lacks
