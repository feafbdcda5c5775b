"""Perturbed copies of one image, as data: patches that cover it, or masks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from phosphene.core.networks.network import Images


class PerturbedCopies(Protocol):
    """Perturbed copies of one image, made a few at a time."""

    def __len__(self) -> int:
        """Number of copies."""

    def apply(self, image: Images, part: slice) -> Images:
        """Copies number part.start to part.stop - 1, (n, 3, H, W), of an image (1, 3, H, W)."""


@dataclasses.dataclass(frozen=True, eq=False)
class Patches:
    """Copies with one covered rectangle each; what lies beyond the border is cut off.

    Args:
        corners: top left corners (P, 2), row and column.
        size: height and width of the rectangle, in pixels.
        fill: picture (1, 3, H, W) that covered pixels show.

    >>> copies = Patches(torch.tensor([[0, 0], [1, 1]]), (1, 1), torch.zeros(1, 3, 2, 2))
    >>> copies.apply(torch.ones(1, 3, 2, 2), slice(0, 2))[:, 0].tolist()
    [[[0.0, 1.0], [1.0, 1.0]], [[1.0, 1.0], [1.0, 0.0]]]
    """

    corners: Tensor
    size: tuple[int, int]
    fill: Images

    def __len__(self) -> int:
        return len(self.corners)

    def apply(self, image: Images, part: slice) -> Images:
        """Copies number part.start to part.stop - 1."""
        corners = self.corners[part].tolist()
        copies = image.repeat(len(corners), 1, 1, 1)
        for copy, (top, left) in zip(copies, corners, strict=True):
            rectangle = ..., slice(top, top + self.size[0]), slice(left, left + self.size[1])
            copy[rectangle] = self.fill[0][rectangle]
        return copies


@dataclasses.dataclass(frozen=True, eq=False)
class Masks:
    """Masked copies: mask * image + (1 - mask) * fill.

    Args:
        count: number of masks.
        make: slice → masks (n, 1, H, W) in [0, 1]; the same masks at every call, so that none need be stored.
        fill: picture (1, 3, H, W) that is shown where a mask is 0.

    >>> masks = torch.tensor([0.0, 0.25, 1.0]).view(3, 1, 1, 1)
    >>> Masks(3, masks.__getitem__, torch.zeros(1, 3, 1, 1)).apply(torch.ones(1, 3, 1, 1), slice(1, 3))[:, 0].flatten()
    tensor([0.2500, 1.0000])
    """

    count: int
    make: Callable[[slice], Tensor]
    fill: Images

    def __len__(self) -> int:
        return self.count

    def apply(self, image: Images, part: slice) -> Images:
        """Copies number part.start to part.stop - 1."""
        return torch.lerp(self.fill, image, self.make(part))
