"""The sight of a tensor: which box of the picture each of its entries has seen.

A box is kept as (-top, -left, bottom, right): the union of boxes is then the elementwise maximum, and -∞ has
seen nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

Steps = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Sight:
    """What each entry of a tensor has seen: tensors of its shape, with stride 0 wherever all see the same.

    Args:
        seen: -top, -left, bottom, right, in pixels.
        reach: the same in a picture that goes on beyond its edges: padding counts as pixels.
        step: rows and columns from one place to the next, for maps with a single place, which do not show it.
    """

    seen: tuple[Tensor, ...]
    reach: tuple[Tensor, ...]
    step: tuple[float, float] = (0.0, 0.0)

    def each(self, change: Callable[[Tensor], Tensor], step: tuple[float, float] = (0.0, 0.0)) -> Sight:
        """The same change to all sides."""
        return Sight(tuple(map(change, self.seen)), tuple(map(change, self.reach)), step)

    @staticmethod
    def of(picture: Tensor) -> Sight:
        """Every pixel of (N, C, H, W) has seen itself."""
        rows, columns = (torch.arange(float(size), device=picture.device) for size in picture.shape[2:])
        rows = rows.view(-1, 1)
        sides = tuple(side.expand(picture.shape) for side in (-rows, -columns, rows + 1, columns + 1))
        return Sight(sides, sides, (1.0, 1.0))

    @property
    def ndim(self) -> int:
        """Number of dimensions of the tensor."""
        return self.seen[0].ndim

    @property
    def shape(self) -> torch.Size:
        """Shape of the tensor."""
        return self.seen[0].shape


def union(sights: Sequence[Sight], shape: torch.Size) -> Sight:
    """What entries have seen that read one entry of each, after broadcasting."""
    if len(sights) == 1 and sights[0].shape == shape:
        return sights[0]

    def widest(*sides: Tensor) -> Tensor:
        return reduce(torch.maximum, map(narrow, sides)).expand(shape)

    seen, reach = (tuple(map(widest, *parts)) for parts in ([s.seen for s in sights], [s.reach for s in sights]))
    return Sight(seen, reach, farthest(sights))


def narrow(side: Tensor, dims: Sequence[int] | None = None) -> Tensor:
    """One entry of each dimension along which all have seen the same."""
    for dim in range(side.ndim) if dims is None else dims:
        if side.stride(dim) == 0:
            side = side.narrow(dim, 0, min(1, side.shape[dim]))
    return side


def farthest(sights: Sequence[Sight]) -> Steps:
    """The larger of the steps, down and across."""
    return max(each.step[0] for each in sights), max(each.step[1] for each in sights)


def most(sight: Sight, dims: Sequence[int], step: Steps = (0.0, 0.0)) -> Sight:
    """The union over dimensions, which stay with size 1."""
    return sight.each(lambda side: narrow(side).amax(tuple(dims), keepdim=True), step)


def spread(sight: Sight, shape: torch.Size) -> Sight:
    """The same sight for all entries along the dimensions of size 1."""
    return sight.each(lambda side: side.expand(shape), sight.step)
