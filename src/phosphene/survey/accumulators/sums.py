"""Sums that do not depend on the order of the summands, since they are sums of integers."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

LIMIT = 2.0**20
"""Values are clipped to ±LIMIT; sums then have room for 2²³ images."""

_BITS = 48  # after the point: a float32 of 2^-24 or more needs no more


def powers(values: Tensor) -> Tensor:
    """Values and their squares, summed over the images.

    A sum is whole + part * 2⁻⁴⁸ with integers whole and part, which `add` normalizes to 0 <= part < 2⁴⁸.

    Args:
        values: (N, …) finite, as exact as float32; fewer than 2¹⁵ images.

    Returns:
        (…, 2, 2) int64: [first or second power, whole or part].
    """
    assert len(values) < 2**15, "more would overflow an integer"
    values = values.double().clamp(-LIMIT, LIMIT)
    both = torch.stack([values, values * values])
    whole = both.floor()
    part = both.sub_(whole).mul_(2.0**_BITS).round_()
    return torch.stack([whole.long().sum(1), part.long().sum(1)]).movedim((1, 0), (-2, -1))


def add(sums: Tensor, more: Tensor) -> None:
    """Add sums to sums, in place; equal sums are equal bytes."""
    sums += more
    sums[..., 0] += sums[..., 1] >> _BITS
    sums[..., 1] &= 2**_BITS - 1


def mean_variance(
    images: npt.NDArray[np.int64], sums: Tensor
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The mean Σx/n and the variance Σx²/n - (Σx/n)²; in integers up to the last division.

    A variance no greater than the rounding error is 0. NaN without images.

    Args:
        images: (…) how many values were summed.
        sums: (…, 2, 2) as `powers` gives them.

    >>> sums = torch.zeros(1, 2, 2, dtype=torch.long)
    >>> for value in (10000 - 2**-7, 10000 + 2**-7):
    ...     add(sums, powers(torch.tensor([[value]])))
    >>> [values.tolist() for values in mean_variance(np.array([2]), sums)] == [[10000.0], [2**-14]]
    True
    """
    parts: npt.NDArray[Any] = sums.numpy().astype(object)
    first, second = np.moveaxis(parts[..., 0] * 2**_BITS + parts[..., 1], -1, 0)
    n = np.maximum(images, 1).astype(object)
    scaled = n * second * 2**_BITS - first * first
    scaled[scaled <= n * n * 2 ** (_BITS - 1)] = 0
    mean, variance = first / (n * 2**_BITS), scaled / (n * n * 4**_BITS)
    none = images == 0
    return np.where(none, np.nan, mean.astype(float)), np.where(none, np.nan, variance.astype(float))
