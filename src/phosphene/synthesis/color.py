"""Colors and spectra of natural photographs, computed from photographs, not copied from anybody's constants."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from phosphene.core.image import Picture, load, resize
from phosphene.core.samples import SAMPLES, sample

_SIDE = 64


class Colors(NamedTuple):
    """How the colors of photographs vary together.

    Args:
        mean: (3,) RGB.
        mixing: (3, 3), the square root of their covariance, scaled so that its longest column has length 1: it turns
            three independent channels into colors as they occur.
    """

    mean: Tensor
    mixing: Tensor


def colors_of(pictures: Sequence[Picture]) -> Colors:
    """The colors of some photographs, each with the same weight.

    Args:
        pictures: natural photographs, at least one.

    >>> import numpy as np
    >>> grey = Picture.from_array(np.arange(256, dtype=np.uint8).reshape(16, 16))
    >>> colors_of([grey]).mixing.round(decimals=2)[0]
    tensor([0.5800, 0.5800, 0.5800])
    """
    pixels = torch.stack([resize(each.tensor(), (_SIDE, _SIDE), "bilinear")[0].flatten(1) for each in pictures])
    mean = pixels.mean((0, 2))
    apart = (pixels - mean[:, None]).transpose(0, 1).flatten(1).double()
    values, vectors = torch.linalg.eigh(apart @ apart.T / apart.shape[1])
    root = vectors @ values.clamp(min=0).sqrt().diag() @ vectors.T
    return Colors(mean, (root / root.norm(dim=0).max()).float())


def spectrum_of(pictures: Sequence[Picture], size: tuple[int, int], colors: Colors) -> Tensor:
    """Mean magnitude of every wave in some photographs, in decorrelated colors: (3, H, W // 2 + 1).

    Args:
        pictures: natural photographs, at least one.
        size: height and width to bring them to.
        colors: of natural photographs.
    """
    apart = torch.linalg.pinv(colors.mixing)
    total = torch.zeros(3, size[0], size[1] // 2 + 1)
    for each in pictures:
        pixels = resize(each.tensor(), size, "bilinear")[0] - colors.mean[:, None, None]
        total += torch.fft.rfft2(torch.einsum("ij,jhw->ihw", apart, pixels), norm="ortho").abs()
    return total / len(pictures)


@lru_cache(maxsize=1)
def natural_colors() -> Colors:
    """The colors of the photographs that are installed."""
    return colors_of([load(sample(name)) for name in SAMPLES])
