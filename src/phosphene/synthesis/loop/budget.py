"""A budget of seconds: a few steps are timed, and a smaller version of the recipe is chosen once and kept."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Hashable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from phosphene.core import files
from phosphene.core.result import Result
from phosphene.synthesis.loop.recipe import Job, Recipe, Stage, perform
from phosphene.synthesis.loop.state_file import fingerprint
from phosphene.synthesis.loop.synthesis import Synthesis

Made = TypeVar("Made", bound=Result)


def afford(recipe: Recipe[Made], job: Job, seconds: float, began: float) -> tuple[Recipe[Made], str]:
    """The recipe with the steps, and the size, that fit into a time, and the choice in words.

    Cost: four steps of each stage of its rehearsal, unless the state folder holds what was chosen before.

    Args:
        recipe: what is to be run.
        job: on what.
        seconds: of all.
        began: when they began, by `time.perf_counter`.
    """
    path = job.state / "budget.json" if job.state else None
    plan = fingerprint(recipe, job.network, job.identity(recipe), seconds, job.precision) if path else ""
    choose, planned = partial(_Clock(job, began + seconds).choose, recipe), recipe.extent(job)[0]
    for share in stored_choice(path, plan, choose):
        recipe = recipe.reduced(job, share)
    steps, where = recipe.extent(job)
    least = steps < planned and recipe.reduced(job, _NOTHING).extent(job) == (steps, where)
    text = f"{steps} of {planned} steps" if steps <= planned else f"{steps} steps"
    return recipe, f"{seconds:g} s allow {text}{where and ' '}{where}{', the least there are' if least else ''}"


def seconds_of(work: Callable[[], object]) -> float:
    """How long some work takes: that of the second time, as the first warms up. Cost: the work, twice."""
    work()
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def stored_choice(path: Path | None, plan: str, choose: Callable[[], list[float]]) -> list[float]:
    """What was chosen by a stopwatch, from the file where the same plan left it; else chosen now, and written there.

    Args:
        path: of a JSON file; None keeps nothing.
        plan: fingerprint of what the choice is for.
        choose: makes the choice.

    Raises:
        OutputError: the file cannot be written.
    """
    if path is not None and path.exists():
        with suppress(ValueError, LookupError, TypeError, AttributeError):  # damaged: chosen anew
            stored = json.loads(path.read_text())
            if stored["plan"] == plan:
                return [float(number) for number in stored["chosen"]]
    chosen = choose()
    if path is not None:
        files.write_json(path, {"plan": plan, "chosen": chosen})
    return chosen


class _Clock:
    """Times the stages of rehearsals.

    Args:
        job: what recipes run on.
        deadline: by `time.perf_counter`.
    """

    def __init__(self, job: Job, deadline: float) -> None:
        self.job, self.deadline = job, deadline
        self.timed: dict[Hashable, tuple[float, Synthesis]] = {}  # seconds of a step, and images after a few
        self.fusing = 0.0  # seconds, which the run takes again

    def choose(self, recipe: Recipe[Any]) -> list[float]:
        """Shares by which to reduce a recipe, one after another, until all of its stages have been timed."""
        shares: list[float] = []
        while True:
            known, needed = len(self.timed), self._seconds(recipe)
            left = 0.9 * (self.deadline - time.perf_counter()) - self.fusing
            if shares and len(self.timed) == known:
                return shares
            shares.append(max(left / needed, _NOTHING))
            recipe = recipe.reduced(self.job, shares[-1])

    def _seconds(self, recipe: Recipe[Any]) -> float:
        """How long all steps of a recipe take."""
        rehearsal, total = recipe.rehearsal(self.job), 0.0
        with suppress(StopIteration):
            stage = next(rehearsal)
            while True:
                pace, made = self._pace(stage)
                total += stage.steps * pace
                stage = rehearsal.send(made)
        return max(total, _NOTHING)

    def _pace(self, stage: Stage) -> tuple[float, Synthesis]:
        """Seconds of a step of a stage, and the images after a few."""
        few = dataclasses.replace(stage, steps=_TRIED)
        key = few.name, few.size, few.fuse
        if key not in self.timed:
            began = time.perf_counter()
            if few.fuse:
                self.job.fused(few.reads)
            self.fusing += time.perf_counter() - began
            made = list[Synthesis]()
            pace = seconds_of(lambda: made.append(perform(few, self.job))) / _TRIED
            self.timed[key] = pace, made[-1]
        return self.timed[key]


_TRIED = 2  # steps
_NOTHING = 1e-9
