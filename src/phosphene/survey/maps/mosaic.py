"""Images at their coordinates: thumbnails on a map, and a grid in which every image has a cell."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.optimize import linear_sum_assignment

from phosphene.core.errors import ImageError
from phosphene.core.images.image import Uint8Image
from phosphene.survey.store.run import Run

Floats = npt.NDArray[np.float64]
PictureOf = Callable[[int], Uint8Image]
"""The number of an image → its picture, uint8 (H, W, 3)."""


class Drawn(NamedTuple):
    """A picture, and a note to be shown beside it."""

    pixels: Uint8Image
    note: str


def photograph(run: Run, image: int, side: int) -> Uint8Image:
    """The part of an image that the network was shown, uint8, at the size asked for.

    Where the file is gone or has changed, the thumbnail of the run is enlarged.

    Args:
        run: a finished survey.
        image: its number there.
        side: of the longer side, in pixels.
    """
    try:
        pixels = run.picture(image).pixels
    except ImageError:
        return fitted(run.pixels[image], side)
    box = tuple(float(run.images[edge][image]) for edge in ("left", "top", "right", "bottom"))
    return fitted(pixels, side, box)


def fitted(pixels: Uint8Image, side: int, box: tuple[float, ...] | None = None) -> Uint8Image:
    """A picture, or a box of it, at another size.

    Args:
        pixels: uint8 (H, W, 3).
        side: of the longer side of the result, in pixels.
        box: left, top, right and bottom; the whole picture by default.
    """
    left, top, right, bottom = box or (0, 0, pixels.shape[1], pixels.shape[0])
    scale = side / max(right - left, bottom - top)
    size = max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale))
    resized = Image.fromarray(np.ascontiguousarray(pixels)).resize(
        size, Image.Resampling.LANCZOS, (left, top, right, bottom)
    )
    return np.asarray(resized)


def thumbnails(coordinates: Floats, picture_of: PictureOf, *, size: int = 2000, side: int = 48, seed: int = 0) -> Drawn:
    """Images at their places on a map; both axes have the same scale, and y points up.

    They are drawn in random order, each below those before it, and one of which less than two thirds would be visible
    is left out.

    Args:
        coordinates: (N, 2); rows of NaN are left out.
        picture_of: returns the picture of an image.
        size: of the map, in pixels.
        side: of a thumbnail, in pixels.
        seed: of the order.
    """
    known = np.flatnonzero(np.isfinite(coordinates).all(1))
    span = np.ptp(coordinates[known], axis=0).max() or 1.0
    middle = (coordinates[known].max(0) + coordinates[known].min(0)) / 2
    canvas, free = np.full((size, size, 3), 255, np.uint8), np.ones((size, size), bool)
    drawn = 0
    for image in np.random.default_rng(seed).permutation(known).tolist():
        x, y = (coordinates[image] - middle) / span * (size - 2 * side) * (1, -1) + size / 2 - side / 2
        top, left = round(float(y)), round(float(x))
        window = (slice(top, top + side), slice(left, left + side))
        if free[window].mean() < _VISIBLE:
            continue
        picture = np.full((side, side, 3), 255, np.uint8)
        small = fitted(picture_of(image), side - 2)
        picture[1 : 1 + small.shape[0], 1 : 1 + small.shape[1]] = small
        canvas[window] = np.where(free[window][..., None], picture, canvas[window])
        free[window] = False
        drawn += 1
    left_out = f"; the other {len(known) - drawn:,} would be hidden by them" if drawn < len(known) else ""
    return Drawn(canvas, f"{drawn:,} of {len(known):,} images are drawn{left_out}")


def mosaic(coordinates: Floats, picture_of: PictureOf, *, side: int = 48, max_width: int = 4096) -> Drawn:
    """Every image in a cell of its own, near its coordinates on the map.

    Args:
        coordinates: (N, 2); rows of NaN are left out.
        picture_of: returns the picture of an image.
        side: of a cell, in pixels; less where the grid would be wider than max_width.
        max_width: of the grid, in pixels.
    """
    known = np.flatnonzero(np.isfinite(coordinates).all(1))
    cells, method = assign(coordinates[known])
    rows, columns = (cells.max(0) + 1).tolist()
    side = max(2, min(side, max_width // max(rows, columns)))
    canvas = np.full((rows * side, columns * side, 3), 255, np.uint8)
    for image, (row, column) in zip(known.tolist(), cells.tolist(), strict=True):
        small = fitted(picture_of(image), max(1, side - 1))
        top, left = row * side, column * side
        canvas[top : top + small.shape[0], left : left + small.shape[1]] = small
    return Drawn(canvas, f"{len(known):,} images in {rows} × {columns} cells, {method}")


def assign(coordinates: Floats) -> tuple[npt.NDArray[np.int64], str]:
    """A cell of a nearly square grid for each point: (N, 2) rows and columns, and the method.

    Up to 2,500 points the sum of the squared distances from point to cell is the least possible, both axes scaled to
    the grid; beyond, the points are halved again and again across the longer side of their cells, N log N in all.

    Args:
        coordinates: (N, 2), finite; y points up.

    >>> assign(np.array([[0.0, 1.0], [1.0, 1.0], [0.0, 0.0], [1.0, 0.0]]))[0].tolist()
    [[0, 0], [0, 1], [1, 0], [1, 1]]
    """
    count = len(coordinates)
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    low, span = coordinates.min(0), np.ptp(coordinates, axis=0)
    unit = (coordinates - low) / np.where(span, span, 1)
    unit = np.stack([1 - unit[:, 1], unit[:, 0]], 1)  # rows point down
    if count <= _OPTIMAL:
        centers = np.stack(np.meshgrid((np.arange(rows) + 0.5) / rows, (np.arange(columns) + 0.5) / columns), 2)
        centers = centers.transpose(1, 0, 2).reshape(-1, 2)
        squares = np.square(unit[:, None] - centers[None]).sum(2)
        return np.stack(np.divmod(linear_sum_assignment(squares)[1], columns), 1), "the least total displacement"
    cells = np.empty((count, 2), np.int64)
    _halve(unit, np.arange(count), (0, 0, rows, columns), cells)
    return cells, "halved again and again"


def _halve(
    unit: Floats, points: npt.NDArray[np.intp], box: tuple[int, int, int, int], cells: npt.NDArray[np.int64]
) -> None:
    """Divide the points among the two halves of a box, and these again, no more than there are cells."""
    top, left, height, width = box
    if height * width == 1 or not len(points):
        cells[points] = top, left
        return
    axis = 0 if height >= width else 1
    half = (height if axis == 0 else width) // 2
    first = (top, left, half, width) if axis == 0 else (top, left, height, half)
    second = (top + half, left, height - half, width) if axis == 0 else (top, left + half, height, width - half)
    cells_first, cells_second = first[2] * first[3], second[2] * second[3]
    share = min(cells_first, max(len(points) - cells_second, round(len(points) * cells_first / (height * width))))
    order = points[np.argsort(unit[points, axis], kind="stable")]
    _halve(unit, order[:share], first, cells)
    _halve(unit, order[share:], second, cells)


_VISIBLE = 2 / 3
_OPTIMAL = 2500
