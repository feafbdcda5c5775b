"""What a question is about: one scalar per image, read from activations, closed under +, - and scaling."""

from __future__ import annotations

import dataclasses
from numbers import Real
from typing import ClassVar

from torch import Tensor

from phosphene.core.errors import TargetError
from phosphene.core.networks.network import Activations, Network
from phosphene.core.registry import Named


@dataclasses.dataclass(frozen=True)
class Objective(Named):
    """A scalar per image. Objectives add, subtract and scale, and are never mutated.

    >>> 2 * Channel("conv", 3) - 0.5 * Logit(7)
    Sum(terms=((2.0, Channel(layer='conv', channel=3)), (-0.5, Logit(index=7))))
    >>> print(2 * Channel("conv", 3) - 0.5 * Logit(7))
    2*conv:3 - 0.5*7
    """

    unit: ClassVar[str] = "activation"

    @property
    def reads(self) -> frozenset[str]:
        """Names of the activations it wants."""
        raise NotImplementedError

    def __call__(self, activations: Activations) -> Tensor:
        """(N,), one scalar per image."""
        raise NotImplementedError

    def bind(self, network: Network) -> Objective:  # noqa: ARG002  most have nothing to look up
        """The same objective with its labels looked up and its layers checked against a network.

        Raises:
            TargetError: no such class or channel.
            LayerError: no such layer.
        """
        return self

    def __add__(self, other: Objective) -> Objective:
        if not isinstance(other, Objective):
            return NotImplemented
        return Sum(_terms(self) + _terms(other))

    def __mul__(self, factor: float) -> Objective:
        if not isinstance(factor, Real):
            return NotImplemented
        return Sum(tuple((factor * weight, term) for weight, term in _terms(self)))

    __rmul__ = __mul__

    def __neg__(self) -> Objective:
        return -1.0 * self

    def __sub__(self, other: Objective) -> Objective:
        return self + -other


@dataclasses.dataclass(frozen=True)
class Sum(Objective, name="sum"):
    """A weighted sum of objectives, such as the difference of two classes.

    Args:
        terms: pairs of weight and objective.
    """

    terms: tuple[tuple[float, Objective], ...]

    @property
    def unit(self) -> str:  # type: ignore[override]  # of a sum: that of its terms
        """The unit of the terms, where they share one."""
        units = {term.unit for _, term in self.terms}
        return units.pop() if len(units) == 1 else "mixed units"

    @property
    def reads(self) -> frozenset[str]:
        return frozenset().union(*(term.reads for _, term in self.terms))

    def __call__(self, activations: Activations) -> Tensor:
        first, *rest = (weight * term(activations) for weight, term in self.terms)
        return sum(rest, start=first)

    def bind(self, network: Network) -> Objective:
        return Sum(tuple((weight, term.bind(network)) for weight, term in self.terms))

    def __str__(self) -> str:
        parts = [
            (weight, f"{_number(abs(weight))}*{term}" if abs(weight) != 1 else str(term)) for weight, term in self.terms
        ]
        (first, head), *rest = parts
        sign = "-1*" if first == -1 else "-" if first < 0 else ""
        return sign + head + "".join(f" {'-' if weight < 0 else '+'} {text}" for weight, text in rest)


@dataclasses.dataclass(frozen=True)
class Logit(Objective, name="logit"):
    """Score of one class before the softmax.

    Args:
        index: index of the class, or its label.
    """

    index: int | str
    label: str = dataclasses.field(default="", compare=False, repr=False)
    unit: ClassVar[str] = "logit"

    @property
    def reads(self) -> frozenset[str]:
        return frozenset({"logits"})

    def __call__(self, activations: Activations) -> Tensor:
        if isinstance(self.index, str):
            raise TargetError(f"the label {self.index!r} is not looked up yet; call .bind(network) on the objective")
        logits = activations["logits"]
        if logits.ndim != 2:
            raise TargetError(
                f"the network returns {tuple(logits.shape)}, not (N, K) logits; name a place in it, "
                f"such as logits:{self.index} or logits:{self.index}@row,column"
            )
        return logits[:, self.index]

    def bind(self, network: Network) -> Objective:
        """The same class, by index and label."""
        index = network.index(self.index) if isinstance(self.index, str) else self.index
        classes = network.classes
        if not 0 <= index < classes:
            raise TargetError(f"{network.name} has no class {index}; its {classes} classes are 0 … {classes - 1}")
        return dataclasses.replace(self, index=index, label=network.label(index))

    def __str__(self) -> str:
        return self.label or str(self.index)


@dataclasses.dataclass(frozen=True)
class Probability(Logit, name="probability"):
    """Probability of one class after the softmax. It saturates: prefer the logit for anything but reporting.

    Args:
        index: index of the class, or its label.
    """

    unit: ClassVar[str] = "probability"

    def __call__(self, activations: Activations) -> Tensor:
        return super().__call__({"logits": activations["logits"].softmax(1)})

    def __str__(self) -> str:
        return f"p({super().__str__()})"


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
        """The same unit, known to exist."""
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
    """Strongest activation of one channel of a layer, wherever it is.

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
    """Activation of one channel at one place.

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
        """The same neuron, known to exist."""
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


def _number(weight: float) -> str:
    """The shortest text that reads as the same number."""
    return f"{weight:g}" if float(f"{weight:g}") == weight else repr(float(weight))


def _terms(objective: Objective) -> tuple[tuple[float, Objective], ...]:
    return objective.terms if isinstance(objective, Sum) else ((1.0, objective),)
