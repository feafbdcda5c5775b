"""Small pictures, enlarged until every weight or place can be seen, in one labeled grid."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from phosphene.core.images import drawing
from phosphene.core.images.image import Uint8Image, levels


def sheet(pictures: Tensor, labels: Sequence[str], columns: int | None = None, *, side: int = 48) -> Uint8Image:
    """Pictures in a grid, each under its label.

    They are enlarged by a whole factor, without smoothing, so that a square of the sheet is one number, and framed, so
    that a white one does not vanish into the sheet.

    Args:
        pictures: (n, 1 or 3, H, W) in [0, 1].
        labels: one for each.
        columns: how many in a row; None for a grid that is nearly square.
        side: least length of the longer side of each, in pixels.

    >>> import torch
    >>> sheet(torch.zeros(5, 3, 7, 7), "abcde", side=14, columns=5).shape
    (36, 96, 3)
    """
    factor = math.ceil(side / max(pictures.shape[2:]))
    large = pictures.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
    tiles = [levels(each) for each in F.pad(large, (1, 1, 1, 1), value=_FRAME)]
    return drawing.grid(tiles, columns or math.ceil(math.sqrt(len(tiles))), labels=labels)


_FRAME = 0.8  # light grey
