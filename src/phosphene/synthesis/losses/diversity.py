"""Several answers to one question: pictures that are pushed apart while they are made."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from phosphene.core.errors import OptionError
from phosphene.core.networks.network import Activations, Network
from phosphene.core.objectives.objective import Objective


@dataclasses.dataclass(frozen=True)
class Diverse(Objective, name="diverse"):
    """An objective that pays less for a picture the more the others of its batch look like it.

    value · (1 ∓ share · s), s the mean cosine between the Gram matrix of the picture's activations and those of the
    other pictures: which features occur together, wherever they are. As a share of the value it needs no weight of the
    layer's own.

    Args:
        objective: what is wanted.
        layer: whose features should differ.
        share: of the value that is lost when all pictures are alike.

    Reference: Olah, Mordvintsev & Schubert, Distill 2017, section "Diversity"; there the weight is found by hand.
    """

    objective: Objective
    layer: str
    share: float = 1.0

    def __post_init__(self) -> None:
        if self.share < 0:
            raise OptionError(f"share is {self.share}; diverse wants at least 0")

    @property
    def reads(self) -> frozenset[str]:
        return self.objective.reads | {self.layer}

    def bind(self, network: Network) -> Objective:
        """The same, with the objective looked up and the layer known to have maps.

        Raises:
            OptionError: the layer has no maps.
        """
        if len(network.shape(self.layer)) != 3:
            raise OptionError(
                f"{self.layer} has no maps, so its features cannot differ by place; name an earlier layer"
            )
        return dataclasses.replace(self, objective=self.objective.bind(network))

    def __call__(self, activations: Activations) -> Tensor:
        values = self.objective(activations)
        return values - self.share * values.detach().abs() * _likeness(activations[self.layer])

    def __str__(self) -> str:
        return str(self.objective)


def _likeness(maps: Tensor) -> Tensor:
    """(N,): how much each of some (N, C, H, W) is like the others on average, in [-1, 1]; 0 for a single one."""
    rows = maps.flatten(2)
    grams = torch.nn.functional.normalize((rows @ rows.transpose(1, 2)).flatten(1))
    cosines = grams @ grams.T
    return (cosines.sum(1) - cosines.diagonal()) / max(1, len(maps) - 1)
