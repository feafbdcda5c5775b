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
from phosphene.core.progress import Progress
from phosphene.synthesis.loop import budget
from phosphene.synthesis.loop.state_file import StateFile
from phosphene.synthesis.recipes.visualization import Visualization
from phosphene.synthesis.recipes.visualize import visualize
from phosphene.synthesis.settings.preset import Best, Lecture

MIXED = ["goldfish", "features.5:1@3,3", "tabby", "features.2:1"]
KINDS = [[0, 2], [1], [3]]
"""The places of those that are made in one batch: classes, a neuron, a unit."""
STEPS = 4


def make(targets: str | list[str], **how: Any) -> Visualization:
    return visualize(nets.build("gap"), targets, **{"preset": Best(steps=STEPS), **how})


@pytest.mark.parametrize("seed", [0, 5])
def test_a_class_among_neurons_is_what_it_is_alone(seed: int) -> None:
    alone = make("goldfish", seed=seed)
    for others in (["features.5:1@3,3"], ["features.2:1"], ["features.2:1@3,3", "features.2:1"]):
        result = make(["goldfish", *others], seed=seed)
        assert torch.equal(result.images[0], alone.images[0])
        assert torch.equal(result.scores[:, 0], alone.scores[:, 0])


def test_pictures_scores_and_names_are_in_the_order_asked() -> None:
    result = make(MIXED)
    assert result.names == tuple(MIXED)
    assert result.scores.shape == (STEPS, 4)
    assert [str(objective) for objective in result.objectives] == MIXED
    for places in KINDS:
        own = make([MIXED[place] for place in places])
        assert torch.equal(result.images[places], own.images)
        assert torch.equal(result.scores[:, places], own.scores)
        assert tuple(result.activations[place] for place in places) == own.activations
        assert tuple(result.ranks[place] for place in places) == own.ranks
    assert len({image.encode_png(one_image) for one_image in result.images}) == 4


def test_several_pictures_of_each_stand_together() -> None:
    result = make(["features.2:1", "goldfish", "features.5:3"], diverse=2)
    assert result.names == tuple(
        f"{name} #{n}" for name in ("features.2:1", "goldfish", "features.5:3") for n in (1, 2)
    )
    units, classes = make(["features.2:1", "features.5:3"], diverse=2), make("goldfish", diverse=2)
    assert torch.equal(result.images[[0, 1, 4, 5]], units.images)
    assert torch.equal(result.images[2:4], classes.images)


def test_each_begins_with_its_own_of_the_pictures_given() -> None:
    starts = torch.stack([torch.full((3, 32, 32), 0.3), torch.full((3, 32, 32), 0.7)])
    result = make(MIXED, preset=Best(steps=1, lr=1e-4), starts=starts).images
    assert result.flatten(1).mean(1).tolist() == pytest.approx([0.3, 0.7] * 4, abs=0.01)


def test_one_kind_that_ends_earlier_leaves_the_others_their_steps() -> None:
    patient = Best(steps=60, patience=3)
    result = make(MIXED, preset=patient).scores
    lengths = []
    for places in KINDS:
        own = make([MIXED[place] for place in places], preset=patient).scores
        assert torch.equal(result[: len(own), places], own)
        assert result[len(own) :, places].isnan().all()
        lengths.append(len(own))
    assert len(set(lengths)) > 1
    assert len(result) == max(lengths)


def test_who_watches_is_told_of_all_pictures_and_of_each_step_once() -> None:
    told: list[Progress] = []
    make(MIXED, watch=told.append)
    assert [progress.done for progress in told] == list(range(1, 3 * STEPS + 1))
    assert all(progress.preview.shape == (4, 3, 32, 32) and progress.scores.shape == (4,) for progress in told)
    assert {progress.total for progress in told} == {3 * STEPS}
    begun: list[int] = []
    for number, places in enumerate(KINDS):
        begun = begun + places
        own = made([MIXED[place] for place in places])
        for alone, progress in zip(own, told[number * STEPS : (number + 1) * STEPS], strict=True):
            shown, now = progress.preview, progress.scores
            assert torch.equal(shown[places], alone)
            assert now.isfinite().nonzero().flatten().tolist() == sorted(begun)  # the others have not begun
            blank = [place for place in range(4) if place not in begun]
            assert (shown[blank] == 0.5).all()


def made(targets: list[str]) -> list[Images]:
    """The pictures of targets of one kind, step by step."""
    told: list[Images] = []
    make(targets, watch=lambda progress: told.append(progress.preview.clone()))
    return told


def test_a_kind_that_is_finished_is_still_shown() -> None:
    last: dict[int, Images] = {}
    result = make(MIXED, watch=lambda progress: last.update({progress.done: progress.preview})).images
    for step in range(STEPS + 1, 3 * STEPS + 1):  # they are what they were told to be, whatever came afterwards
        assert torch.equal(last[step][KINDS[0]], result[KINDS[0]])
    assert not torch.equal(last[1], last[2])


