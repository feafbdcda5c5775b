"""Class and unit visualization: what is told of a picture is true of the file that is saved."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import nets
from phosphene.core.errors import OptionError, TargetError
from phosphene.core.images import image
from phosphene.core.inputs import Target
from phosphene.core.objectives.classes import Logit
from phosphene.core.objectives.units import Channel
from phosphene.synthesis.canvas.canvas import Pixels
from phosphene.synthesis.loop import budget
from phosphene.synthesis.loop.recipe import Job
from phosphene.synthesis.recipes import group, groups
from phosphene.synthesis.recipes.visualization import Visualization
from phosphene.synthesis.recipes.visualize import Visualize, visualize
from phosphene.synthesis.settings.preset import Best, Lecture, Preset
from phosphene.synthesis.settings.probe import NetworkProbe, probe
from phosphene.synthesis.transforms.pixel_regularizers import Blur, ClipContribution, ClipNorm, Decay


@pytest.mark.parametrize("preset", sorted(Preset.table))
def test_every_preset_makes_a_picture_that_its_target_prefers(preset: str) -> None:
    network = nets.build("gap")
    how: dict[str, Any] = {"best": {"bn_weight": 0.0}}.get(preset, {})  # its running statistics are random
    result = visualize(network, ["goldfish", "features.5:3"], preset=Preset.find(preset)(steps=40, **how))
    grey = torch.full((1, 3, 32, 32), 0.5)
    read = network.tap(grey, ["logits", "features.5"])
    assert result.activations[0] > Logit(2)(read).item()
    assert result.activations[1] >= Channel("features.5", 3)(read).item()
    assert result.names == ("goldfish", "features.5:3")


def test_what_is_told_is_true_of_the_file(tmp_path: Path) -> None:
    network = nets.build("gap")
    result = visualize(network, ["goldfish", "tabby"], preset=Lecture(steps=10))
    entries = result.save(tmp_path)["files"]
    for number, entry in enumerate(entries[:2]):
        pixels = image.load(tmp_path / entry["path"]).tensor()
        logits = network(pixels)[0]
        index = network.index(entry["target"])
        assert entry["activation"] == pytest.approx(logits[index].item(), rel=1e-5)
        assert entry["rank"] == 1 + int((logits > logits[index]).sum())
        assert result.recognized[number][0].logit == pytest.approx(logits.max().item(), rel=1e-5)
    assert np.load(tmp_path / "scores.npy").shape == (10, 2)
    assert [entry["path"] for entry in entries] == ["goldfish.png", "tabby.png", "scores.npy"]


def test_targets_of_one_spelling_get_files_of_their_own(tmp_path: Path) -> None:
    result = visualize(nets.build("gap"), ["features.2:1", "features.2:1"], preset=Lecture(steps=1))
    entries = result.save(tmp_path)["files"]
    assert [entry["path"] for entry in entries[:2]] == ["features.2-1-1.png", "features.2-1-2.png"]


def test_each_regularizer_of_the_lecture_is_a_switch() -> None:
    parts = Lecture(decay=0.1, blur=2.0, clip_norm=0.2, clip_contribution=0.3).parts()
    assert isinstance(parts.canvas, Pixels)
    assert parts.pixel_regularizers == (Decay(0.1), Blur(2.0), ClipNorm(0.2), ClipContribution(0.3))
    assert Lecture(decay=0, blur=0).parts().pixel_regularizers == ()


def test_a_sum_of_targets_and_an_index(tmp_path: Path) -> None:
    result = visualize(nets.build("gap"), ["goldfish - 0.5*tabby", 0], preset=Best(steps=2))
    assert result.names == ("goldfish - 0.5*tabby", "tabby")
    assert result.ranks[0] == 0
    assert all(line.startswith(name) for line, name in zip(result.lines(), result.names, strict=True))


def test_several_pictures_of_a_target_are_pushed_apart_and_told_apart() -> None:
    result = visualize(nets.build("gap"), ["goldfish", "features.2:1"], preset=Best(steps=8), diverse=2)
    assert result.names == ("goldfish #1", "goldfish #2", "features.2:1 #1", "features.2:1 #2")
    assert {type(objective) for objective in result.objectives} == {Logit, Channel}
    assert not torch.equal(*result.images[:2])


def test_pictures_of_the_lecture_differ_if_they_are_to() -> None:
    result = visualize(nets.build("gap"), "goldfish", preset=Lecture(steps=4), diverse=2)
    assert not torch.equal(*result.images)
    assert "pictures that are to differ begin with noise" in result.notes
    noises = [
        visualize(nets.build("gap"), 0, preset=Lecture(steps=1, start="noise"), seed=seed).images for seed in range(2)
    ]
    assert not torch.equal(*noises)


def test_the_penalty_of_the_first_formula() -> None:
    pale, loud = (
        visualize(nets.build("gap"), "goldfish", preset=Lecture(40, decay=0, blur=0, l2=l2)).images for l2 in (1e4, 0.0)
    )
    assert pale.std() < 0.5 * loud.std()


@pytest.mark.parametrize(("size", "seen"), [((64, 96), (32, 32)), ((32, 32), (32, 32)), ((24, 24), (24, 24))])
def test_crops_of_a_large_canvas_are_shown_at_the_size_the_network_takes(
    size: tuple[int, int], seen: tuple[int, int]
) -> None:
    sizes: list[tuple[int, ...]] = []
    network = nets.build("gap")
    network.module.register_forward_hook(lambda _, args, out: sizes.append(tuple(args[0].shape)))
    result = visualize(network, "goldfish", preset=Best(steps=1), size=size)
    assert result.images.shape[2:] == size
    assert sizes[-2:] == [(2, 3, *seen), (1, 3, 32, 32)]  # the step, and the file as it is read again


def test_a_network_of_one_size_has_large_pictures_too() -> None:
    result = visualize(nets.build("linear"), "goldfish", preset=Best(steps=2), size=(48, 48))
    assert result.images.shape[2:] == (48, 48)
    assert result.ranks[0] >= 1


def test_what_brings_nothing_any_more_ends() -> None:
    result = visualize(nets.build("gap"), "goldfish", preset=Lecture(400, patience=10))
    assert len(result.scores) < 400


def test_pictures_begin_with_what_they_are_given() -> None:
    starts = torch.rand(2, 3, 16, 16).repeat_interleave(2, 2).repeat_interleave(2, 3)
    result = visualize(nets.build("gap"), ["goldfish", 1], preset=Lecture(steps=1, decay=0), starts=starts)
    assert result.images.shape == (4, 3, 32, 32)
    for made, start in zip(result.images, starts.repeat(2, 1, 1, 1), strict=True):
        assert (made - start).abs().mean() < 0.1


def test_a_budget_chooses_steps_and_keeps_its_choice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def make(seconds: float, folder: Path) -> Visualization:
        return visualize(nets.build("gap"), 1, preset=Lecture(steps=20), seconds=seconds, state=folder)

    monkeypatch.setattr(budget, "seconds_of", lambda work: (work(), 0.2)[1])
    monkeypatch.setattr(time, "perf_counter", lambda: 0.0)
    long, short = make(60, tmp_path / "a"), make(3, tmp_path / "b")
    assert (len(long.scores), long.images.shape[2]) == (80, 32)  # four times the preset's at most
    assert (len(short.scores), short.images.shape[2]) == (27, 16)
    monkeypatch.setattr(budget, "seconds_of", lambda work: 99.0)
    again = make(3, tmp_path / "b")
    assert torch.equal(again.images, short.images)


def test_what_goes_before_the_first_step_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def slow(*given: Any) -> NetworkProbe:
        nonlocal now
        now += 2
        return probe(*given)

    monkeypatch.setattr(time, "perf_counter", lambda: now)
    monkeypatch.setattr(budget, "seconds_of", lambda work: (work(), 0.2)[1])
    monkeypatch.setattr(groups, "probe", slow)
    result = visualize(nets.build("gap"), 1, preset=Lecture(steps=20), size=(32, 32), seconds=3)
    assert len(result.scores) == 9  # one second is left, of which a tenth is kept


def test_a_budget_that_runs_out_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "seconds_of", lambda work: (work(), 1e-9)[1])
    result = visualize(nets.build("gap"), 1, preset=Lecture(steps=10**6), seconds=0.2)
    assert result.notes == (
        "0.2 s allow 4000000 steps at 32 × 32",
        f"stopped after {len(result.scores)} of 4000000 steps",
    )


@pytest.mark.parametrize(
    ("net", "target", "size"),
    [("linear", 0, None), ("gap", "features.5:1@7,7", None), ("gap", 0, (32, 32))],
    ids=["a network of one size", "a neuron at its place", "as asked"],
)
def test_a_budget_makes_no_picture_smaller_that_must_not_be(
    net: str, target: Target, size: tuple[int, int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "perf_counter", lambda: 0.0)
    monkeypatch.setattr(budget, "seconds_of", lambda work: (work(), 0.5)[1])
    result = visualize(nets.build(net), target, preset=Lecture(steps=20), size=size, seconds=3)
    assert result.images.shape[2:] == (32, 32)
    assert len(result.scores) == 10


def test_what_is_not_there_is_refused() -> None:
    with pytest.raises(TargetError, match="no class 'goldfsh'; did you mean 'goldfish'"):
        visualize(nets.build("gap"), "goldfsh")
    with pytest.raises(OptionError, match="no preset is called 'nice'"):
        visualize(nets.build("gap"), 0, preset="nice")
    with pytest.raises(OptionError, match="diverse is 0"):
        visualize(nets.build("gap"), 0, diverse=0)
    with pytest.raises(OptionError, match="visualize was given no target"):
        visualize(nets.build("gap"), [])


def test_a_probability_is_of_a_class_and_has_its_rank() -> None:
    result = visualize(nets.build("gap"), ["goldfish", "p(goldfish)"], preset=Lecture(steps=2))
    assert result.ranks[0] == result.ranks[1] > 0


def test_a_neuron_is_moved_and_not_cropped_and_that_is_said() -> None:
    result = visualize(nets.build("gap"), "features.5:1@3,3", preset=Best(steps=2))
    assert any("moved a little" in note for note in result.notes)


@pytest.mark.parametrize("target", ["goldfish", "stem:1@8,8"])
def test_inference_mode_around_it_changes_nothing(target: str) -> None:
    network = nets.build("residual")
    usual = visualize(network, target, preset=Best(steps=17))
    with torch.inference_mode():
        again = visualize(network, target, preset=Best(steps=17))
    assert torch.equal(again.images, usual.images)
    assert again.notes == usual.notes


def test_many_targets_go_through_in_passes_of_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    network = nets.build("gap")
    network.module.register_forward_hook(lambda _, args, out: sizes.append(len(args[0])))
    monkeypatch.setattr(group, "_VIEWS", 6)
    visualize(network, list(range(5)) * 2, preset=Best(steps=1))
    assert max(sizes) == 6  # the sample photographs go alone, the twenty views in four passes
    sizes.clear()
    visualize(network, [0, 1, 2], preset=Best(steps=1, crops=1), diverse=5)
    assert max(sizes) == 5  # those of one target are compared, and go together


@pytest.mark.parametrize(("steps", "scale"), [(64, 1.0), (63, 0.75)])
def test_pictures_are_smaller_where_less_than_64_steps_are_left(steps: int, scale: float) -> None:
    recipe = Visualize(Best(steps=128))
    assert recipe.reduced(Job(nets.build("gap"), (0,)), steps / 128).scale == scale
