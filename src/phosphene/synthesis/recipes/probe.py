"""What stands in the way of a picture, found before the first step."""

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
from phosphene.synthesis.recipes.preset import Manner
from phosphene.synthesis.recipes.window import terms

Read = Mapping[str, Tensor]


@dataclasses.dataclass(frozen=True)
class Finding:
    """What a probe found of one target.

    Args:
        target: what is wanted.
        resting: its value on the picture that the synthesis begins with.
        natural: least and greatest value on photographs.
        spread: deviation between photographs, of it and of the units beside it.
        silent: whether no gradient reaches the picture at the beginning.
        dead: whether, besides, none does through ReLUs that would let it pass, and no photograph wakes it.
        capped: share of the places of photographs where it is at the greatest value of its layer, as of a ReLU6.
        unbent: the layer before the activation that caps it, or before the softmax that a class goes through; None
            where none is found.
        share: of the side of the picture that it looks at; less than 1 for neurons alone.
    """

    target: Objective
    resting: float
    natural: tuple[float, float]
    spread: float
    silent: bool = False
    dead: bool = False
    capped: float = 0.0
    unbent: str | None = None
    share: float = 1.0

    @property
    def quiet(self) -> bool:
        """Whether no photograph takes it off its resting value."""
        slack = _TINY * abs(self.resting)
        return max(self.natural[1] - self.resting, self.resting - self.natural[0]) <= slack


@dataclasses.dataclass(frozen=True, eq=False)
class Findings:
    """What a probe found of a network and of the targets in it.

    Args:
        targets: one finding each.
        size: height and width that the network takes.
        stride: pixels from place to place of the deepest map that is read.
        grey: whether the network sees no colors.
        softmax: whether the outputs are probabilities.
        handed: how much the logits of a photograph and of its mirror image differ, as a share of how much those of two
            photographs do: 0 where the network cannot tell them apart, 1 where they are as good as two photographs.
        cost: passes.
    """

    targets: tuple[Finding, ...]
    size: tuple[int, int]
    stride: int
    grey: bool
    softmax: bool
    handed: float
    cost: Cost

    def verdicts(self, reached: Sequence[float]) -> tuple[str, ...]:
        """What must be said of targets that nothing could wake, besides those that were dead before.

        Args:
            reached: value of each target on its picture.
        """
        pairs = [pair for pair in zip(self.targets, reached, strict=True) if pair[0].quiet and not pair[0].dead]
        mute = [each for each, value in pairs if abs(value - each.resting) <= _TINY * abs(each.resting)]
        return tuple(f"{each.target} is dead: neither photographs nor its own picture wake it" for each in mute)


def probe(network: Network, targets: Sequence[Objective], manner: Manner) -> Findings:
    """What stands in the way of pictures of some targets.

    Each is read on the sample photographs and on the picture that the manner begins with. Cost: two forward passes for
    each photograph, and two forward and one backward for each target; of those where it is silent one more.

    Args:
        network: whose.
        targets: of any kind.
        manner: how the pictures are to be made.

    Raises:
        NetworkError: it makes no finite numbers of photographs.

    >>> from phosphene.synthesis.recipes.preset import Best
    >>> found = probe(tiny, [Channel("features.1", 1), Channel("features.2", 1)], Best())
    >>> [each.silent for each in found.targets], found.stride
    ([False, True], 2)
    """
    bound = tuple(each.bind(network) for each in targets)
    reads = frozenset().union(*(each.reads for each in bound)) - {"input"}
    natural, handed, softmax = _on_photographs(network, reads)
    painting = manner.parts()[0].begin(network, 1, network.preprocess.size, generator=torch.Generator().manual_seed(0))
    blank = painting().detach()
    found = [_finding(network, each, natural, blank, softmax=softmax) for each in bound]
    slopes = _slopes(network, bound, blank, rules.gradient)
    shut = [place for place, slope in enumerate(slopes) if slope == 0]
    woken = dict(zip(shut, _slopes(network, [bound[place] for place in shut], blank, rules.redirected), strict=True))
    for place in shut:
        found[place] = dataclasses.replace(found[place], silent=True, dead=found[place].quiet and woken[place] == 0)
    forwards = 2 * len(SAMPLES) + 2 * len(bound) + len(shut)
    cost = Cost(forwards=forwards, backwards=len(bound) + len(shut))
    grey = network.preprocess.order == "grey"
    return Findings(tuple(found), network.preprocess.size, coarsest_stride(network, reads), grey, softmax, handed, cost)


