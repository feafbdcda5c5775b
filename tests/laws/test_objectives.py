"""The gradient of every registered objective equals finite differences of its value, on tiny tensors."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

import phosphene
from phosphene.core.objectives.classes import Logit, Probability
from phosphene.core.objectives.objective import Objective, Sum
from phosphene.core.objectives.per_image import PerImage
from phosphene.core.objectives.units import Channel, ChannelMax, Neuron
from phosphene.studies.evidence.neurons import Neurons
from phosphene.synthesis.losses.batchnorm_prior import BatchNormStatistics, Running
from phosphene.synthesis.losses.diversity import Diverse
from phosphene.synthesis.losses.dream_targets import Energy, GuideMatch
from phosphene.synthesis.losses.feature_match import Match
from phosphene.synthesis.losses.gram import Gram
from phosphene.synthesis.losses.priors import L2, AlphaNorm, TotalVariation

for _module in pkgutil.walk_packages(phosphene.__path__, "phosphene."):
    if not _module.name.endswith("__main__"):
        importlib.import_module(_module.name)
OBJECTIVES = sorted(name for name, cls in Objective.table.items() if cls.__module__.startswith("phosphene."))


class Case(NamedTuple):
    """An objective, activations to differentiate by, constant ones, the step, and the tolerance."""

    objective: Objective
    moved: Mapping[str, Tensor]
    held: Mapping[str, Tensor] = MappingProxyType({})
    eps: float = 1e-6
    exact: float = 1e-8


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


IMAGES = {"input": draw(2, 3, 3, 4).sigmoid()}
MAPS, VECTORS, LOGITS = {"maps": draw(2, 3, 3, 4, seed=1)}, {"head": draw(2, 4, seed=2)}, {"logits": draw(2, 5, seed=3)}
COLOR = (0.45, 0.5, 0.4)
RUNNING = tuple(
    Running(layer, draw(width, seed=4), draw(width, seed=5).exp()) for layer, width in (("maps", 3), ("deep", 2))
)
CASES: dict[str, list[Case]] = {
    "sum": [Case(Sum(((2.0, Channel("maps", 1)), (-0.5, Logit(2)), (1.0, Energy("maps")))), {**MAPS, **LOGITS})],
    "logit": [Case(Logit(3), LOGITS)],
    "probability": [Case(Probability(3), LOGITS)],
    "per-image": [Case(PerImage((Logit(2), 2 * Channel("maps", 1))), {**MAPS, **LOGITS})],
    "channel": [Case(Channel("maps", 1), MAPS), Case(Channel("head", 2), VECTORS)],
    "channel-max": [Case(ChannelMax("maps", 1), MAPS), Case(ChannelMax("head", 2), VECTORS)],
    "neuron": [Case(Neuron("maps", 2, 1, 3), MAPS)],
    "neurons": [
        Case(Neurons("maps", ((2, 1, 3), (0, 2, 2))), MAPS),
        Case(Neurons("head", ((3, 0, 0), (1, 0, 0))), VECTORS),
    ],
    "l2": [Case(L2(COLOR), IMAGES)],
    "total-variation": [Case(TotalVariation(beta), IMAGES) for beta in (1.0, 1.5, 2.0)],
    "alpha-norm": [Case(AlphaNorm(COLOR, alpha), IMAGES) for alpha in (1.0, 2.5, 6.0)],
    # In single precision by its own choice; of second degree, so that far steps tell the slope as well as near ones.
    "match": [
        Case(Match("maps", draw(3, 3, 4, seed=6)), MAPS, eps=1e-2, exact=1e-4),
        Case(Match("head", draw(4, seed=6)), VECTORS, eps=1e-2, exact=1e-4),
    ],
    "batch-norm-statistics": [
        Case(BatchNormStatistics(running=RUNNING), {**MAPS, "deep": draw(2, 2, 2, 3, seed=7)}),
        Case(BatchNormStatistics(first=0.0, running=RUNNING), {**MAPS, "deep": draw(2, 2, 2, 3, seed=7)}),
    ],
    "energy": [Case(Energy("maps"), MAPS), Case(Energy("head"), VECTORS)],
    # The most similar place stays the same within a small step, so that the slope is that of the greatest product.
    "guide-match": [
        Case(GuideMatch("maps", draw(3, 5, seed=8)), MAPS),
        Case(GuideMatch("head", draw(4, 1, seed=8)), VECTORS),
    ],
    "gram": [Case(Gram("maps", draw(3, 3, seed=6)), MAPS, eps=1e-2, exact=1e-3)],
    # How much is paid for being alike is a share of the value that the gradient takes for a number: it is held.
    "diverse": [Case(Diverse(Logit(1), "maps", share), MAPS, LOGITS) for share in (0.5, 2.0)],
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_gradient_equals_finite_differences(name: str) -> None:
    assert name in CASES, f"the objective {name!r} is new: add tensors on which its gradient can be checked"
    for case in CASES[name]:
        assert type(case.objective) is Objective.table[name]
        assert case.objective.reads == case.moved.keys() | case.held.keys()
        check(case)


def check(case: Case) -> None:
    def scores(*values: Tensor) -> Tensor:
        scored = case.objective({**case.held, **dict(zip(case.moved, values, strict=True))})
        assert scored.shape == (len(values[0]),)
        return scored

    leaves = tuple(tensor.clone().requires_grad_() for tensor in case.moved.values())
    assert torch.autograd.gradcheck(scores, leaves, eps=case.eps, atol=case.exact, rtol=1e-4)


def test_diversity_never_lowers_the_objective() -> None:
    # With 2 · likeness above 1, value · (1 - 2 · likeness) would pay for a smaller value.
    logits = LOGITS["logits"].abs().requires_grad_()
    alike = draw(1, 3, 3, 4).repeat(2, 1, 1, 1)
    values = Diverse(Logit(1), "maps", 2.0)({"logits": logits, "maps": alike})
    assert torch.allclose(values, -logits[:, 1])
    (slope,) = torch.autograd.grad(values.sum(), logits)
    assert torch.equal(slope, torch.autograd.grad(Logit(1)({"logits": logits}).sum(), logits)[0])
