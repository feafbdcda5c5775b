"""What is done about what stands in the way of a picture: the options that a network needs, and why."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from phosphene.core.objectives.classes import Logit
from phosphene.core.objectives.objective import Objective
from phosphene.core.objectives.units import Channel
from phosphene.synthesis.recipes.preset import Manner
from phosphene.synthesis.recipes.probe import Findings
from phosphene.synthesis.recipes.window import placed


@dataclasses.dataclass(frozen=True, eq=False)
class Remedies:
    """What a synthesis should do otherwise than its manner says.

    Args:
        layers: to climb the unit of instead: that before the activation of one that is capped; None for the target.
        weights: by how much the prior of the manner counts for each.
        manner: with those options changed that were left at their defaults.
        redirect: first steps in which silent units are woken.
        notes: what was chosen and why, a sentence each.
    """

    layers: tuple[str | None, ...]
    weights: tuple[float, ...]
    manner: Manner
    redirect: int
    notes: tuple[str, ...]

    def climbed(self, target: Objective, place: int) -> Objective:
        """What to climb for a target, also where it was moved into a window.

        Args:
            target: the one at that place, whose neurons may be counted from another corner.
            place: among those that were probed.
        """
        layer = self.layers[place]
        if layer is None:
            return target
        if isinstance(target, Logit):
            assert isinstance(target.index, int), "bound objectives know their index"
            return Channel(layer, target.index)
        assert isinstance(target, Channel), f"{target} has no layer to change"
        return dataclasses.replace(target, layer=layer)


def remedies(findings: Findings, manner: Manner, size: tuple[int, int] | None = None) -> Remedies:
    """What to do about what a probe found.

    Args:
        findings: of `probe`.
        manner: as the user chose it.
        size: of the pictures; what the network takes by default.
    """
    wake = getattr(manner, "wake", _WAKE) if any(each.silent and not each.dead for each in findings.targets) else 0
    layers = tuple(each.unbent for each in findings.targets)
    weights = tuple(each.spread / _SPREAD if each.spread else 1.0 for each in findings.targets)
    wishes = {
        name: (value, why)
        for name, value, why in _wishes(findings, manner, size or findings.size)
        if _free(manner, name)
    }
    changed = dataclasses.replace(manner, **{name: value for name, (value, _) in wishes.items()})
    notes = (*_told(findings, manner, wake), *(why for _, why in wishes.values() if why))
    if manner.prior() is not None and max(*weights, *(1 / each for each in weights)) > _MUCH:
        low, high = (f"{each:.2g}" for each in (min(weights), max(weights)))
        often = low if low == high else f"{low} … {high}"
        notes += (f"the penalties count {often} times, as much as the targets vary between photographs",)
    # Units fill the picture with one pattern, often a fine one, and need less to hold it together than a class does; a
    # neuron alone drives few pixels hard, and needs more.
    shares = (_SHARES.get(manner.kind(each.target), 1.0) for each in findings.targets)
    weights = tuple(weight * share for weight, share in zip(weights, shares, strict=True))
    return Remedies(layers, weights, changed, wake, notes)


def _told(findings: Findings, manner: Manner, wake: int) -> Iterator[str]:
    for each in findings.targets:
        if each.dead:
            yield (
                f"{each.target} is dead: {each.resting:.3g} on all photographs, and no gradient reaches it, "
                "not even through ReLUs that let it pass; its picture stays blank"
            )
        elif each.silent:
            done = f"ReLUs let the gradient through in the first {wake} steps" if wake else "ReLUs stay shut, as told"
            yield f"{each.target} is silent on the blank picture: {done}"
        if each.unbent is not None and not isinstance(each.target, Logit):
            yield (
                f"{each.target} is at its cap on {each.capped:.0%} of the places of photographs: "
                f"the same channel of {each.unbent}, before the activation, is climbed in its place"
            )
    if findings.softmax and (ends := [each.unbent for each in findings.targets if isinstance(each.target, Logit)]):
        before = ends[0]
        done = (
            f"the scores before its softmax, those of {before}, are climbed" if before else "end it before its softmax"
        )
        yield f"the outputs of the network are probabilities, which saturate: {done}"
    if hasattr(manner, "crops") and placed([each.target for each in findings.targets]):
        yield "a neuron is at its place: all pictures are moved a little at each step, neither cropped nor mirrored"


def _wishes(findings: Findings, manner: Manner, size: tuple[int, int]) -> Iterator[tuple[str, Any, str]]:
    """Option, value, and the sentence about it; none where it follows from the size alone."""
    side = min(size)
    if any(each.target.reads != {"logits"} for each in findings.targets):
        yield "mirror", False, ""  # an edge and its mirror image are two things
    if findings.handed > _HANDED:
        yield (
            "mirror",
            False,
            f"left and right mean something to the network ({findings.handed:.0%}): no crop is mirrored",
        )
    if all(each.target.reads != {"logits"} for each in findings.targets):
        yield "least", _AS_SEEN, ""  # a unit looks for its pattern at one size, and that is the size to show it at
    if findings.grey:
        yield "recolor", 0.0, "the network sees no colors: the pictures are grey"
    if side < _SMALL:
        # The offsets of the smallest crops should cover all those that the strides tell apart.
        least = min(_GENTLE, side / (side + findings.stride))
        yield "least", least, f"pictures of {size[0]} × {size[1]} are small: crops keep {least:.0%} of the side"
    # The same picture in fewer pixels is steeper from one to the next.
    yield "tv", getattr(manner, "tv", 0.0) * (side / _TUNED) ** 2, ""


def _free(manner: Manner, name: str) -> bool:
    """Whether a manner has an option, and it was left as it is by default."""
    options = {each.name: each.default for each in manner.options()}
    return name in options and getattr(manner, name) == options[name]


_WAKE = 16  # steps, where the manner has no say
_HANDED = 0.15  # networks of photographs differ by 0.02 … 0.06 from image to mirror image, one of digits by 0.3
_SMALL, _GENTLE = 64, 0.8  # pixels; share of the side that a crop of few pixels should keep
_TUNED, _SPREAD = 224, 1.2  # side, and spread of logits, of the network that the penalties were weighed on
_AS_SEEN = 0.85  # share of the side that a crop keeps, where the size of things matters
_SHARES = {"unit": 0.1, "neuron": 2.0}  # of the penalties, for what is no class
_MUCH = 3.0  # change of the penalties that is worth a sentence
