"""Recipes in about ten lines each: a style transfer and the box L-BFGS attack, under the runner of all others."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import nets
from phosphene.core.errors import ImageError, OptionError
from phosphene.core.images import image
from phosphene.core.images.image import Picture
from phosphene.core.networks.network import Activations, Network
from phosphene.core.objectives.classes import Logit
from phosphene.core.objectives.objective import Objective
from phosphene.core.progress import Progress
from phosphene.synthesis.canvas.canvas import Perturbation, Pixels
from phosphene.synthesis.loop import budget
from phosphene.synthesis.loop.optimizers import LBFGS, Adam
from phosphene.synthesis.loop.recipe import Job, Recipe, Stage
from phosphene.synthesis.loop.run import run
from phosphene.synthesis.loop.state_file import StateFile
from phosphene.synthesis.loop.synthesis import Synthesis
from phosphene.synthesis.losses.feature_match import Match
from phosphene.synthesis.losses.gram import Gram
from phosphene.synthesis.recipes.as_saved import as_saved


@dataclasses.dataclass(frozen=True)
class Style(Recipe[Synthesis], name="test-style"):
    """A content picture with the Gram matrices of a style picture, at two sizes.

    Args:
        weight: of the style.
        steps: at each size.
    """

    weight: float = 10.0
    steps: int = 8

    def stages(self, job: Job) -> Generator[Stage, Synthesis, Synthesis]:
        made: Any = None
        for size in ((16, 16), (32, 32)):
            content, style = (image.resize(images, size) for images in job.images)
            target = -1.0 * Match.of(job.network, content, "features.2")
            target = target - self.weight * Gram.of(job.network, style, "features.0")
            start = image.resize(made.images, size) if made else content
            made = yield Stage(objective=target, canvas=Pixels(), start=start, optimizer=Adam(0.02), steps=self.steps)
        return made  # type: ignore[no-any-return]

    def total(self, job: Job) -> int:
        return 2 * self.steps


@dataclasses.dataclass(frozen=True)
class BoxLBFGS(Recipe[Synthesis], name="test-box-lbfgs"):
    """The smallest change that makes a network see another class: Szegedy et al., ICLR 2014, equation 1.

    Args:
        to: index of the class.
        rounds: of the search for the largest c of loss(f(x + r), to) + c |r| that succeeds.
        largest: c.
    """

    to: int = 0
    rounds: int = 4
    largest: float = 1.0

    def stages(self, job: Job) -> Generator[Stage, Synthesis, Synthesis]:
        (clean,), low, high = job.images, 0.0, self.largest
        best: Any = None
        for _ in range(self.rounds):
            c = (low + high) / 2
            made = yield Stage(
                objective=LogProbability(self.to) - c * Distance(clean), canvas=Perturbation(eps=1.0), start=clean,
                optimizer=LBFGS(), steps=6, name=f"c = {c:.3g}",
            )  # fmt: skip
            succeeded = int(job.network(as_saved(made.images)).argmax()) == self.to
            best, low, high = (made, c, high) if succeeded else (best or made, low, c)
        return best  # type: ignore[no-any-return]


@dataclasses.dataclass(frozen=True)
class LogProbability(Objective, name="test-log-probability"):
    """log p of a class."""

    index: int

    @property
    def reads(self) -> frozenset[str]:
        return frozenset({"logits"})

    def __call__(self, activations: Activations) -> Tensor:
        return activations["logits"].log_softmax(1)[:, self.index]


@dataclasses.dataclass(frozen=True, eq=False)
class Distance(Objective, name="test-distance"):
    """L2 distance from an image."""

    clean: Tensor = dataclasses.field(repr=False)

    @property
    def reads(self) -> frozenset[str]:
        return frozenset({"input"})

    def __call__(self, activations: Activations) -> Tensor:
        return (activations["input"] - self.clean).flatten(1).norm(dim=1)


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    """The recipes are registered, and taken out again."""
    yield
    for name in ("test-style", "test-box-lbfgs"):
        assert name in Recipe.table


def photographs() -> tuple[Picture, Picture]:
    content, style = nets.pictures(2)
    return Picture.from_array(content, "content.png"), Picture.from_array(style, "style.png")


def test_a_style_transfer_comes_nearer_to_the_gram_matrix() -> None:
    network, (content, style) = nets.build("gap"), photographs()
    result = run(Style(steps=30), network, content, style)
    gram = Gram.of(network, style.tensor(), "features.0")

    def distance(images: Tensor) -> float:
        return gram(network.tap(images, gram.reads)).item()

    assert distance(result.images) < 0.5 * distance(content.tensor())
    assert (result.options["name"], result.options["weight"]) == ("test-style", 10.0)
    assert [picture.name for picture in result.inputs] == ["content", "style"]
    assert result.cost.backwards == 2 * 30


def test_an_attack_branches_on_what_came_of_a_stage() -> None:
    network, (clean, _) = nets.build("gap"), photographs()
    before = int(network(clean.tensor()).argmax())
    to = (before + 1) % network.classes
    names: list[str] = []
    result = run(BoxLBFGS(to, rounds=5), network, clean, watch=lambda progress: names.append(progress.what))
    assert int(network(as_saved(result.images)).argmax()) == to
    assert len(dict.fromkeys(names)) == 5
    free = run(BoxLBFGS(to, rounds=1, largest=1e-3), network, clean)  # the norm hardly counts
    assert (result.images - clean.tensor()).norm() < (free.images - clean.tensor()).norm()


class Killed(Exception):
    pass


@pytest.mark.parametrize("recipe", [Style(), BoxLBFGS(1, rounds=3)], ids=["style", "attack"])
@pytest.mark.parametrize("last", [3, 13])
def test_they_go_on_to_the_same_bytes(
    recipe: Recipe[Synthesis], last: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StateFile, "due", property(lambda self: self.path is not None))
    network, inputs = nets.build("gap"), photographs()[: 2 if isinstance(recipe, Style) else 1]
    whole = run(recipe, network, *inputs)

    def die(progress: Progress) -> None:
        if progress.done == last:
            raise Killed

    with pytest.raises(Killed):
        run(recipe, network, *inputs, state=tmp_path, watch=die)
    told: list[int] = []
    again = run(recipe, network, *inputs, state=tmp_path, watch=lambda progress: told.append(progress.done))
    assert torch.equal(again.images, whole.images)
    assert told[0] == last
    steps = 8 if isinstance(recipe, Style) else 6
    assert again.notes[-1].endswith(f"went on at step {(last - 1) % steps or steps}")


def test_a_budget_takes_fewer_of_the_steps_of_any_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "perf_counter", lambda: 0.0)
    monkeypatch.setattr(budget, "seconds_of", lambda work: (work(), 0.2)[1])  # a tenth of a second for each step
    result = run(Style(steps=40), nets.build("gap"), *photographs(), seconds=4, state=tmp_path)
    assert result.cost.backwards == 2 * 18
    assert result.notes[0] == "4 s allow 18 of 40 steps"
    monkeypatch.setattr(budget, "seconds_of", lambda work: pytest.fail("timed again"))
    again = run(Style(steps=40), nets.build("gap"), *photographs(), seconds=4, state=tmp_path)
    assert torch.equal(again.images, result.images)
    monkeypatch.setattr(budget, "seconds_of", lambda work: (work(), 0.2)[1])
    with pytest.raises(OptionError, match="test-box-lbfgs has no steps to take fewer of"):
        run(BoxLBFGS(1), nets.build("gap"), nets.pictures(1), seconds=4)


def test_a_budget_that_runs_out_ends_the_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def slow(_: Progress) -> None:
        nonlocal now
        now += 1.0

    monkeypatch.setattr(time, "perf_counter", lambda: now)
    monkeypatch.setattr(budget, "seconds_of", lambda work: (work(), 0.02)[1])
    result = run(Style(steps=40), nets.build("gap"), *photographs(), seconds=4, watch=slow)
    assert result.cost.backwards == 5 + 1  # one step for what had not begun


def test_a_watcher_is_told_of_the_share_that_is_done_and_stops_what_comes() -> None:
    told: list[Progress] = []

    def stop(progress: Progress) -> bool:
        told.append(progress)
        return progress.done == 2

    result = run(Style(), nets.build("gap"), *photographs(), watch=stop)
    assert [(progress.done, progress.total) for progress in told] == [(1, 16), (2, 16), (3, 16)]
    assert result.notes == ("stopped after 2 of 8 steps", "stopped after 1 of 8 steps")


def test_results_save_themselves_with_a_film_of_the_steps(tmp_path: Path) -> None:
    result = run(Style(), nets.build("gap"), *photographs(), animate="gif")
    assert result.film is not None
    assert len(result.film) == 16 + 12
    assert all(frame.shape == (32, 32, 3) for frame in result.film)
    stored = result.save(tmp_path / "out")
    assert stored == json.loads((tmp_path / "out" / "result.json").read_text())
    kinds = [(Path(file["path"]).suffix, file["kind"]) for file in stored["files"]]
    assert kinds == [(".png", "picture"), (".npy", "table"), (".gif", "picture")]
    assert stored["inputs"][0]["path"] == "content.png"
    (pixels,) = result.pictures()
    assert np.array_equal(image.load(tmp_path / "out" / stored["files"][0]["path"]).pixels, pixels)


def test_what_is_no_picture_is_refused() -> None:
    with pytest.raises(ImageError, match="float is no picture"):
        run(Style(), nets.build("gap"), 0.5, 0.5)


def test_a_bare_module_is_refused() -> None:
    network: Network = nets.build("gap")
    with pytest.raises(Exception, match="wrap it"):
        run(Style(), network.module, *photographs())  # type: ignore[arg-type]


def test_the_objective_of_a_stage_may_be_several() -> None:
    stage = Stage(objective=[Logit(0), Distance(nets.pictures(1))], steps=1)
    assert stage.reads == {"logits"}
