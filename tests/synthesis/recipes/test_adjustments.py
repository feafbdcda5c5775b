"""What is done about what was found, and what is said about it."""

from __future__ import annotations

import dataclasses

import pytest

from phosphene.core.objectives.classes import Logit
from phosphene.core.objectives.units import Channel, Neuron
from phosphene.core.result import Cost
from phosphene.synthesis.recipes.adjustments import remedies
from phosphene.synthesis.recipes.preset import Best, Lecture
from phosphene.synthesis.recipes.probe import Finding, Findings

WELL = Finding(Logit(0), resting=0.0, natural=(-2.0, 3.0), spread=1.2)


def findings(*targets: Finding, **found: object) -> Findings:
    healthy = Findings(targets or (WELL,), (224, 224), stride=32, grey=False, softmax=False, handed=0.03, cost=Cost(14))
    return dataclasses.replace(healthy, **found)  # type: ignore[arg-type]


def test_the_healthy_get_nothing() -> None:
    cured = remedies(findings(), Best())
    assert (cured.manner, cured.weights, cured.redirect, cured.notes) == (Best(), (1.0,), 0, ())
    assert cured.climbed(Logit(0), 0) == Logit(0)


def test_the_silent_are_woken_and_the_dead_are_called_dead() -> None:
    silent = dataclasses.replace(WELL, target=Channel("a", 1), silent=True)
    dead = dataclasses.replace(silent, target=Channel("a", 2), dead=True)
    cured = remedies(findings(silent, dead), Best(wake=9))
    assert cured.redirect == 9
    assert cured.notes == (
        "a:1 is silent on the blank picture: ReLUs let the gradient through in the first 9 steps",
        "a:2 is dead: 0 on all photographs, and no gradient reaches it, not even through ReLUs that let it pass; its "
        "picture stays blank",
    )
    assert remedies(findings(dead), Best()).redirect == 0
    assert remedies(findings(silent), Lecture()).redirect == 16
    told = remedies(findings(silent), Best(wake=0))
    assert told.redirect == 0
    assert "ReLUs stay shut, as told" in told.notes[0]


def test_the_capped_are_climbed_before_their_activation_in_windows_too() -> None:
    capped = dataclasses.replace(WELL, target=Neuron("relu", 5, 8, 9), capped=0.4, unbent="bn")
    cured = remedies(findings(WELL, capped), Best())
    assert cured.climbed(Neuron("relu", 5, 2, 3), 1) == Neuron("bn", 5, 2, 3)
    assert cured.notes == (
        "relu:5@8,9 is at its cap on 40% of the places of photographs: the same channel of bn, before the activation, "
        "is climbed in its place",
        "a neuron is at its place: all pictures are moved a little at each step, neither cropped nor mirrored",
    )


def test_left_and_right_colors_and_small_pictures() -> None:
    cured = remedies(findings(size=(28, 28), stride=4, grey=True, handed=0.3), Best())
    assert cured.manner == Best(mirror=False, recolor=0.0, least=0.8, tv=Best().tv / 64)
    assert len(cured.notes) == 3
    strided = remedies(findings(size=(32, 32), stride=32), Best())
    assert strided.manner.least == 0.5  # the smallest crops move by a whole stride


def test_what_was_chosen_stays() -> None:
    chosen = Best(least=0.35, recolor=0.1, tv=1.0)
    cured = remedies(findings(size=(28, 28), stride=4, grey=True), chosen)
    assert cured.manner == chosen
    assert cured.notes == ()
    assert remedies(findings(size=(28, 28), grey=True), Lecture()).manner == Lecture()


def test_the_size_of_the_picture_not_of_the_network_counts() -> None:
    assert remedies(findings(), Best(), (112, 112)).manner == Best(tv=Best().tv / 4)


def test_penalties_go_with_the_spread() -> None:
    loud = dataclasses.replace(WELL, spread=12.0)
    cured = remedies(findings(WELL, loud, dataclasses.replace(WELL, spread=0.0)), Best())
    assert cured.weights == (1.0, 10.0, 1.0)
    assert cured.notes == ("the penalties count 1 … 10 times, as much as the targets vary between photographs",)
    assert remedies(findings(loud), Lecture()).notes == ()  # it has none


def test_units_need_less_to_hold_them_together_than_classes() -> None:
    unit = dataclasses.replace(WELL, target=Channel("blocks.1", 3))
    classes, units = (remedies(findings(each), Best()).weights[0] for each in (WELL, unit))
    assert units == pytest.approx(0.1 * classes)


def test_units_are_shown_at_the_size_they_look_for_and_classes_at_any() -> None:
    unit = dataclasses.replace(WELL, target=Channel("blocks.1", 3))
    assert remedies(findings(unit), Best()).manner.least == 0.85
    assert remedies(findings(unit, WELL), Best()).manner.least == Best().least
