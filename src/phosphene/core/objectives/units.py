"""Objectives about a unit of a layer: a channel's mean or maximum, or one neuron."""

from __future__ import annotations

import dataclasses

from torch import Tensor

from phosphene.core.errors import TargetError
from phosphene.core.networks.network import Activations, Network
from phosphene.core.objectives.objective import Objective


@dataclasses.dataclass(frozen=True)
class Channel(Objective, name="channel"):
    """Mean activation of one channel of a layer.

    Args:
        layer: name of the layer.
        channel: index of the channel.
    """

    layer: str
    channel: int

    @property
    def reads(self) -> frozenset[str]:
        return frozenset({self.layer})

    def __call__(self, activations: Activations) -> Tensor:
        return activations[self.layer][:, self.channel, None].flatten(1).mean(1)

    def bind(self, network: Network) -> Objective:
        """The same unit, checked to exist."""
        shape = network.shape(self.layer)
        if not 0 <= self.channel < shape[0]:
            raise TargetError(
                f"{self.layer} of {network.name} has no channel {self.channel}; its {shape[0]} are 0 … {shape[0] - 1}"
            )
        return self

    def __str__(self) -> str:
        return f"{self.layer}:{self.channel}"


@dataclasses.dataclass(frozen=True)
class ChannelMax(Channel, name="channel-max"):
    """Maximum activation of one channel of a layer over its positions.

    Args:
        layer: name of the layer.
        channel: index of the channel.
    """

    def __call__(self, activations: Activations) -> Tensor:
        return activations[self.layer][:, self.channel, None].flatten(1).amax(1)

    def __str__(self) -> str:
        return f"{super().__str__()}@max"


@dataclasses.dataclass(frozen=True)
class Neuron(Channel, name="neuron"):
    """Activation of one channel at one position.

    Args:
        layer: name of the layer.
        channel: index of the channel.
        row: of the layer's map, from 0.
        column: of the layer's map, from 0.
    """

    row: int = 0
    column: int = 0

    def __call__(self, activations: Activations) -> Tensor:
        maps = activations[self.layer]
        height, width = maps.shape[2:]
        if self.row >= height or self.column >= width:
            raise TargetError(
                f"{self} is outside of a map of {height} × {width}; give a larger image, or a place in it"
            )
        return maps[:, self.channel, self.row, self.column]

    def bind(self, network: Network) -> Objective:
        """The same neuron, checked to exist."""
        super().bind(network)
        shape = network.shape(self.layer)
        if len(shape) != 3:
            raise TargetError(f"{self.layer} of {network.name} has no places; write {self.layer}:{self.channel}")
        if not (0 <= self.row < shape[1] and 0 <= self.column < shape[2]):
            raise TargetError(
                f"{self.layer} of {network.name} has no place {self.row},{self.column}; "
                f"its map is {shape[1]} × {shape[2]}"
            )
        return self

    def __str__(self) -> str:
        return f"{super().__str__()}@{self.row},{self.column}"
