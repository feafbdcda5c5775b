"""The algebra of objectives: one scalar per image, read from activations, closed under +, - and scaling."""

from __future__ import annotations

import dataclasses
from numbers import Real
from typing import ClassVar

from torch import Tensor

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
        """Names of the activations that it reads."""
        raise NotImplementedError

    def __call__(self, activations: Activations) -> Tensor:
        """(N,), one scalar per image."""
        raise NotImplementedError

    def bind(self, network: Network) -> Objective:  # noqa: ARG002  most have nothing to look up
        """The same objective with labels replaced by indices and layers checked against a network.

        Raises:
            TargetError: no such class or channel.
            LayerError: no such layer.
        """
        return self

    def of_image(self, index: int) -> Objective:  # noqa: ARG002  most are the same for all images
        """The objective of one image of the batch that it is evaluated on."""
        return self

    def as_term(self) -> str:
        """Its text within a sum, in quotes where `parse` would otherwise read an operator in it."""
        return str(self)

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

    def of_image(self, index: int) -> Objective:
        return Sum(tuple((weight, term.of_image(index)) for weight, term in self.terms))

    def __str__(self) -> str:
        parts = [
            (weight, f"{_number(abs(weight))}*{term.as_term()}" if abs(weight) != 1 else term.as_term())
            for weight, term in self.terms
        ]
        (first, head), *rest = parts
        sign = "-1*" if first == -1 else "-" if first < 0 else ""
        return sign + head + "".join(f" {'-' if weight < 0 else '+'} {text}" for weight, text in rest)


def _number(weight: float) -> str:
    """The shortest text that reads as the same number."""
    return f"{weight:g}" if float(f"{weight:g}") == weight else repr(float(weight))


def _terms(objective: Objective) -> tuple[tuple[float, Objective], ...]:
    return objective.terms if isinstance(objective, Sum) else ((1.0, objective),)
