"""What is kept for later: choices by the clock, seconds, frames, states; and nothing of anybody else's is lost."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import nets
from phosphene.core.images.image import Picture
from phosphene.core.networks.network import Network
from phosphene.core.objectives.classes import Logit
from phosphene.core.progress import Progress
from phosphene.synthesis.loop import budget
from phosphene.synthesis.loop import recipe as recipe_module
from phosphene.synthesis.loop.budget import seconds_of, stored_choice
from phosphene.synthesis.loop.loop import synthesize
from phosphene.synthesis.loop.recipe import Job, Recipe, Stage
from phosphene.synthesis.loop.state_file import StateFile, fingerprint
from phosphene.synthesis.loop.synthesis import Synthesis
from phosphene.synthesis.recipes.dream import Dream, dream
from phosphene.synthesis.recipes.invert import Invert, invert
from phosphene.synthesis.recipes.visualize import visualize
from phosphene.synthesis.recipes.zoom import zoom
from phosphene.synthesis.settings.preset import Lecture

HOW = Dream(octaves=1, steps=1)


def cat() -> Picture:
    return Picture.from_array(nets.pictures(1)[0])


class Clock:
    """Stands still until it is told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)

    def work(self, *seconds: float) -> Callable[[], None]:
        """Takes so long, each time another."""
        left = iter(seconds)

        def run() -> None:
            self.now += next(left)

        return run


def test_work_is_timed_once_it_is_warm(monkeypatch: pytest.MonkeyPatch) -> None:
    assert seconds_of(Clock(monkeypatch).work(50.0, 3.0)) == pytest.approx(3.0)


def test_a_choice_is_made_once_for_each_plan(tmp_path: Path) -> None:
    choices = iter(range(1, 9))

    def choose() -> list[float]:
        return [next(choices), 0.1]

    path = tmp_path / "new" / "budget.json"
    assert stored_choice(path, "a", choose) == stored_choice(path, "a", choose) == [1, 0.1]
    assert stored_choice(path, "b", choose)[0] == 2
    assert stored_choice(path, "a", choose)[0] == 3  # one file, one plan
    assert stored_choice(None, "a", choose)[0] == 4
    assert json.loads(path.read_text()) == {"plan": "a", "chosen": [3, 0.1]}


@pytest.mark.parametrize("content", ["[]", "3", "null", '"plan"', "{}", '{"plan": "other"}', "", "{", "\x00\xff"])
def test_a_file_that_holds_no_choice_begins_anew(content: str, tmp_path: Path) -> None:
    path = tmp_path / "budget.json"
    path.write_text(content, "latin-1")
    assert stored_choice(path, "a", lambda: [5.0]) == [5.0]
    assert stored_choice(path, "a", lambda: [9.0]) == [5.0]


def test_a_budget_of_a_visualization_begins_anew_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "budget.json").write_text("[]")
    Clock(monkeypatch)
    monkeypatch.setattr(budget, "seconds_of", lambda work: (work(), 1.0)[1])
    result = visualize(nets.build("gap"), 0, preset=Lecture(steps=2), size=(32, 32), seconds=2.3, state=tmp_path)
    assert len(result.scores) == 4
    assert json.loads((tmp_path / "budget.json").read_text())["chosen"] == [pytest.approx(2.07)]


@dataclasses.dataclass(frozen=True)
class Fused(Recipe[Synthesis], name="test-fused"):
    """One stage, on the network with fused batch norms."""

    steps: int = 10

    def stages(self, job: Job) -> Generator[Stage, Synthesis, Synthesis]:
        return (yield Stage(Logit(1).bind(job.network), self.steps, start=job.images[0], fuse=True))


def test_a_budget_leaves_time_to_fuse(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)

    def fuse(network: Network, reads: frozenset[str]) -> Network:
        clock.now += 2
        return network

    monkeypatch.setattr(budget, "seconds_of", lambda work: (work(), 2.0)[1])  # two steps
    monkeypatch.setattr(recipe_module, "fused", fuse)
    chosen, note = budget.afford(Fused(), Job(nets.build("gap"), (nets.pictures(1),)), 10, began=clock.now)
    assert chosen.steps == 5  # 0.9 · 8 s are left, of which the run fuses for 2 again
    assert note == "10 s allow 5 of 10 steps"
    assert budget.afford(Fused(1), Job(nets.build("gap"), (nets.pictures(1),)), 99, began=clock.now)[1] == (
        "99 s allow 1 of 1 steps"
    )


