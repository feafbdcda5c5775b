"""Pictures as square tiles of a sheet."""

from __future__ import annotations

import numpy as np
from PIL import Image

from phosphene.core.images.image import Uint8Image


def fit_square(pixels: Uint8Image, side: int) -> Uint8Image:
    """A picture resized into the middle of a white square; enlarged more than threefold, its pixels stay visible.

    Args:
        pixels: uint8 (H, W, 3).
        side: of the square, in pixels.

    >>> fit_square(np.zeros((2, 4, 3), np.uint8), 8)[:, 0, 0].tolist()
    [255, 255, 0, 0, 0, 0, 255, 255]
    """
    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    tile, resample = Image.new("RGB", (side, side), "white"), Image.Resampling.NEAREST if scale > 3 else None
    tile.paste(Image.fromarray(pixels).resize(size, resample), ((side - size[0]) // 2, (side - size[1]) // 2))
    return np.asarray(tile)


def pad_square(pixels: Uint8Image, side: int, level: int) -> Uint8Image:
    """A picture of at most `side` pixels in the middle of a square of one grey level.

    Args:
        pixels: uint8 (H, W, 3).
        side: of the square, in pixels.
        level: of the margin, 0 … 255.
    """
    height, width = pixels.shape[:2]
    square = np.full((side, side, 3), level, np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = pixels
    return square
