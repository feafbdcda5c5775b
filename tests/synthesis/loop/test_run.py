"""The runner of recipes: what it counts and says, whatever a recipe returns."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Generator
from pathlib import Path

import pytest

import nets
from phosphene.core.objectives.classes import Logit
from phosphene.core.progress import Progress
from phosphene.synthesis.loop.recipe import Job, Recipe, Stage
from phosphene.synthesis.loop.run import run
from phosphene.synthesis.loop.synthesis import Synthesis


@dataclasses.dataclass(frozen=True)
class Twice(Recipe[Synthesis], name="test-twice"):
    """Two stages, of which the second is the result."""

    def stages(self, job: Job) -> Generator[Stage, Synthesis, Synthesis]:
        images = job.images[0]
        for steps in (2, 3):
            made = yield Stage(Logit(1).bind(job.network), steps, start=images, patience=1, name=f"{steps} steps")
            images = made.images
        return made


@dataclasses.dataclass(frozen=True)
class Unnamed(Recipe[Synthesis], name="test-unnamed"):
    """Two stages without names."""

    steps: int = 3

    def stages(self, job: Job) -> Generator[Stage, Synthesis, Synthesis]:
        yield Stage(Logit(0).bind(job.network), self.steps)
        return (yield Stage(Logit(1).bind(job.network), self.steps))


def test_each_stage_has_a_state_of_its_own(tmp_path: Path) -> None:
    told: list[int] = []
    for steps in ([1, 2, 3, 4, 5, 6], []):
        run(Unnamed(), nets.build("gap"), state=tmp_path, watch=lambda progress: told.append(progress.done))
        assert told == steps
        told.clear()


def test_once_the_time_is_over_the_stage_ends_and_the_next_takes_one_step(monkeypatch: pytest.MonkeyPatch) -> None:
    now, told = [100.0], list[int]()
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def watch(progress: Progress) -> None:
        now[0] += 6
        told.append(progress.done)

    result = run(Unnamed(), nets.build("gap"), seconds=10, watch=watch)
    assert told == [1, 2, 3]
    assert "stopped after 2 of 3 steps" in result.notes


def test_each_pass_is_counted_once_and_each_note_said_once_also_where_a_stage_is_the_result() -> None:
    result = run(Twice(), nets.build("gap"), nets.pictures(1), watch=lambda progress: progress.done == 4)
    assert (result.cost.forwards, result.cost.backwards) == (4, 4)
    assert result.notes == ("3 steps: stopped after 2 of 3 steps",)
