"""Patches of a survey, cut out of their photographs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from phosphene.core.errors import ImageError
from phosphene.core.images.drawing import outline
from phosphene.core.images.image import Picture, Uint8Image
from phosphene.core.networks.network import Box
from phosphene.survey.store.patch import Patch
from phosphene.survey.store.run import Run

Notify = Callable[[str], object]
"""Called with one line about each thing that cannot be shown as it should be."""


def ignore(_: str) -> None:
    """Drop the note."""


class PatchCrop(NamedTuple):
    """A patch and its pixels, uint8 (H, W, 3), cut from the original file."""

    patch: Patch
    crop: Uint8Image


def patch_crops(run: Run, patches: Sequence[Patch], notify: Notify = ignore) -> tuple[PatchCrop, ...]:
    """Patches with their pixels, at the resolution of the files."""
    return tuple(map(PatchCrop, patches, crops(run, patches, notify=notify)))


def crops(
    run: Run, patches: Sequence[Patch], *, side: int | None = None, notify: Notify = ignore
) -> tuple[Uint8Image, ...]:
    """The box of each patch, cut out of the original file, uint8 (h, w, 3).

    Every file is decoded once. A file that is missing or has changed gives a grey picture of the same size.

    Args:
        run: the survey.
        patches: of the survey.
        side: length of the longer side of a crop, in pixels; None for whole pixels of the file.
        notify: called with the reason why a file cannot be shown.
    """
    return _draw(run, patches, lambda picture, patch: crop(picture.pixels, patch.box, side), notify)


def contexts(run: Run, patches: Sequence[Patch], *, side: int = 320, notify: Notify = ignore) -> tuple[Uint8Image, ...]:
    """The whole photograph of each patch, its box outlined and the rest dimmed, uint8 (h, w, 3).

    Args:
        run: the survey.
        patches: of the survey.
        side: length of the longer side, in pixels.
        notify: see `crops`.
    """

    def context(picture: Picture, patch: Patch) -> Uint8Image:
        pixels = crop(picture.pixels, Box(0, 0, picture.height, picture.width), side)
        scale = pixels.shape[0] / picture.height
        top, left, bottom, right = (round(scale * edge) for edge in patch.box)
        dimmed = pixels // 3
        inside = slice(top, max(bottom, top + 1)), slice(left, max(right, left + 1))
        dimmed[inside] = pixels[inside]
        return outline(dimmed, (top - 2, left - 2, bottom + 2, right + 2))

    return _draw(run, patches, context, notify)


def read_photographs(run: Run, patches: Sequence[Patch]) -> Iterator[tuple[Picture | ImageError, tuple[int, ...]]]:
    """Every photograph, or the error of reading it, with the indices of the patches that lie in it."""
    indices: dict[int, list[int]] = {}
    for index, patch in enumerate(patches):
        indices.setdefault(patch.image, []).append(index)
    for image, of_image in indices.items():
        try:
            yield run.picture(image), tuple(of_image)
        except ImageError as error:
            yield error, tuple(of_image)


def crop(pixels: Uint8Image, box: Box, side: int | None = None) -> Uint8Image:
    """A box of a picture: in whole pixels, or resampled from the exact box so that its longer side is `side`.

    >>> crop(np.zeros((9, 9, 3), np.uint8), Box(0.5, 2, 3.5, 12)).shape
    (4, 7, 3)
    >>> crop(np.zeros((9, 9, 3), np.uint8), Box(0.5, 2, 3.5, 8), side=40).shape
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


def _draw(
    run: Run, patches: Sequence[Patch], draw: Callable[[Picture, Patch], Uint8Image], notify: Notify
) -> tuple[Uint8Image, ...]:
    drawn: dict[int, Uint8Image] = {}
    for photograph, indices in read_photographs(run, patches):
        if isinstance(photograph, ImageError):
            notify(str(photograph))
        picture = _grey(run, patches[indices[0]].image) if isinstance(photograph, ImageError) else photograph
        drawn.update((index, draw(picture, patches[index])) for index in indices)
    return tuple(drawn[index] for index in range(len(patches)))


def _grey(run: Run, image: int) -> Picture:
    """What stands for a photograph that cannot be read."""
    size = int(run.images["height"][image]), int(run.images["width"][image])
    return Picture(np.full((*size, 3), 128, np.uint8))