def test_who_stops_one_kind_stops_all() -> None:
    told: list[int] = []
    result = make(MIXED, watch=lambda progress: told.append(progress.done) or progress.done == 2)
    assert told == [1, 2, 3, 4]  # those that had not begun have one step
    assert [int(value.isfinite().sum()) for value in result.scores.T] == [2, 1, 2, 1]


@pytest.mark.usefixtures("often")
def test_what_had_finished_is_shown_to_whoever_goes_on(tmp_path: Path) -> None:
    def die(progress: Progress) -> None:
        if progress.done == STEPS + 2:
            raise Killed

    with pytest.raises(Killed):
        make(MIXED, state=tmp_path, watch=die)
    told: list[tuple[Images, Tensor]] = []
    result = make(MIXED, state=tmp_path, watch=lambda progress: told.append((progress.preview, progress.scores)))
    for images, scores in told:
        assert torch.equal(images[KINDS[0]], result.images[KINDS[0]])
        assert scores[KINDS[0]].isfinite().all()


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """The state is written after every step."""
    monkeypatch.setattr(StateFile, "due", property(lambda self: self.path is not None))


class Killed(Exception):
    pass


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize("last", [2, 5, 7, 12])
def test_killed_in_any_kind_it_goes_on_to_the_same_bytes(last: int, tmp_path: Path) -> None:
    def die(progress: Progress) -> None:
        if progress.done == last:
            raise Killed

    whole = make(MIXED)
    with pytest.raises(Killed):
        make(MIXED, state=tmp_path, watch=die)
    told: list[int] = []
    again = make(MIXED, state=tmp_path, watch=lambda progress: told.append(progress.done))
    assert torch.equal(again.images, whole.images)
    assert torch.equal(again.scores, whole.scores)
    assert told == list(range(last, 3 * STEPS + 1))  # the step in which it was killed was not kept
    assert again.cost.backwards == whole.cost.backwards
    told.clear()
    make(MIXED, state=tmp_path, watch=lambda progress: told.append(progress.done))
    assert not told  # what had finished is returned at once


def test_states_of_other_targets_are_no_start(tmp_path: Path) -> None:
    make(MIXED, state=tmp_path)
    other = ["features.2:1", *MIXED[:3]]  # the same pictures, but the kinds come in another order
    result, whole = make(other, state=tmp_path), make(other)
    assert torch.equal(result.images, whole.images)
    assert not any("went on" in note for note in result.notes)


def test_a_budget_leaves_all_kinds_at_one_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "perf_counter", lambda: 0.0)
    monkeypatch.setattr(budget, "seconds_of", lambda work: (work(), 0.2)[1])

    def within(targets: list[str], seconds: float) -> Visualization:
        return make(targets, preset=Best(steps=20), seconds=seconds, state=tmp_path / str(len(targets)))

    assert within(["goldfish"], 2).images.shape[2:] == (16, 16)  # alone it is made smaller
    result = within(["goldfish", "features.2:1"], 4)
    assert result.images.shape == (2, 3, 32, 32)
    monkeypatch.setattr(budget, "seconds_of", lambda work: pytest.fail("timed again"))
    again = within(["goldfish", "features.2:1"], 4)
    assert torch.equal(again.images, result.images)


def test_a_budget_gives_all_kinds_as_many_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "perf_counter", lambda: 0.0)
    monkeypatch.setattr(budget, "seconds_of", lambda work: (work(), 0.2)[1])
    result = make(["features.2:1", "goldfish", "tabby"], preset=Best(steps=20), seconds=6)
    assert result.scores.isfinite().sum(0).tolist() == [27] * 3  # a tenth of a second each, of 5.4 s
    assert result.notes[0] == "6 s allow 27 steps at 32 × 32"


def test_factors_of_a_target_and_its_opposite_get_files_of_their_own(tmp_path: Path) -> None:
    outcome = make(["2*goldfish", "-2*goldfish"], preset=Lecture(steps=2))
    entries = outcome.save(tmp_path)["files"][:2]
    assert [entry["target"] for entry in entries] == ["2*goldfish", "-2*goldfish"]
    assert [entry["path"] for entry in entries] == ["2-goldfish.png", "2-goldfish-2.png"]
    for entry, pixels in zip(entries, outcome.pictures(), strict=True):
        assert np.array_equal(image.load(tmp_path / entry["path"]).pixels, pixels)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {".phosphene", "2-goldfish-2.png", "2-goldfish.png", "result.json", "scores.npy"}


def test_names_that_some_disks_take_for_the_same_are_told_apart() -> None:
    taken: set[str] = set()
    names = [files.unused(name, taken) for name in ("Conv", "conv", "CONV", "conv-2", "straße", "STRASSE", "other")]
    assert names == ["Conv", "conv-2", "CONV-3", "conv-2-2", "straße", "STRASSE-2", "other"]
    assert len({name.casefold() for name in names}) == len(names)
