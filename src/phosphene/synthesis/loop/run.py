"""The runner of all recipes: budget of seconds, state, progress, cost and notes."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any, TypeVar

from phosphene.core import files
from phosphene.core.errors import OptionError
from phosphene.core.inputs import check_network
from phosphene.core.networks.autograd_modes import default_modes
from phosphene.core.networks.network import Network
from phosphene.core.progress import Progress, Watch
from phosphene.core.result import Cost, Result
from phosphene.synthesis.loop.budget import afford
from phosphene.synthesis.loop.evaluation import Precision
from phosphene.synthesis.loop.recipe import Job, Recipe, Stage, perform
from phosphene.synthesis.loop.state_file import fingerprint
from phosphene.synthesis.loop.step_film import Animation, StepFilm
from phosphene.synthesis.loop.synthesis import Animated, Synthesis

Made = TypeVar("Made", bound=Result)


@default_modes
def run(
    recipe: Recipe[Made],
    network: Network,
    *inputs: Any,
    seconds: float | None = None,
    precision: Precision = "float32",
    animate: Animation | None = None,
    state: str | Path | None = None,
    seed: int = 0,
    watch: Watch | None = None,
) -> Made:
    """What a recipe makes of a network and inputs. Cost: that of its stages.

    Args:
        recipe: what to do, with its options.
        network: that is asked.
        inputs: photographs or images for recipes that change pictures, targets for `Visualize`.
        seconds: a budget of time: a few steps are timed, and the number of steps, then the size of the images, is
            chosen once. When the time is over the stage ends, and stages that have not begun take one step.
        precision: of the network's multiplications; see `synthesize`.
        animate: "gif" or "mp4": also a film of at most 100 of the steps.
        state: a folder to keep the state in: what was killed goes on from there to the same bytes. Remove it once the
            result is saved; that of `OutputFolder.state` goes with saving.
        seed: of every random choice.
        watch: is told of each step, counted over all stages. Once it returns true the stage ends, and stages that have
            not begun take one step.

    Raises:
        OptionError: no time, or options that exclude each other.
        ImageError: an input that is no picture.
        TargetError: no such class or unit.
        LayerError: no such layer.
        OutputError: the state cannot be written.

    >>> from phosphene.synthesis.recipes.dream import Dream
    >>> run(Dream(("features.2",), octaves=1, steps=3), tiny, images[:1]).scores.shape
    torch.Size([1, 3, 1])
    """
    began = time.perf_counter()
    if seconds is not None and seconds <= 0:
        raise OptionError(f"{seconds:g} seconds are no time for {recipe.name}; give some")
    job = Job(check_network(network), inputs, precision, seed, Path(state) if state else None)
    asked, notes, deadline = recipe, list[str](), math.inf
    if seconds is not None:
        recipe, note = afford(recipe, job, seconds, began)
        notes, deadline = [note], began + seconds
    runner = _Runner(recipe, job, deadline, watch=watch, animate=animate is not None)
    result: Made = runner.play()
    if animate is not None and isinstance(result, Animated):
        result = dataclasses.replace(result, film=runner.film(animate, result))
    return dataclasses.replace(
        result,
        verb=str(recipe.name) if result.verb == Synthesis.verb else result.verb,  # a recipe may return its last stage
        network=network,
        inputs=tuple(picture for source in job.sources for picture in source.photographs)
        if recipe.takes == "pictures"
        else (),
        options={**asked.manifest(), "precision": precision, "seconds": seconds},
        seed=seed,
        cost=(result.cost + runner.cost).since(began),
        notes=(*notes, *runner.notes, *result.notes),
    )


class _Runner:
    """Runs the stages of a recipe.

    Args:
        recipe: which.
        job: on what.
        deadline: by `time.perf_counter`.
        watch: is told of each step.
        animate: whether pictures of the steps are kept.
    """

    def __init__(self, recipe: Recipe[Any], job: Job, deadline: float, *, watch: Watch | None, animate: bool) -> None:
        self.recipe, self.job, self.deadline, self.watch = recipe, job, deadline, watch
        self.total = recipe.total(job)
        self.steps: StepFilm | None = None
        if animate:
            folder = (
                job.state
                and job.state / f"steps-{fingerprint(recipe, job.network, job.identity(recipe), job.seed)[:16]}"
            )
            self.steps = StepFilm(folder, self.total)
        self.done, self.number, self.stopped = 0, 0, False
        self.cost, self.notes = Cost(), list[str]()

    def play(self) -> Any:
        """All stages, one after another; returns what the recipe returns."""
        stages: Generator[Stage, Synthesis, Any] = self.recipe.stages(self.job)
        try:
            stage = next(stages)
            while True:
                stage = stages.send(self._perform(stage))
        except StopIteration as end:
            return end.value

    def _perform(self, stage: Stage) -> Synthesis:
        """What comes of a stage; at once where an earlier run has finished it."""
        self.done = self.done if stage.done is None else stage.done
        path = None
        if self.job.state and stage.resumable:
            path = self.job.state / f"{self.number:03}-{files.slug(stage.name or self.recipe.name or 'stage')}.pt"
        made = perform(stage, self.job, state=path, watch=lambda progress: self._tell(stage, progress))
        self.number += 1
        self.done += len(made.scores)
        self.cost += made.cost
        self.notes += [f"{stage.name}: {note}" if stage.name else note for note in made.notes]
        return dataclasses.replace(made, cost=Cost(), notes=())  # which are counted here

    def _tell(self, stage: Stage, progress: Progress) -> bool:
        """Tell of a step; returns whether the stage is to end."""
        preview, scores = progress.preview, progress.scores
        assert preview is not None, "synthesize tells of its images"
        assert scores is not None, "synthesize tells of its scores"
        if stage.preview is not None:
            preview, scores = stage.preview(preview, scores)
        told = Progress(self.done + progress.done, self.total, stage.name, preview, scores)
        if self.steps is not None:
            self.steps(told)
        if self.watch is not None and self.watch(told):
            self.stopped = True
        return self.stopped or time.perf_counter() > self.deadline

    def film(self, animation: Animation, result: Result) -> Any:
        """The film of the steps."""
        assert self.steps is not None, "pictures of the steps were kept"
        return self.steps.film(animation, result.pictures())
