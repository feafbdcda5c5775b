"""The canvas of pictures of several sizes, enlarged and added."""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F
from torch import Tensor

from phosphene.core.errors import OptionError
from phosphene.core.networks.network import Images, Network
from phosphene.synthesis.canvas.canvas import Canvas, Painting
from phosphene.synthesis.canvas.color import ColorDecorrelation


@dataclasses.dataclass(frozen=True)
class Pyramid(Canvas, name="pyramid"):
    """Laplacian pyramid: pictures, each half as large as the last, enlarged and added; coarse shapes need few steps.

    image = sigmoid(mean + A · Σ enlarge(picture of level k)).

    Args:
        levels: sizes; fewer where a side would fall below 4 pixels.
        noise: deviation of every level at the start.

    Reference: Olah, Mordvintsev & Schubert, Distill 2017, notebooks; Burt & Adelson, IEEE Trans. Comm. 1983.
    """

    levels: int = 5
    noise: float = 0.05

    def __post_init__(self) -> None:
        if self.levels < 1:
            raise OptionError(f"levels is {self.levels}; pyramid wants at least 1")

    def begin(
        self,
        network: Network,
        count: int,
        size: tuple[int, int],
        *,
        generator: torch.Generator,
        start: Images | None = None,
    ) -> Painting:
        """Noise of low contrast at every level, or the images: each level holds what coarser ones cannot show."""
        colors = ColorDecorrelation.of(network)
        sizes = [(size[0] >> level, size[1] >> level) for level in range(self.levels)]
        sizes = [small for small in sizes if min(small) >= 4] or [size]
        shapes = [(count, colors.mixing.shape[1], *small) for small in sizes]
        pictures = [self.noise * torch.randn(shape, generator=generator).to(colors.mean) for shape in shapes]
        if start is not None:
            rest = colors.inverse(start.to(colors.mean)).expand(count, -1, -1, -1)
            for level in reversed(range(len(sizes))):
                pictures[level] = F.interpolate(rest, sizes[level], mode="bilinear", antialias=True)
                rest = rest - _enlarged(pictures[level], size)

        def render(**levels: Tensor) -> Images:
            return colors(torch.stack([_enlarged(picture, size) for picture in levels.values()]).sum(0))

        return Painting({f"level{number}": picture for number, picture in enumerate(pictures)}, render)


def _enlarged(picture: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(picture, size, mode="bilinear", align_corners=False)
