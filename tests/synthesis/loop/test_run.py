"""The runner of recipes: what it counts and says, whatever a recipe returns."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator

import nets
from phosphene.core.objectives.classes import Logit
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


def test_each_pass_is_counted_once_and_each_note_said_once_also_where_a_stage_is_the_result() -> None:
    result = run(Twice(), nets.build("gap"), nets.pictures(1), watch=lambda progress: progress.done == 4)
    assert (result.cost.forwards, result.cost.backwards) == (4, 4)
    assert result.notes == ("3 steps: stopped after 2 of 3 steps",)
