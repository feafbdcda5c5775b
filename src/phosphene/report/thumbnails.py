"""Pictures at the size at which a page embeds them."""

from __future__ import annotations

import io

from PIL import Image

from phosphene.core.images.image import Uint8Image

SIDE = 192
"""Of a tile on a page, in pixels."""

FEW = 64
"""Pixels of a side below which a picture is embedded as it is, and shown with square pixels."""


def small(pixels: Uint8Image) -> bytes | Uint8Image:
    """A picture as a page embeds it: as it is where it has few pixels, else as a JPEG.

    Args:
        pixels: uint8 (H, W, 3).
    """
    return pixels if max(pixels.shape) < FEW else thumbnail(pixels, SIDE)


def thumbnail(pixels: Uint8Image, side: int) -> bytes:
    """A JPEG that fits a square; the same pixels give the same bytes.

    Args:
        pixels: uint8 (H, W, 3).
        side: of the square, in pixels.
    """
    image = Image.fromarray(pixels)
    image.thumbnail((side, side))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()
