"""What the lecture does to the pixels after each step: four regularizers that are no penalties, each its own switch.

They act on the picture minus the mean color, in this order: decay, blur, small pixels, small contributions.
"""

from __future__ import annotations

import dataclasses
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from phosphene.core.errors import OptionError
from phosphene.core.registry import Named


@dataclasses.dataclass(frozen=True)
class Edit(Named):
    """A change of the pixels after a step."""

    def __call__(self, value: Tensor, gradient: Tensor, step: int) -> Tensor:
        """The pixels, changed.

        Args:
            value: (N, 3, H, W), pixels minus the mean color.
            gradient: of the objective by them.
            step: from 1.
        """
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Decay(Edit, name="decay"):
    """L2 decay: every pixel shrinks towards the mean color, so that few grow extreme.

    Args:
        rate: share that is lost at each step, in [0, 1).

    Reference: Yosinski et al., ICML workshop 2015, section 3.
    """

    rate: float = 0.01

    def __post_init__(self) -> None:
        _share("decay", "rate", self.rate)

    def __call__(self, value: Tensor, gradient: Tensor, step: int) -> Tensor:  # noqa: ARG002
        """(1 - rate) · value."""
        return value * (1 - self.rate)


@dataclasses.dataclass(frozen=True)
class Blur(Edit, name="blur"):
    """Gaussian blur: high frequencies, which pay off most and look like nothing, are taken away again.

    Args:
        sigma: in pixels.
        every: steps between two.

    Reference: Yosinski et al., ICML workshop 2015, section 3.
    """

    sigma: float = 0.5
    every: int = 4

    def __post_init__(self) -> None:
        if self.sigma <= 0 or self.every < 1:
            raise OptionError(f"blur wants a sigma above 0, every 1 or more steps; found {self}")

    def __call__(self, value: Tensor, gradient: Tensor, step: int) -> Tensor:  # noqa: ARG002
        """The blurred pixels at every so many steps, else the same."""
        return gaussian(value, self.sigma) if step % self.every == 0 else value


@dataclasses.dataclass(frozen=True)
class ClipNorm(Edit, name="clip-norm"):
    """Pixels whose norm over the colors is small become the mean color: what does not matter is left out.

    Args:
        share: of all pixels that are cleared, in [0, 1).

    Reference: Yosinski et al., ICML workshop 2015, section 3.
    """

    share: float = 0.3

    def __post_init__(self) -> None:
        _share("clip-norm", "share", self.share)

    def __call__(self, value: Tensor, gradient: Tensor, step: int) -> Tensor:  # noqa: ARG002
        """The pixels without the faintest."""
        return value * _above(value.norm(dim=1, keepdim=True), self.share)


@dataclasses.dataclass(frozen=True)
class ClipContribution(Edit, name="clip-contribution"):
    """Pixels that contribute little, |Σ value · gradient| over the colors, become the mean color.

    Args:
        share: of all pixels that are cleared, in [0, 1).

    Reference: Yosinski et al., ICML workshop 2015, section 3.
    """

    share: float = 0.3

    def __post_init__(self) -> None:
        _share("clip-contribution", "share", self.share)

    def __call__(self, value: Tensor, gradient: Tensor, step: int) -> Tensor:  # noqa: ARG002
        """The pixels without those that hardly matter."""
        return value * _above((value * gradient).sum(1, keepdim=True).abs(), self.share)


def gaussian(images: Tensor, sigma: float) -> Tensor:
    """Gaussian blur, separable, the border repeated.

    >>> gaussian(torch.ones(1, 3, 8, 8), 1.0).sub(1).abs().max().item() < 1e-6
    True
    """
    reach = max(1, math.ceil(3 * sigma))
    places = torch.arange(-reach, reach + 1, device=images.device, dtype=images.dtype)
    kernel = torch.exp(-0.5 * (places / sigma) ** 2)
    kernel = (kernel / kernel.sum()).view(1, 1, 1, -1).expand(images.shape[1], 1, 1, -1)
    for axes in ((2, 3), (3, 2)):
        row = kernel if axes == (2, 3) else kernel.transpose(2, 3)
        pad = [reach, reach, 0, 0] if axes == (2, 3) else [0, 0, reach, reach]
        images = F.conv2d(F.pad(images, pad, mode="replicate"), row, groups=images.shape[1])
    return images


def _above(norms: Tensor, share: float) -> Tensor:
    """1 where a norm (N, 1, H, W) is above the quantile of its image."""
    floor = norms.flatten(1).quantile(share, 1).view(-1, 1, 1, 1)
    return (norms > floor) if share else torch.ones_like(norms)


def _share(name: str, option: str, value: float) -> None:
    if not 0 <= value < 1:
        raise OptionError(f"{option} is {value}; {name} wants at least 0 and less than 1")
