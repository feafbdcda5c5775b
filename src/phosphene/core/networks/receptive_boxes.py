"""For each entry of a tensor, the box of the picture that it depends on.

A box is kept as (-top, -left, bottom, right): the union of boxes is then the elementwise maximum, and -∞ depends on
nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

Steps = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Boxes:
    """Boxes of the entries of a tensor: tensors of its shape, with stride 0 wherever all entries have the same.

    Args:
        clipped: -top, -left, bottom, right, in pixels, within the picture.
        padded: the same in a picture that goes on beyond its edges: padding counts as pixels.
        step: rows and columns from one place to the next, for maps with a single place, whose boxes do not tell it.
    """

    clipped: tuple[Tensor, ...]
    padded: tuple[Tensor, ...]
    step: Steps = (0.0, 0.0)

    def apply(self, function: Callable[[Tensor], Tensor], step: Steps = (0.0, 0.0)) -> Boxes:
        """The same function of all sides."""
        return Boxes(tuple(map(function, self.clipped)), tuple(map(function, self.padded)), step)

    @staticmethod
    def of_pixels(picture: Tensor) -> Boxes:
        """Every pixel of (N, C, H, W) depends on itself."""
        rows, columns = (torch.arange(float(size), device=picture.device) for size in picture.shape[2:])
        rows = rows.view(-1, 1)
        sides = tuple(side.expand(picture.shape) for side in (-rows, -columns, rows + 1, columns + 1))
        return Boxes(sides, sides, (1.0, 1.0))

    @property
    def ndim(self) -> int:
        """Number of dimensions of the tensor."""
        return self.clipped[0].ndim

    @property
    def shape(self) -> torch.Size:
        """Shape of the tensor."""
        return self.clipped[0].shape


def union(operands: Sequence[Boxes], shape: torch.Size) -> Boxes:
    """Boxes of a pointwise operation, after broadcasting."""
    if len(operands) == 1 and operands[0].shape == shape:
        return operands[0]

    def widest(*sides: Tensor) -> Tensor:
        return reduce(torch.maximum, map(collapsed, sides)).expand(shape)

    clipped, padded = (
        tuple(map(widest, *sides))
        for sides in ([boxes.clipped for boxes in operands], [boxes.padded for boxes in operands])
    )
    return Boxes(clipped, padded, largest_step(operands))


def collapsed(side: Tensor, dims: Sequence[int] | None = None) -> Tensor:
    """One entry of each dimension along which all are the same, by their stride of 0."""
    for dim in range(side.ndim) if dims is None else dims:
        if side.stride(dim) == 0:
            side = side.narrow(dim, 0, min(1, side.shape[dim]))
    return side


def largest_step(operands: Sequence[Boxes]) -> Steps:
    """The larger of the steps, down and across."""
    return max(boxes.step[0] for boxes in operands), max(boxes.step[1] for boxes in operands)


def union_over(boxes: Boxes, dims: Sequence[int], step: Steps = (0.0, 0.0)) -> Boxes:
    """The union over dimensions, which stay with size 1."""
    return boxes.apply(lambda side: collapsed(side).amax(tuple(dims), keepdim=True), step)


def expanded(boxes: Boxes, shape: torch.Size) -> Boxes:
    """The same boxes for all entries along the dimensions of size 1."""
    return boxes.apply(lambda side: side.expand(shape), boxes.step)
