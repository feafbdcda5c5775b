"""Patches at the size of a tile."""

from __future__ import annotations

import numpy as np
from PIL import Image

from phosphene.core.images.image import Uint8Image
from phosphene.report.pages.contents import thumbnail

SIDE = 192
"""Of a picture on a page, in pixels."""

FEW = 64
"""Pixels of a side up to which a picture is embedded as it is, and shown with square pixels."""


def small(pixels: Uint8Image) -> bytes | Uint8Image:
    """A picture as a page embeds it: few pixels as they are, many as a JPEG.

    Args:
        pixels: uint8 (H, W, 3).
    """
    return pixels if max(pixels.shape) < FEW else thumbnail(pixels, SIDE)


def square(pixels: Uint8Image, side: int) -> Uint8Image:
    """A picture in the middle of a white square, its longer side filling it; few pixels stay square.

    Args:
        pixels: uint8 (H, W, 3).
        side: of the square, in pixels.

    >>> square(np.zeros((2, 4, 3), np.uint8), 8)[:, 0, 0].tolist()
    [255, 255, 0, 0, 0, 0, 255, 255]
    """
    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    tile, how = Image.new("RGB", (side, side), "white"), Image.Resampling.NEAREST if scale > 3 else None
    tile.paste(Image.fromarray(pixels).resize(size, how), ((side - size[0]) // 2, (side - size[1]) // 2))
    return np.asarray(tile)
