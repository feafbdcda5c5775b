"""Objectives about a class: its logit, its probability."""

from __future__ import annotations

import dataclasses
import re
from typing import ClassVar

from torch import Tensor

from phosphene.core.errors import TargetError
from phosphene.core.networks.network import Activations, Network
from phosphene.core.objectives.objective import Objective


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

    def as_term(self) -> str:
        return _quoted(str(self))


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
        return f"p({_quoted(super().__str__())})"

    def as_term(self) -> str:
        return str(self)


def _quoted(label: str) -> str:
    """A label, in quotes where it contains an operator of the target grammar."""
    return f'"{label}"' if _OPERATOR.search(label) else label


_OPERATOR = re.compile(r"\s[+-]\s|^[-+.\d]+\s*\*|^p\(.*\)$|:\d|^\s|\s$")
