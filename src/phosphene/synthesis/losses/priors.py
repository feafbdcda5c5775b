"""What else an image should be: objectives of the pixels, to be subtracted from what is wanted."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from phosphene.core.errors import OptionError
from phosphene.core.networks.network import Activations, Network
from phosphene.core.objectives.objective import Objective
from phosphene.synthesis.canvas.color import mean_color


@dataclasses.dataclass(frozen=True)
class L2(Objective, name="l2"):
    """Squared distance of the image from the mean color of the network, ‖I‖², averaged over pixels and colors.

    Args:
        color: RGB in [0, 1] to measure from; that of the network, once bound to one, by default.

    Reference: Simonyan, Vedaldi & Zisserman, ICLR workshop 2014, equation 1.
    """

    color: tuple[float, ...] = ()

    @property
    def reads(self) -> frozenset[str]:
        return frozenset({"input"})

    def bind(self, network: Network) -> Objective:
        """The same, measured from the mean color of a network."""
        return self if self.color else L2(tuple(mean_color(network).flatten().tolist()))

    def __call__(self, activations: Activations) -> Tensor:
        images = activations["input"]
        color = images.new_tensor(self.color or (0.5,) * 3).view(1, 3, 1, 1)
        return (images - color).square().flatten(1).mean(1)

    def __str__(self) -> str:
        return "l2"


@dataclasses.dataclass(frozen=True)
class TotalVariation(Objective, name="total-variation"):
    """Roughness: (Δx² + Δy²) to the power beta / 2, averaged over pixels and colors.

    Args:
        beta: 2 for squared differences; less lets edges stand.

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
        steps = down.square() + across.square()
        # The root of zero has no slope; flat places are to have none either.
        rough = steps if self.beta == 2 else torch.where(steps > 0, steps.clamp(min=1e-12) ** (self.beta / 2), 0.0)
        return rough.flatten(1).mean(1)

    def __str__(self) -> str:
        return "total-variation"
