"""Images of any size in tiles, and gradients that are blurred."""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

import torch
from torch import Tensor

from phosphene.core.errors import OptionError
from phosphene.core.images.image import blurred
from phosphene.core.networks.network import Images
from phosphene.synthesis.transforms.transforms import Transform


@dataclasses.dataclass(frozen=True)
class Tiles(Transform, name="tiles"):
    """Tiles of one size that cover an image of any size, at random offsets, which serve as jitter too.

    Neighbors share a margin over which the gradient fades from one to the other, so that there are no seams. Beyond its
    edges the image is mirrored, and the mirrored part gets no gradient: nothing passes from one edge to the opposite
    one, as it does where an image is rolled. An image smaller than a tile lies at a random place of it. Memory is
    bounded by the `batch` of `synthesize`, the tiles of one pass.

    Args:
        size: height and width of a tile, in pixels: what the network takes.
        overlap: that of neighbors, in pixels; offsets vary at least as much.

    >>> Tiles((32, 32), 8)(torch.rand(1, 3, 60, 100), torch.Generator()).shape
    torch.Size([12, 3, 32, 32])
    """

    size: tuple[int, int] = (224, 224)
    overlap: int = 32

    def __post_init__(self) -> None:
        if not 1 <= self.overlap <= min(self.size) // 2:
            raise OptionError(f"overlap is {self.overlap}; tiles of {self.size} share 1 … {min(self.size) // 2} pixels")

    def count(self, size: tuple[int, int]) -> int:
        """Number of tiles that cover an image of a height and width."""
        return math.prod(self._along(*sides) for sides in zip(size, self.size, strict=True))

    def __call__(self, images: Images, generator: torch.Generator) -> Images:
        """(N * tiles, 3, *size); the tiles of one image stand together, row by row."""
        tiles = []
        for image, (down, across) in zip(images, torch.rand(len(images), 2, generator=generator).tolist(), strict=True):
            rows = self._positions(image.shape[1], self.size[0], down, image)
            columns = self._positions(image.shape[2], self.size[1], across, image)
            for row, high in zip(*rows, strict=True):
                for column, wide in zip(*columns, strict=True):
                    tile = image[:, row][:, :, column]
                    fixed = tile.detach()
                    tiles.append(fixed + (tile - fixed) * (high[:, None] * wide))  # the tile; its gradient is weighted
        return torch.stack(tiles)

    def _along(self, length: int, side: int) -> int:
        return max(1, math.ceil((length - self.overlap) / (side - self.overlap)))

    def _positions(self, length: int, side: int, draw: float, like: Tensor) -> _Strips:
        """The tiles along one axis, shifted by a random number from [0, 1)."""
        pitch, count = side - self.overlap, self._along(length, side)
        room = count * pitch + self.overlap - length
        out = max(0, math.ceil((self.overlap - room) / 2))  # pixels left out at one end, where there is no room to move
        first = int(draw * (room + 2 * out + 1)) - room - out
        places = first + pitch * torch.arange(count)[:, None] + torch.arange(side)
        weights = torch.ones(count, side)
        fade = (torch.arange(self.overlap) + 0.5) / self.overlap
        weights[1:, : self.overlap], weights[:-1, -self.overlap :] = fade, fade.flip(0)
        weights *= (places >= 0) & (places < length)
        mirrored = places % max(1, 2 * (length - 1))
        return _Strips(torch.minimum(mirrored, 2 * (length - 1) - mirrored).to(like.device), weights.to(like))


@dataclasses.dataclass(frozen=True)
class Soften(Transform, name="soften"):
    """The image as it is, its gradient blurred: high frequencies raise the objective most, and look like noise.

    Args:
        sigma: of the Gaussian, in pixels.

    >>> images = torch.rand(1, 3, 8, 8)
    >>> torch.equal(Soften()(images, torch.Generator()), images)
    True
    """

    sigma: float = 1.0

    def __post_init__(self) -> None:
        if self.sigma <= 0:
            raise OptionError(f"sigma is {self.sigma}; soften wants more than 0")

    def __call__(self, images: Images, generator: torch.Generator) -> Images:  # noqa: ARG002
        """The same images."""
        fixed = images.detach()
        return fixed + blurred(images - fixed, self.sigma)


class _Strips(NamedTuple):
    """Position in the image of every pixel of every tile, and the weight of its gradient: (tiles, side) both."""

    places: Tensor
    weights: Tensor
