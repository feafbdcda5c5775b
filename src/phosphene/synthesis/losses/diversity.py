"""Diversity: several pictures of one objective that are pushed apart while they are made."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from phosphene.core.errors import OptionError
from phosphene.core.networks.network import Activations, Network
from phosphene.core.objectives.objective import Objective
from phosphene.synthesis.losses.gram import gram_matrix


@dataclasses.dataclass(frozen=True)
class Diverse(Objective, name="diverse"):
    """An objective that is smaller the more similar the features of the other pictures of the batch are.

    value - share · |value| · s, where s is the mean cosine similarity of the Gram matrix of the picture's activations
    and those of the other pictures. As a share of the value it needs no weight for each layer.

    Args:
        objective: what is wanted.
        layer: whose Gram matrices should differ.
        share: of the value that is lost when all Gram matrices are the same.

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
        return values - self.share * values.detach().abs() * _similarity(activations[self.layer])

    def __str__(self) -> str:
        return str(self.objective)


def _similarity(maps: Tensor) -> Tensor:
    """(N,): mean cosine similarity of the Gram matrix of each (N, C, H, W) and those of the others; 0 of a single."""
    grams = torch.nn.functional.normalize(gram_matrix(maps).flatten(1))
    cosines = grams @ grams.T
    return (cosines.sum(1) - cosines.diagonal()) / max(1, len(maps) - 1)
