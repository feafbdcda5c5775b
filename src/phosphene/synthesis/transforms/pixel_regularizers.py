"""Pixel regularizers: changes of the pixels after each step, which are no penalties in the objective.

They act on the picture minus the mean color, in this order: decay, blur, small pixels, small contributions.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from phosphene.core.errors import OptionError
from phosphene.core.images import image
from phosphene.core.registry import Named


@dataclasses.dataclass(frozen=True)
class PixelRegularizer(Named):
    """A change of the pixels after each step."""

    def __call__(self, value: Tensor, gradient: Tensor, step: int) -> Tensor:
        """The pixels, changed.

        Args:
            value: (N, 3, H, W), pixels minus the mean color.
            gradient: of the objective by them.
            step: from 1.
        """
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Decay(PixelRegularizer, name="decay"):
    """L2 decay: every pixel moves towards the mean color, so that few values become extreme.

    Args:
        rate: share of the distance that is removed at each step, in [0, 1).

    Reference: Yosinski et al., ICML workshop 2015, section 3.
    """

    rate: float = 0.01

    def __post_init__(self) -> None:
        _share("decay", "rate", self.rate)

    def __call__(self, value: Tensor, gradient: Tensor, step: int) -> Tensor:  # noqa: ARG002
        """(1 - rate) · value."""
        return value * (1 - self.rate)


@dataclasses.dataclass(frozen=True)
class Blur(PixelRegularizer, name="blur"):
    """Gaussian blur: removes high frequencies, which raise the objective most and look like noise.

    Args:
        sigma: deviation of the Gaussian, in pixels.
        every: steps from one blur to the next.

    Reference: Yosinski et al., ICML workshop 2015, section 3.
    """

    sigma: float = 0.5
    every: int = 4

    def __post_init__(self) -> None:
        if self.sigma <= 0 or self.every < 1:
            raise OptionError(f"blur wants a sigma above 0, every 1 or more steps; found {self}")

    def __call__(self, value: Tensor, gradient: Tensor, step: int) -> Tensor:  # noqa: ARG002
        """The blurred pixels at every n-th step, else the same."""
        return image.blurred(value, self.sigma) if step % self.every == 0 else value


@dataclasses.dataclass(frozen=True)
class ClipNorm(PixelRegularizer, name="clip-norm"):
    """Pixels whose norm over the colors is small become the mean color.

    Args:
        share: of all pixels that become the mean color, in [0, 1).

    Reference: Yosinski et al., ICML workshop 2015, section 3.
    """

    share: float = 0.3

    def __post_init__(self) -> None:
        _share("clip-norm", "share", self.share)

    def __call__(self, value: Tensor, gradient: Tensor, step: int) -> Tensor:  # noqa: ARG002
        """The pixels without those of small norm."""
        return value * _above(value.norm(dim=1, keepdim=True), self.share)


@dataclasses.dataclass(frozen=True)
class ClipContribution(PixelRegularizer, name="clip-contribution"):
    """Pixels that contribute little, |Σ value · gradient| over the colors, become the mean color.

    Args:
        share: of all pixels that become the mean color, in [0, 1).

    Reference: Yosinski et al., ICML workshop 2015, section 3.
    """

    share: float = 0.3

    def __post_init__(self) -> None:
        _share("clip-contribution", "share", self.share)

    def __call__(self, value: Tensor, gradient: Tensor, step: int) -> Tensor:  # noqa: ARG002
        """The pixels without those of small contribution."""
        return value * _above((value * gradient).sum(1, keepdim=True).abs(), self.share)


def _above(norms: Tensor, share: float) -> Tensor:
    """1 where the norm of a pixel, (N, 1, H, W), is above the quantile of its image."""
    threshold = norms.flatten(1).quantile(share, 1).view(-1, 1, 1, 1)
    return (norms > threshold) if share else torch.ones_like(norms)


def _share(name: str, option: str, value: float) -> None:
    if not 0 <= value < 1:
        raise OptionError(f"{option} is {value}; {name} wants at least 0 and less than 1")
