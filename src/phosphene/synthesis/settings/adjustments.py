"""Adjustments of a synthesis to a network and its targets: what is optimized, by which weights, and why."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from phosphene.core.objectives.classes import Logit
from phosphene.core.objectives.objective import Objective
from phosphene.core.objectives.units import Channel
from phosphene.synthesis.settings.preset import Preset
from phosphene.synthesis.settings.probe import NetworkProbe


@dataclasses.dataclass(frozen=True, eq=False)
class Adjustments:
    """Where a synthesis differs from its preset.

    Args:
        layers: (T,), the layer before the activation that caps a target; None where the target itself is optimized.
        weights: (T,), factors of the priors.
        preset: with options that suit the network, where they had their defaults.
        redirect_steps: first steps with redirected ReLUs.
        notes: what was chosen and why, a sentence each.
    """

    layers: tuple[str | None, ...]
    weights: tuple[float, ...]
    preset: Preset
    redirect_steps: int
    notes: tuple[str, ...]

    def objective(self, target: Objective, place: int) -> Objective:
        """What is optimized for a target.

        Args:
            target: the one at that place, whose neurons may be counted from the corner of a window.
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


def adjustments(probe: NetworkProbe, preset: Preset, size: tuple[int, int] | None = None) -> Adjustments:
    """The adjustments that a probe calls for.

    Args:
        probe: of the network and the targets.
        preset: as the user chose it.
        size: of the pictures; what the network takes by default.
    """
    inactive = any(target.no_gradient and not target.dead for target in probe.targets)
    redirect_steps = preset.redirect_steps if inactive else 0
    weights = tuple(target.deviation / _DEVIATION if target.deviation else 1.0 for target in probe.targets)
    adjusted, reasons = preset.adjusted(probe, size or probe.size)
    notes = (*_notes(probe, redirect_steps), *reasons)
    if preset.prior() is not None and max(*weights, *(1 / weight for weight in weights)) > _MUCH:
        low, high = (f"{weight:.2g}" for weight in (min(weights), max(weights)))
        factor = low if low == high else f"{low} … {high}"
        notes += (f"the penalties count {factor} times, as much as the targets vary between photographs",)
    targets = (target.target for target in probe.targets)
    weights = tuple(weight * preset.prior_weight(target) for weight, target in zip(weights, targets, strict=True))
    layers = tuple(target.pre_activation for target in probe.targets)
    return Adjustments(layers, weights, adjusted, redirect_steps, notes)


def _notes(probe: NetworkProbe, redirect_steps: int) -> Iterator[str]:
    for measured in probe.targets:
        target = measured.target
        if measured.dead:
            yield (
                f"{target} is dead: {measured.at_start:.3g} on all photographs, and no gradient reaches it, "
                "not even through redirected ReLUs; its picture stays blank"
            )
        elif measured.no_gradient:
            action = (
                f"ReLUs are redirected in the first {redirect_steps} steps"
                if redirect_steps
                else "ReLUs are not redirected, as chosen"
            )
            yield f"no gradient of {target} reaches the first picture: {action}"
        if measured.pre_activation is not None and not isinstance(target, Logit):
            yield (
                f"{target} is at its cap on {measured.capped:.0%} of the places of photographs: "
                f"the same channel of {measured.pre_activation}, before the activation, is maximized in its place"
            )
    classes = [measured for measured in probe.targets if isinstance(measured.target, Logit)]
    if probe.softmax and classes:
        before = classes[0].pre_activation
        action = (
            f"the scores before its softmax, those of {before}, are maximized"
            if before
            else "end it before its softmax"
        )
        yield f"the outputs of the network are probabilities, which saturate: {action}"


_DEVIATION = 1.2  # of the logits of the network that the weights of the priors were chosen for
_MUCH = 3.0  # change of the penalties that is worth a note