def _on_photographs(network: Network, reads: frozenset[str]) -> tuple[Read, float, bool]:
    """What is read on photographs, how much logits differ from those of mirror images, whether they add up to 1."""
    kept: list[dict[str, Tensor]] = []
    mirrored = []
    with torch.no_grad():
        for name in SAMPLES:
            photograph = network.prepare(load(sample(name))).images
            kept.append(network.tap(photograph, reads | {"logits"}))
            mirrored.append(network(photograph.flip(3)))
    read = {name: torch.cat([each[name] for each in kept]).float() for name in kept[0]}
    for name in (*network.layers, "logits"):
        if name in read and not read[name].isfinite().all():
            raise NetworkError(
                f"{network.name} makes numbers at {name} that are not finite, of ordinary photographs; "
                "check its weights, and the mean and deviation of its Preprocess"
            )
    logits, others = (
        each.flatten(2).mean(2) if each.ndim > 2 else each for each in (read["logits"], torch.cat(mirrored))
    )
    apart = 2 * logits.var(0).mean()
    handed = (logits - others).square().mean() / apart if apart > 0 else apart
    whole = (logits >= 0).all() and (logits.sum(1) - 1).abs().max() < _WHOLE
    return read, handed.item(), bool(whole)


def _finding(network: Network, target: Objective, natural: Read, blank: Images, *, softmax: bool) -> Finding:
    with torch.no_grad():
        values = target({**natural, "input": blank.expand(len(SAMPLES), -1, -1, -1)})
        resting = target(network.tap(blank, target.reads | {"input"})).item()
    extremes = (values.min().item(), values.max().item())
    capped = _capped(target, natural) if isinstance(target, Channel) else 0.0
    unbent = pre_activation(network, target.layer) if capped > _CAPPED and isinstance(target, Channel) else None
    if softmax and isinstance(target, Logit):
        unbent = before_softmax(network)
        if unbent is not None:  # the scores there vary as the logarithms do
            natural = {**natural, "logits": natural["logits"].clamp(min=_TINY).log()}
    spread, share = _spread(target, natural), _share(network, target)
    return Finding(target, resting, extremes, spread, capped=capped, unbent=unbent, share=share)


def _share(network: Network, target: Objective) -> float:
    """Share of the side that neurons look at, half of that of their receptive fields; all of it for what is no neuron.

    Reference: Luo et al., NeurIPS 2016: in the outer part of a receptive field hardly anything counts.
    """
    units = [each for each in terms(target) if each.reads != {"input"}]
    if not all(isinstance(each, Neuron) for each in units):
        return 1.0
    fields = [network.receptive_fields.get(each.layer) for each in units if isinstance(each, Neuron)]
    sides = [
        (min(each.size[0] / 2, each.picture[0]), min(each.size[1] / 2, each.picture[1])) for each in fields if each
    ]
    whole = math.prod(network.preprocess.size)
    return min(1.0, math.sqrt(sum(map(math.prod, sides)) / whole)) if fields and len(sides) == len(fields) else 1.0


def _spread(target: Objective, natural: Read) -> float:
    """Deviation between photographs; of many units of the layer, for one alone may sleep on so few."""
    if "input" in target.reads and not isinstance(target, Sum):
        return 0.0  # photographs have not been asked that
    if isinstance(target, Sum):
        return math.hypot(*(weight * _spread(term, natural) for weight, term in target.terms))
    beside = [target]
    if isinstance(target, Channel):
        beside = [dataclasses.replace(target, channel=unit) for unit in _some(natural[target.layer])]
    elif isinstance(target, Logit):
        beside = [dataclasses.replace(target, index=unit) for unit in _some(natural["logits"])]
    return torch.stack([each(natural) for each in beside]).var(1).mean().sqrt().item()


def _some(maps: Tensor) -> range:
    """Channels enough to tell of all."""
    return range(0, maps.shape[1], math.ceil(maps.shape[1] / _BESIDE))


def _capped(target: Channel, natural: Read) -> float:
    maps = natural[target.layer]
    top = maps.max()
    return (maps[:, target.channel] == top).float().mean().item() if top > 0 else 0.0


def _slopes(network: Network, targets: Sequence[Objective], blank: Images, rule: rules.Rule) -> list[float]:
    """Size of the gradient of each target by the blank picture, under a rule."""
    found = []
    with torch.inference_mode(mode=False), torch.enable_grad(), rules.backward_rule(rule):
        for each in targets:
            read = network.tap(blank.clone(), each.reads | {"input"}, gradients=("input",))
            score = each(read).sum()
            slope = torch.autograd.grad(score, read["input"], allow_unused=True)[0] if score.requires_grad else None
            found.append(0.0 if slope is None else slope.abs().max().item())
    return found


_CAPPED = 0.1  # share of places from which on a cap is in the way
_BESIDE = 64  # units of a layer that tell its spread
_TINY = 1e-6
_WHOLE = 1e-2  # how near to 1 probabilities add up
