"""Small pictures, enlarged so that every weight or position is visible, in one labeled grid."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from phosphene.core.images import drawing
from phosphene.core.images.image import Uint8Image, levels


def labeled_grid(pictures: Tensor, labels: Sequence[str], columns: int | None = None, *, side: int = 48) -> Uint8Image:
    """Pictures in a grid, each under its label.

    They are enlarged by a whole factor, without interpolation, so that each number is one square, and framed, so that
    a white picture is visible on the white page.

    Args:
        pictures: (n, 1 or 3, H, W) in [0, 1].
        labels: one for each picture.
        columns: how many in a row; None for a grid that is nearly square.
        side: minimum length of the longer side of each picture, in pixels.

    >>> import torch
    >>> labeled_grid(torch.zeros(5, 3, 7, 7), "abcde", side=14, columns=5).shape
    (36, 96, 3)
    """
    factor = math.ceil(side / max(pictures.shape[2:]))
    large = pictures.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
    tiles = [levels(picture) for picture in F.pad(large, (1, 1, 1, 1), value=_FRAME)]
    return drawing.grid(tiles, columns or math.ceil(math.sqrt(len(tiles))), labels=labels)


_FRAME = 0.8  # light grey
