"""Targets of several kinds at once: each picture as if made alone, in the order asked, watched and resumed as one."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import nets
from phosphene.core import files
from phosphene.core.images import image
from phosphene.core.networks.network import Images
from phosphene.synthesis.loop.state import State
from phosphene.synthesis.recipes import plan as module
from phosphene.synthesis.recipes.preset import Best, Lecture
from phosphene.synthesis.recipes.visualize import Visualization, visualize

MIXED = ["goldfish", "features.5:1@3,3", "tabby", "features.2:1"]
KINDS = [[0, 2], [1], [3]]
"""The places of those that are made in one batch: classes, a neuron, a unit."""
STEPS = 4


def make(targets: str | list[str], **how: Any) -> Visualization:
    return visualize(nets.build("gap"), targets, **{"manner": Best(steps=STEPS), **how})


@pytest.mark.parametrize("seed", [0, 5])
def test_a_class_among_neurons_is_what_it_is_alone(seed: int) -> None:
    alone = make("goldfish", seed=seed).synthesis
    for others in (["features.5:1@3,3"], ["features.2:1"], ["features.2:1@3,3", "features.2:1"]):
        found = make(["goldfish", *others], seed=seed).synthesis
        assert torch.equal(found.images[0], alone.images[0])
        assert torch.equal(found.scores[:, 0], alone.scores[:, 0])


def test_pictures_scores_and_names_are_in_the_order_asked() -> None:
    found = make(MIXED)
    assert found.names == tuple(MIXED)
    assert found.synthesis.scores.shape == (STEPS, 4)
    assert [str(each) for each in found.synthesis.objectives] == MIXED
    for places in KINDS:
        own = make([MIXED[place] for place in places])
        assert torch.equal(found.synthesis.images[places], own.synthesis.images)
        assert torch.equal(found.synthesis.scores[:, places], own.synthesis.scores)
        assert tuple(found.activations[place] for place in places) == own.activations
        assert tuple(found.ranks[place] for place in places) == own.ranks
    assert len({image.encode_png(each) for each in found.synthesis.images}) == 4


def test_several_pictures_of_each_stand_together() -> None:
    found = make(["features.2:1", "goldfish", "features.5:3"], each=2)
    assert found.names == tuple(f"{name} #{n}" for name in ("features.2:1", "goldfish", "features.5:3") for n in (1, 2))
    units, classes = make(["features.2:1", "features.5:3"], each=2), make("goldfish", each=2)
    assert torch.equal(found.synthesis.images[[0, 1, 4, 5]], units.synthesis.images)
    assert torch.equal(found.synthesis.images[2:4], classes.synthesis.images)


def test_each_begins_with_its_own_of_the_pictures_given() -> None:
    starts = torch.stack([torch.full((3, 32, 32), 0.3), torch.full((3, 32, 32), 0.7)])
    found = make(MIXED, manner=Best(steps=1, lr=1e-4), starts=starts).synthesis.images
    assert found.flatten(1).mean(1).tolist() == pytest.approx([0.3, 0.7] * 4, abs=0.01)


def test_one_kind_that_ends_earlier_leaves_the_others_their_steps() -> None:
    patient = Best(steps=60, patience=3)
    found = make(MIXED, manner=patient).synthesis.scores
    lengths = []
    for places in KINDS:
        own = make([MIXED[place] for place in places], manner=patient).synthesis.scores
        assert torch.equal(found[: len(own), places], own)
        assert found[len(own) :, places].isnan().all()
        lengths.append(len(own))
    assert len(set(lengths)) > 1
    assert len(found) == max(lengths)


def test_who_watches_is_told_of_all_pictures_and_of_each_step_once() -> None:
    told: list[tuple[int, Images, Tensor]] = []
    make(MIXED, watch=lambda step, images, scores: told.append((step, images.clone(), scores.clone())))
    assert [step for step, *_ in told] == list(range(1, 3 * STEPS + 1))
    assert all(images.shape == (4, 3, 32, 32) and scores.shape == (4,) for _, images, scores in told)
    begun: list[int] = []
    for number, places in enumerate(KINDS):
        begun = begun + places
        own = made([MIXED[place] for place in places])
        for alone, (_, shown, now) in zip(own, told[number * STEPS : (number + 1) * STEPS], strict=True):
            assert torch.equal(shown[places], alone)
            assert now.isfinite().nonzero().flatten().tolist() == sorted(begun)  # the others have not begun
            blank = [place for place in range(4) if place not in begun]
            assert (shown[blank] == 0.5).all()


def made(targets: list[str]) -> list[Images]:
    """The pictures of targets of one kind, step by step."""
    told: list[Images] = []
    make(targets, watch=lambda step, images, scores: told.append(images.clone()))
    return told


def test_a_kind_that_is_finished_is_still_shown() -> None:
    last: dict[int, Images] = {}
    found = make(MIXED, watch=lambda step, images, scores: last.update({step: images})).synthesis.images
    for step in range(STEPS + 1, 3 * STEPS + 1):  # they are what they were told to be, whatever came afterwards
        assert torch.equal(last[step][KINDS[0]], found[KINDS[0]])
    assert not torch.equal(last[1], last[2])


def test_who_stops_one_kind_stops_all() -> None:
    told: list[int] = []
    found = make(MIXED, watch=lambda step, *_: told.append(step) or step == 2)
    assert told == [1, 2, 3, 4]  # those that had not begun have one step
    assert [int(each.isfinite().sum()) for each in found.synthesis.scores.T] == [2, 1, 2, 1]


@pytest.mark.usefixtures("often")
def test_what_had_finished_is_shown_to_whoever_goes_on(tmp_path: Path) -> None:
    def die(step: int, *_: object) -> None:
        if step == STEPS + 2:
            raise Killed

    with pytest.raises(Killed):
        make(MIXED, state=tmp_path, watch=die)
    told: list[tuple[Images, Tensor]] = []
    found = make(MIXED, state=tmp_path, watch=lambda _, images, scores: told.append((images, scores))).synthesis
    for images, scores in told:
        assert torch.equal(images[KINDS[0]], found.images[KINDS[0]])
        assert scores[KINDS[0]].isfinite().all()


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """The state is written after every step."""
    monkeypatch.setattr(State, "due", property(lambda self: self.path is not None))


class Killed(Exception):
    pass


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize("last", [2, 5, 7, 12])
def test_killed_in_any_kind_it_goes_on_to_the_same_bytes(last: int, tmp_path: Path) -> None:
    def die(step: int, *_: object) -> None:
        if step == last:
            raise Killed

    whole = make(MIXED).synthesis
    with pytest.raises(Killed):
        make(MIXED, state=tmp_path, watch=die)
    told: list[int] = []
    again = make(MIXED, state=tmp_path, watch=lambda step, *_: told.append(step)).synthesis
    assert torch.equal(again.images, whole.images)
    assert torch.equal(again.scores, whole.scores)
    assert told == list(range(last, 3 * STEPS + 1))  # the step in which it was killed was not kept
    assert again.cost.backwards == whole.cost.backwards
    told.clear()
    make(MIXED, state=tmp_path, watch=lambda step, *_: told.append(step))
    assert not told  # what had finished is returned at once


def test_states_of_other_targets_are_no_start(tmp_path: Path) -> None:
    make(MIXED, state=tmp_path)
    other = ["features.2:1", *MIXED[:3]]  # the same pictures, but the kinds come in another order
    found, whole = make(other, state=tmp_path).synthesis, make(other).synthesis
    assert torch.equal(found.images, whole.images)
    assert not any("went on" in each for each in found.notes)


def test_a_budget_leaves_all_kinds_at_one_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "perf_counter", lambda: 0.0)
    monkeypatch.setattr(module, "seconds_of", lambda work: (work(), 0.2)[1])

    def within(targets: list[str], seconds: float) -> Visualization:
        return make(targets, manner=Best(steps=20), seconds=seconds, state=tmp_path / str(len(targets)))

    assert within(["goldfish"], 2).synthesis.images.shape[2:] == (16, 16)  # alone it is made smaller
    found = within(["goldfish", "features.2:1"], 4)
    assert found.synthesis.images.shape == (2, 3, 32, 32)
    monkeypatch.setattr(module, "seconds_of", lambda work: pytest.fail("timed again"))
    again = within(["goldfish", "features.2:1"], 4)
    assert torch.equal(again.synthesis.images, found.synthesis.images)


def test_time_is_shared_by_the_pictures_of_each_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "perf_counter", lambda: 0.0)
    monkeypatch.setattr(module, "seconds_of", lambda work: (work(), 0.2)[1])
    found = make(["features.2:1", "goldfish", "tabby"], manner=Best(steps=20), seconds=6).synthesis
    steps = found.scores.isfinite().sum(0).tolist()
    assert steps == [18, 54, 54]  # the clock stands still: a third of all, and then all that is left


def test_factors_of_a_target_and_its_opposite_get_files_of_their_own(tmp_path: Path) -> None:
    found = make(["2*goldfish", "-2*goldfish"], manner=Lecture(steps=2))
    entries = found.save(tmp_path)[:2]
    assert [each["target"] for each in entries] == ["2*goldfish", "-2*goldfish"]
    assert [each["path"] for each in entries] == ["2-goldfish.png", "2-goldfish-2.png"]
    for entry, pixels in zip(entries, found.pictures(), strict=True):
        assert np.array_equal(image.load(tmp_path / entry["path"]).pixels, pixels)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["2-goldfish-2.png", "2-goldfish.png", "scores.npy"]


def test_names_that_some_disks_take_for_the_same_are_told_apart() -> None:
    taken: set[str] = set()
    names = [files.unused(each, taken) for each in ("Conv", "conv", "CONV", "conv-2", "straße", "STRASSE", "other")]
    assert names == ["Conv", "conv-2", "CONV-3", "conv-2-2", "straße", "STRASSE-2", "other"]
    assert len({each.casefold() for each in names}) == len(names)
