"""The probe before the first step: gradients on the first picture, activations on photographs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from phosphene.core.errors import NetworkError
from phosphene.core.images.image import load
from phosphene.core.images.samples import SAMPLES, sample
from phosphene.core.networks import rules
from phosphene.core.networks.anatomy import before_softmax, coarsest_stride, pre_activation
from phosphene.core.networks.network import Images, Network
from phosphene.core.objectives.classes import Logit
from phosphene.core.objectives.objective import Objective, Sum
from phosphene.core.objectives.units import Channel, Neuron
from phosphene.core.result import Cost
from phosphene.synthesis.settings.preset import Preset
from phosphene.synthesis.settings.window import terms

Activations = Mapping[str, Tensor]


@dataclasses.dataclass(frozen=True)
class TargetProbe:
    """What a probe measured of one target.

    Args:
        target: that is to be maximized.
        at_start: its value on the picture that the synthesis begins with.
        natural: its smallest and greatest value on photographs.
        deviation: standard deviation between photographs, of it and of the units beside it.
        no_gradient: whether no gradient reaches the first picture.
        dead: whether, besides, none does with redirected ReLUs, and no photograph changes its value.
        capped: share of the places of photographs where it has the greatest value of its layer, as of a ReLU6.
        pre_activation: the layer before the activation that caps it, or before the softmax of a class; None where there
            is none.
        share: of the side of the picture that it depends on; less than 1 for neurons alone.
    """

    target: Objective
    at_start: float
    natural: tuple[float, float]
    deviation: float
    no_gradient: bool = False
    dead: bool = False
    capped: float = 0.0
    pre_activation: str | None = None
    share: float = 1.0

    @property
    def constant(self) -> bool:
        """Whether it has the same value on photographs and on the first picture."""
        slack = _TINY * abs(self.at_start)
        return max(self.natural[1] - self.at_start, self.at_start - self.natural[0]) <= slack


@dataclasses.dataclass(frozen=True, eq=False)
class NetworkProbe:
    """What a probe measured of a network and of targets in it.

    Args:
        targets: one for each target.
        size: height and width that the network takes.
        stride: pixels from place to place of the deepest map that is read.
        grey: whether the network sees no colors.
        softmax: whether the outputs are probabilities.
        mirror_difference: mean squared difference of the logits of a photograph and its mirror image, divided by
            that of two photographs: 0 where the network does not distinguish them.
        cost: passes.
    """

    targets: tuple[TargetProbe, ...]
    size: tuple[int, int]
    stride: int
    grey: bool
    softmax: bool
    mirror_difference: float
    cost: Cost

    def dead_units(self, activations: Sequence[float]) -> tuple[str, ...]:
        """Notes on targets that neither photographs nor their own pictures activate, besides those dead before.

        Args:
            activations: of each target on its picture.
        """
        pairs = zip(self.targets, activations, strict=True)
        unchanged = [
            target
            for target, value in pairs
            if target.constant and not target.dead and abs(value - target.at_start) <= _TINY * abs(target.at_start)
        ]
        return tuple(f"{one.target} is dead: neither photographs nor its own picture activate it" for one in unchanged)


def probe(network: Network, targets: Sequence[Objective], preset: Preset) -> NetworkProbe:
    """What decides how pictures of some targets must be made.

    Targets are read on the sample photographs and on the first picture of the preset. Cost: two forward passes for each
    photograph, two forward and one backward for each target, and one of both for each without gradient.

    Args:
        network: whose.
        targets: of any kind.
        preset: which the pictures are to be made with.

    Raises:
        NetworkError: activations of photographs are not finite.

    >>> from phosphene.synthesis.settings.preset import Best
    >>> measured = probe(tiny, [Channel("features.1", 1), Channel("features.2", 1)], Best())
    >>> [target.no_gradient for target in measured.targets], measured.stride
    ([False, True], 2)
    """
    bound = tuple(target.bind(network) for target in targets)
    reads = frozenset().union(*(target.reads for target in bound)) - {"input"}
    natural, mirror_difference, softmax = _on_photographs(network, reads)
    generator = torch.Generator().manual_seed(0)
    first = preset.parts().canvas.begin(network, 1, network.preprocess.size, generator=generator)().detach()
    measured = [_measure(network, target, natural, first, softmax=softmax) for target in bound]
    gradients = _gradients(network, bound, first, rules.gradient)
    without = [place for place, gradient in enumerate(gradients) if gradient == 0]
    redirected = _gradients(network, [bound[place] for place in without], first, rules.redirected)
    for place, gradient in zip(without, redirected, strict=True):
        dead = measured[place].constant and gradient == 0
        measured[place] = dataclasses.replace(measured[place], no_gradient=True, dead=dead)
    forwards = 2 * len(SAMPLES) + 2 * len(bound) + len(without)
    return NetworkProbe(
        tuple(measured),
        size=network.preprocess.size,
        stride=coarsest_stride(network, reads),
        grey=network.preprocess.order == "grey",
        softmax=softmax,
        mirror_difference=mirror_difference,
        cost=Cost(forwards=forwards, backwards=len(bound) + len(without)),
    )


def _on_photographs(network: Network, reads: frozenset[str]) -> tuple[Activations, float, bool]:
    """Activations of photographs, the mirror difference of the logits, and whether the logits add up to 1."""
    read: list[dict[str, Tensor]] = []
    mirrored = []
    with torch.no_grad():
        for name in SAMPLES:
            photograph = network.prepare(load(sample(name))).images
            read.append(network.tap(photograph, reads | {"logits"}))
            mirrored.append(network(photograph.flip(3)))
    activations = {name: torch.cat([one[name] for one in read]).float() for name in read[0]}
    for name in (*network.layers, "logits"):
        if name in activations and not activations[name].isfinite().all():
            raise NetworkError(
                f"{network.name} makes numbers at {name} that are not finite, of ordinary photographs; "
                "check its weights, and the mean and deviation of its Preprocess"
            )
    logits, others = (
        scores.flatten(2).mean(2) if scores.ndim > 2 else scores
        for scores in (activations["logits"], torch.cat(mirrored))
    )
    between = 2 * logits.var(0).mean()
    mirror_difference = (logits - others).square().mean() / between if between > 0 else between
    softmax = (logits >= 0).all() and (logits.sum(1) - 1).abs().max() < _UNIT_SUM
    return activations, mirror_difference.item(), bool(softmax)


def _measure(network: Network, target: Objective, natural: Activations, first: Images, *, softmax: bool) -> TargetProbe:
    with torch.no_grad():
        values = target({**natural, "input": first.expand(len(SAMPLES), -1, -1, -1)})
        at_start = target(network.tap(first, target.reads | {"input"})).item()
    extremes = (values.min().item(), values.max().item())
    capped, before = _capped(target, natural) if isinstance(target, Channel) else 0.0, None
    if isinstance(target, Channel) and capped > _CAPPED:
        before = pre_activation(network, target.layer)
    if softmax and isinstance(target, Logit):
        before = before_softmax(network)
        if before is not None:  # the scores there vary as the logarithms do
            natural = {**natural, "logits": natural["logits"].clamp(min=_TINY).log()}
    deviation, share = _deviation(target, natural), _share(network, target)
    return TargetProbe(target, at_start, extremes, deviation, capped=capped, pre_activation=before, share=share)


def _share(network: Network, target: Objective) -> float:
    """Share of the side that neurons depend on, half of that of their receptive fields; 1 for other targets.

    Reference: Luo et al., NeurIPS 2016: the outer part of a receptive field has little effect.
    """
    units = [unit for unit in terms(target) if unit.reads != {"input"}]
    if not all(isinstance(unit, Neuron) for unit in units):
        return 1.0
    fields = [network.receptive_fields.get(unit.layer) for unit in units if isinstance(unit, Neuron)]
    sides = [
        (min(field.size[0] / 2, field.picture[0]), min(field.size[1] / 2, field.picture[1]))
        for field in fields
        if field
    ]
    whole = math.prod(network.preprocess.size)
    return min(1.0, math.sqrt(sum(map(math.prod, sides)) / whole)) if fields and len(sides) == len(fields) else 1.0


def _deviation(target: Objective, natural: Activations) -> float:
    """Deviation between photographs, averaged over units of the layer, as one alone may be inactive on so few."""
    if "input" in target.reads and not isinstance(target, Sum):
        return 0.0  # photographs at their own size have not been read
    if isinstance(target, Sum):
        return math.hypot(*(weight * _deviation(term, natural) for weight, term in target.terms))
    beside = [target]
    if isinstance(target, Channel):
        beside = [dataclasses.replace(target, channel=unit) for unit in _some(natural[target.layer])]
    elif isinstance(target, Logit):
        beside = [dataclasses.replace(target, index=unit) for unit in _some(natural["logits"])]
    return torch.stack([unit(natural) for unit in beside]).var(1).mean().sqrt().item()


def _some(maps: Tensor) -> range:
    """At most 64 channels, evenly spaced."""
    return range(0, maps.shape[1], math.ceil(maps.shape[1] / _BESIDE))


def _capped(target: Channel, natural: Activations) -> float:
    maps = natural[target.layer]
    top = maps.max()
    return (maps[:, target.channel] == top).float().mean().item() if top > 0 else 0.0


def _gradients(network: Network, targets: Sequence[Objective], first: Images, rule: rules.Rule) -> list[float]:
    """Largest absolute value of the gradient of each target by the first picture, under a rule."""
    largest = []
    with torch.inference_mode(mode=False), torch.enable_grad(), rules.backward_rule(rule):
        for target in targets:
            read = network.tap(first.clone(), target.reads | {"input"}, gradients=("input",))
            score = target(read).sum()
            gradient = torch.autograd.grad(score, read["input"], allow_unused=True)[0] if score.requires_grad else None
            largest.append(0.0 if gradient is None else gradient.abs().max().item())
    return largest


_CAPPED = 0.1  # share of places from which on the layer before the activation is used
_BESIDE = 64  # units of a layer, of which the deviation is measured
_TINY = 1e-6
_UNIT_SUM = 1e-2  # difference from 1 of the sum of probabilities