def test_fingerprints_know_where_a_list_ends() -> None:
    values: list[Any] = [[[1, 2], 3], [[1], 2, 3], [1, 2, 3], [[1, 2, 3]], [[], 1, 2, 3], [[1, 2], [3]], [[1], [2, 3]]]
    values += [{"a": {"b": 1}, "c": 2}, {"a": {"b": 1, "c": 2}}, {"a": {}, "b": 1, "c": 2}, {"a": ["b", 1, "c", 2]}]
    values += [[(1, 2), 3], [torch.tensor([1, 2]), 3]]
    assert len({fingerprint(value) for value in values}) == len(values)
    assert fingerprint([1, 2], 3) != fingerprint([1], 2, 3)
    assert fingerprint([[1, 2], 3]) == fingerprint([[1, 2], 3])


def test_seconds_are_those_of_all_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, network = Clock(monkeypatch), nets.build("gap")

    def watch(progress: Progress) -> bool:
        clock.now += 10
        return progress.done == 3

    def make() -> float:
        return synthesize(network, Logit(0), steps=6, state=tmp_path / "state.pt", watch=watch).cost.seconds

    assert make() == pytest.approx(20)  # two steps, and the third before it was told of
    clock.now += 1000  # nobody works
    assert make() == pytest.approx(20 + 20)
    assert make() == pytest.approx(40)  # it had finished


WAYS: dict[str, Callable[[Path, Any], float]] = {
    "visualize": lambda folder, watch: (
        visualize(nets.build("gap"), [0, 1], preset=Lecture(steps=6), state=folder, watch=watch).cost.seconds
    ),
    "dream": lambda folder, watch: (
        dream(
            nets.build("gap"), nets.pictures(1), recipe=Dream(octaves=2, steps=3), state=folder, watch=watch
        ).cost.seconds
    ),
    "invert": lambda folder, watch: (
        invert(
            nets.build("gap"),
            nets.pictures(1),
            "features.2",
            recipe=Invert(2, 3, 1),
            state=folder,
            watch=watch,
        ).cost.seconds
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_what_had_taken_long_is_told_to_have_taken_long(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StateFile, "due", property(lambda self: self.path is not None))
    clock = Clock(monkeypatch)

    def slow(progress: Progress) -> None:
        clock.now += 10

    whole = WAYS[way](tmp_path, slow)
    assert whole >= 40
    assert WAYS[way](tmp_path, slow) >= 30  # at once, but not for nothing


def test_frames_take_no_file_of_anybody_else(tmp_path: Path) -> None:
    mine = {"00000.png": b"the first", "00007.png": b"holidays", "plan.pt": b"to be rich", "notes.txt": b"by hand"}
    for name, content in mine.items():
        (tmp_path / name).write_bytes(content)
    network, plain = nets.build("gap"), list(zoom(nets.build("gap"), cat(), frames=3, recipe=HOW))
    for target in (None, "goldfish", None):
        frames = list(zoom(network, cat(), target, frames=3, recipe=HOW, state=tmp_path))
        assert {name: (tmp_path / name).read_bytes() for name in mine} == mine
        assert np.array_equal(frames, plain) == (target is None)


def test_films_of_one_folder_do_not_take_each_others_frames(tmp_path: Path) -> None:
    network, told = nets.build("gap"), list[int]()

    def make(frames: int, **how: Any) -> None:
        told.clear()
        list(
            zoom(
                network,
                cat(),
                frames=frames,
                recipe=HOW,
                state=tmp_path,
                watch=lambda progress: told.append(progress.done),
                **how,
            )
        )

    make(2)
    make(2, seed=1)
    assert told == [1, 2]
    make(3)
    assert told == [3]  # the others were still there
    make(2, factor=1.2)
    assert told == [1, 2]
