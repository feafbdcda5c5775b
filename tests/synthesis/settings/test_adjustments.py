"""Adjustments of a preset to what a probe has measured, and their notes."""

from __future__ import annotations

import dataclasses

import pytest

from phosphene.core.objectives.classes import Logit
from phosphene.core.objectives.units import Channel, Neuron
from phosphene.core.result import Cost
from phosphene.synthesis.settings.adjustments import adjustments
from phosphene.synthesis.settings.preset import Best, Lecture
from phosphene.synthesis.settings.probe import NetworkProbe, TargetProbe

ACTIVE = TargetProbe(Logit(0), at_start=0.0, natural=(-2.0, 3.0), deviation=1.2)


def measured(*targets: TargetProbe, **changes: object) -> NetworkProbe:
    healthy = NetworkProbe(
        targets or (ACTIVE,), (224, 224), stride=32, grey=False, softmax=False, mirror_difference=0.03, cost=Cost(14)
    )
    return dataclasses.replace(healthy, **changes)  # type: ignore[arg-type]


def test_a_preset_that_suits_stays() -> None:
    adjusted = adjustments(measured(), Best())
    assert (adjusted.preset, adjusted.weights, adjusted.redirect_steps, adjusted.notes) == (Best(), (1.0,), 0, ())
    assert adjusted.objective(Logit(0), 0) == Logit(0)


def test_without_gradient_relus_are_redirected_and_dead_units_are_named() -> None:
    inactive = dataclasses.replace(ACTIVE, target=Channel("a", 1), no_gradient=True)
    dead = dataclasses.replace(inactive, target=Channel("a", 2), dead=True)
    adjusted = adjustments(measured(inactive, dead), Best(redirect_steps=9))
    assert adjusted.redirect_steps == 9
    assert adjusted.notes == (
        "no gradient of a:1 reaches the first picture: ReLUs are redirected in the first 9 steps",
        "a:2 is dead: 0 on all photographs, and no gradient reaches it, not even through redirected ReLUs; its picture "
        "stays blank",
    )
    assert adjustments(measured(dead), Best()).redirect_steps == 0
    assert adjustments(measured(inactive), Lecture()).redirect_steps == 16
    told = adjustments(measured(inactive), Best(redirect_steps=0))
    assert told.redirect_steps == 0
    assert "ReLUs are not redirected, as chosen" in told.notes[0]


def test_capped_units_are_maximized_before_their_activation_in_windows_too() -> None:
    capped = dataclasses.replace(ACTIVE, target=Neuron("relu", 5, 8, 9), capped=0.4, pre_activation="bn")
    adjusted = adjustments(measured(ACTIVE, capped), Best())
    assert adjusted.objective(Neuron("relu", 5, 2, 3), 1) == Neuron("bn", 5, 2, 3)
    assert adjusted.notes == (
        "relu:5@8,9 is at its cap on 40% of the places of photographs: the same channel of bn, before the activation, "
        "is maximized in its place",
        "a neuron is at its place: all pictures are moved a little at each step, neither cropped nor mirrored",
    )


def test_left_and_right_colors_and_small_pictures() -> None:
    adjusted = adjustments(measured(size=(28, 28), stride=4, grey=True, mirror_difference=0.3), Best())
    assert adjusted.preset == Best(mirror=False, color_shift=0.0, min_crop=0.8, tv=Best().tv / 64)
    assert len(adjusted.notes) == 3
    assert adjustments(measured(mirror_difference=0.1), Best()).preset.mirror
    strided = adjustments(measured(size=(32, 32), stride=32), Best())
    assert strided.preset.min_crop == 0.5  # the smallest crops move by a whole stride


def test_what_was_chosen_stays() -> None:
    chosen = Best(min_crop=0.35, color_shift=0.1, tv=1.0)
    adjusted = adjustments(measured(size=(28, 28), stride=4, grey=True), chosen)
    assert adjusted.preset == chosen
    assert adjusted.notes == ()
    assert adjustments(measured(size=(28, 28), grey=True), Lecture()).preset == Lecture()


def test_the_size_of_the_picture_not_of_the_network_counts() -> None:
    assert adjustments(measured(), Best(), (112, 112)).preset == Best(tv=Best().tv / 4)


def test_penalties_are_scaled_by_the_deviation() -> None:
    loud = dataclasses.replace(ACTIVE, deviation=12.0)
    adjusted = adjustments(measured(ACTIVE, loud, dataclasses.replace(ACTIVE, deviation=0.0)), Best())
    assert adjusted.weights == (1.0, 10.0, 1.0)
    assert adjusted.notes == ("the penalties count 1 … 10 times, as much as the targets vary between photographs",)
    assert adjustments(measured(loud), Lecture()).notes == ()  # it has none


def test_priors_count_less_for_units_and_more_for_neurons_than_for_classes() -> None:
    unit = dataclasses.replace(ACTIVE, target=Channel("blocks.1", 3))
    neuron = dataclasses.replace(ACTIVE, target=Neuron("blocks.1", 3, 2, 2))
    weights = adjustments(measured(ACTIVE, unit, neuron), Best()).weights
    assert weights == pytest.approx((1.0, 0.1, 2.0))
    assert adjustments(measured(ACTIVE, unit, neuron), Lecture()).weights == (1.0, 1.0, 1.0)


def test_units_are_not_rescaled_and_classes_are() -> None:
    unit = dataclasses.replace(ACTIVE, target=Channel("blocks.1", 3))
    assert adjustments(measured(unit), Best()).preset.min_crop == 0.85
    assert adjustments(measured(unit, ACTIVE), Best()).preset.min_crop == Best().min_crop
