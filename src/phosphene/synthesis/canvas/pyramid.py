"""The canvas of several sizes, laid over one another."""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F
from torch import Tensor

from phosphene.core.errors import OptionError
from phosphene.core.networks.network import Images, Network
from phosphene.synthesis.canvas.canvas import Canvas, Painting
from phosphene.synthesis.canvas.color import Ink


@dataclasses.dataclass(frozen=True)
class Pyramid(Canvas, name="pyramid"):
    """Pictures of several sizes, each half the last, enlarged and added: coarse things cost as few steps as fine ones.

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
        """Faint noise at every level, or the images: what a level cannot show is left to the next finer one."""
        ink = Ink.of(network)
        sizes = [(size[0] >> level, size[1] >> level) for level in range(self.levels)]
        sizes = [each for each in sizes if min(each) >= 4] or [size]
        shapes = [(count, ink.mixing.shape[1], *each) for each in sizes]
        pictures = [self.noise * torch.randn(shape, generator=generator).to(ink.mean) for shape in shapes]
        if start is not None:
            rest = ink.wash(start.to(ink.mean)).expand(count, -1, -1, -1)
            for level in reversed(range(len(sizes))):
                pictures[level] = F.interpolate(rest, sizes[level], mode="bilinear", antialias=True)
                rest = rest - _enlarged(pictures[level], size)

        def render(**levels: Tensor) -> Images:
            return ink(torch.stack([_enlarged(each, size) for each in levels.values()]).sum(0))

        return Painting({f"level{number}": each for number, each in enumerate(pictures)}, render)


def _enlarged(picture: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(picture, size, mode="bilinear", align_corners=False)
