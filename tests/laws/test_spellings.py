"""Every spelling of ReLU gives the same map, by every attribution method."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import nets
from phosphene.attribution import Attribution, attribute
from phosphene.core.networks.network import Network

FEW: dict[str, Any] = {"samples": 3, "steps": 3, "masks": 6, "patch": 16, "stride": 16, "grid": 3, "channels": 4}
"""Options that make a method run many passes, and values that make it run few."""
METHODS = sorted(Attribution.table.keys() - {"cam"})


def few(name: str) -> Attribution:
    """A method with as few passes as its options allow."""
    cls = Attribution.find(name)
    return cls(**{option.name: FEW[option.name] for option in cls.options() if option.name in FEW})


def run(network: Network, method: Attribution, images: Tensor, target: Any = 0) -> Tensor:
    """The raw map."""
    return attribute(network, images, target, method=method).values


# Spellings of ReLU: the weights are those of Functional, the sentence of the forward pass differs.
class _Modules(nets.Functional):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.ReLU(), nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.second(self.two(self.first(self.one(x)))).mean((2, 3)))


def _spelled(relu: Callable[[Tensor], Tensor]) -> type[nets.Functional]:
    class Spelled(nets.Functional):
        def forward(self, x: Tensor) -> Tensor:
            return self.head(relu(self.two(relu(self.one(x)))).mean((2, 3)))

    return Spelled


def _statement(x: Tensor) -> Tensor:
    F.relu_(x)  # what it returns is not used
    return x


BIG = 1e6  # a cap that nothing reaches
SPELLINGS: dict[str, type[nn.Module]] = {
    "in-place": nets.InPlace,
    "shared": nets.Shared,
    "modules": _Modules,
    "torch.relu": _spelled(torch.relu),
    "F.relu": _spelled(F.relu),
    "F.relu in place": _spelled(lambda x: F.relu(x, inplace=True)),
    "relu_": _spelled(lambda x: x.relu_()),
    "statement": _spelled(_statement),
    "clamp": _spelled(lambda x: x.clamp(min=0)),
    "clamp of two": _spelled(lambda x: torch.clamp(x, 0, BIG)),
    "clamp_": _spelled(lambda x: x.clamp_(0)),
    "clip": _spelled(lambda x: x.clip(min=0)),
    "clamp_min": _spelled(lambda x: x.clamp_min(0)),
    "clamp_min_": _spelled(lambda x: torch.clamp_min_(x, 0)),
    "hardtanh": _spelled(nn.Hardtanh(0, BIG)),
    "hardtanh in place": _spelled(nn.Hardtanh(0, BIG, inplace=True)),
    "threshold": _spelled(nn.Threshold(0, 0)),
    "threshold in place": _spelled(nn.Threshold(0, 0, inplace=True)),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("method", METHODS)
def test_every_spelling_of_relu_gives_the_same_map(method: str, spelling: str) -> None:
    plain, images = nets.build("functional"), nets.pictures()
    module = SPELLINGS[spelling]()
    module.load_state_dict(plain.module.state_dict())
    other = dataclasses.replace(plain, module=module.eval())
    chosen = few(method)
    if any(option.name == "layer" for option in chosen.options()):
        chosen = dataclasses.replace(chosen, layer="two")  # before the ReLU, which may overwrite it
    for target in (0, "two:3@max"):
        assert torch.equal(run(other, chosen, images, target), run(plain, chosen, images, target))
