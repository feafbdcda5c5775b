"""Priors: objectives of the pixels alone, to be subtracted from what is wanted."""

from __future__ import annotations

import dataclasses
from typing import Self

import torch
from torch import Tensor

from phosphene.core.errors import OptionError
from phosphene.core.networks.network import Activations, Network
from phosphene.core.objectives.objective import Objective


@dataclasses.dataclass(frozen=True)
class ColorPrior(Objective):
    """A penalty for the distance of the pixels from a color."""

    color: tuple[float, ...] = ()

    @property
    def reads(self) -> frozenset[str]:
        return frozenset({"input"})

    def bind(self, network: Network) -> Self:
        """The same, measured from the mean color of a network."""
        return self if self.color else dataclasses.replace(self, color=network.preprocess.mean_color)

    def center(self, images: Tensor) -> Tensor:
        """The color as (1, 3, 1, 1); middle grey where it is not bound to a network."""
        return images.new_tensor(self.color or (0.5,) * 3).view(1, 3, 1, 1)

    def __str__(self) -> str:
        return str(self.name)


@dataclasses.dataclass(frozen=True)
class L2(ColorPrior, name="l2"):
    """Squared distance of the image from the mean color of the network, ‖I‖², averaged over pixels and colors.

    Args:
        color: RGB in [0, 1] to measure from; the mean color of the network, once bound to one, by default.

    Reference: Simonyan, Vedaldi & Zisserman, ICLR workshop 2014, equation 1.
    """

    def __call__(self, activations: Activations) -> Tensor:
        images = activations["input"]
        return (images - self.center(images)).square().flatten(1).mean(1)


@dataclasses.dataclass(frozen=True)
class AlphaNorm(ColorPrior, name="alpha-norm"):
    """Alpha-norm of the distance from the mean color, |(I - mean) / range|^alpha, averaged over pixels and colors.

    The range is the largest distance that a color can have from the mean: black or white counts 1, and what is half as
    far, with alpha 6, counts 1/64. A high power bounds colors to the range of photographs and leaves them free within.

    Args:
        color: RGB in [0, 1] to measure from; the mean color of the network, once bound to one, by default.
        alpha: the power.

    Reference: Mahendran & Vedaldi, CVPR 2015, section 3, where alpha is 6.

    >>> AlphaNorm(alpha=2)({"input": torch.tensor([0.5, 0.75, 1.0]).view(3, 1, 1, 1).expand(3, 3, 2, 2)})
    tensor([0.0000, 0.2500, 1.0000])
    """

    alpha: float = 6.0

    def __post_init__(self) -> None:
        if self.alpha < 1:
            raise OptionError(f"alpha is {self.alpha}; alpha-norm wants at least 1")

    def __call__(self, activations: Activations) -> Tensor:
        images = activations["input"]
        center = self.center(images)
        return ((images - center) / torch.maximum(center, 1 - center)).abs().pow(self.alpha).flatten(1).mean(1)


@dataclasses.dataclass(frozen=True)
class TotalVariation(Objective, name="total-variation"):
    """Total variation: (Δx² + Δy²) to the power beta / 2, averaged over pixels and colors.

    Args:
        beta: 2 for squared differences; less penalizes edges less.

    Reference: Mahendran & Vedaldi, CVPR 2015, section 3.

    >>> TotalVariation()({"input": torch.tensor([0.0, 1.0]).expand(1, 3, 2, 2)})
    tensor([1.])
    """

    beta: float = 2.0

    def __post_init__(self) -> None:
        if self.beta <= 0:
            raise OptionError(f"beta is {self.beta}; total-variation wants more than 0")

    @property
    def reads(self) -> frozenset[str]:
        return frozenset({"input"})

    def __call__(self, activations: Activations) -> Tensor:
        images = activations["input"]
        down, across = images.diff(dim=2)[..., :-1], images.diff(dim=3)[..., :-1, :]
        squares = down.square() + across.square()
        # The derivative of the root is infinite at zero; flat places get none.
        power = (
            squares if self.beta == 2 else torch.where(squares > 0, squares.clamp(min=1e-12) ** (self.beta / 2), 0.0)
        )
        return power.flatten(1).mean(1)

    def __str__(self) -> str:
        return "total-variation"
