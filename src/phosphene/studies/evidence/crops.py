"""Patches of a survey, cut out of the photographs they were found in."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from PIL import Image

from phosphene.core.errors import ImageError
from phosphene.core.images.drawing import contour
from phosphene.core.images.image import Picture, Uint8Image
from phosphene.core.networks.network import Box
from phosphene.survey.store.run import Patch, Run

Tell = Callable[[str], None]
"""Told, in one line each, of what could not be shown as it should be."""


def silent(_: str) -> None:
    """Tell nobody."""


def crops(
    run: Run, patches: Sequence[Patch], *, side: int | None = None, tell: Tell = silent
) -> tuple[Uint8Image, ...]:
    """What each patch shows: its box, cut out of the original file at full resolution, uint8 (h, w, 3).

    Every file is decoded once. One that is gone, or no longer the file that was surveyed, gives grey of the same size.

    Args:
        run: the survey that they are of.
        patches: which.
        side: length of the longer side, in pixels, to which each is resized; None for whole pixels of the file.
        tell: hears of every file that cannot be shown.
    """
    return _each(run, patches, lambda picture, patch: cut(picture.pixels, patch.box, side), tell)


def contexts(run: Run, patches: Sequence[Patch], *, side: int = 320, tell: Tell = silent) -> tuple[Uint8Image, ...]:
    """Each photograph as a whole, with the box of the patch outlined and the rest dimmed, uint8 (h, w, 3).

    Args:
        run: the survey that they are of.
        patches: which.
        side: length of the longer side, in pixels.
        tell: see `crops`.
    """

    def context(picture: Picture, patch: Patch) -> Uint8Image:
        pixels = cut(picture.pixels, Box(0, 0, picture.height, picture.width), side)
        scale = pixels.shape[0] / picture.height
        top, left, bottom, right = (round(scale * edge) for edge in patch.box)
        shown = pixels // 3
        inside = slice(top, max(bottom, top + 1)), slice(left, max(right, left + 1))
        shown[inside] = pixels[inside]
        return contour(shown, (top - 2, left - 2, bottom + 2, right + 2))

    return _each(run, patches, context, tell)


def photographs(run: Run, patches: Sequence[Patch]) -> Iterator[tuple[Picture | ImageError, tuple[int, ...]]]:
    """Every photograph, or why it is lost, with the places in `patches` of those that lie in it."""
    places: dict[int, list[int]] = {}
    for at, patch in enumerate(patches):
        places.setdefault(patch.image, []).append(at)
    for image, those in places.items():
        try:
            yield run.picture(image), tuple(those)
        except ImageError as error:
            yield error, tuple(those)


def cut(pixels: Uint8Image, box: Box, side: int | None = None) -> Uint8Image:
    """A box of a picture: in whole pixels, or, to a hair, resized so that its longer side is `side`.

    >>> cut(np.zeros((9, 9, 3), np.uint8), Box(0.5, 2, 3.5, 12)).shape
    (4, 7, 3)
    >>> cut(np.zeros((9, 9, 3), np.uint8), Box(0.5, 2, 3.5, 8), side=40).shape
    (20, 40, 3)
    """
    height, width = pixels.shape[:2]
    top, left, bottom, right = (
        min(max(edge, 0.0), float(most)) for edge, most in zip(box, (height, width) * 2, strict=True)
    )
    if side is None:
        return pixels[math.floor(top) : math.ceil(bottom), math.floor(left) : math.ceil(right)].copy()
    scale = side / max(bottom - top, right - left)
    size = max(1, round(scale * (right - left))), max(1, round(scale * (bottom - top)))
    resized = Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC, box=(left, top, right, bottom))
    return np.asarray(resized).copy()


def _each(
    run: Run, patches: Sequence[Patch], draw: Callable[[Picture, Patch], Uint8Image], tell: Tell
) -> tuple[Uint8Image, ...]:
    drawn: dict[int, Uint8Image] = {}
    for found, places in photographs(run, patches):
        if isinstance(found, ImageError):
            tell(str(found))
        picture = _grey(run, patches[places[0]].image) if isinstance(found, ImageError) else found
        drawn.update((at, draw(picture, patches[at])) for at in places)
    return tuple(drawn[at] for at in range(len(patches)))


def _grey(run: Run, image: int) -> Picture:
    """What stands for a photograph that is lost."""
    size = int(run.images["height"][image]), int(run.images["width"][image])
    return Picture(np.full((*size, 3), 128, np.uint8))
