"""What a recipe is: stages of optimization, one after another, written as one generator."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar

from torch import Tensor

from phosphene.core.errors import OptionError
from phosphene.core.inputs import Inputs, full_size_inputs
from phosphene.core.networks.fuse import fused
from phosphene.core.networks.network import Images, Network
from phosphene.core.objectives.objective import Objective
from phosphene.core.progress import Watch
from phosphene.core.registry import Named
from phosphene.core.result import Result
from phosphene.synthesis.canvas.canvas import Canvas
from phosphene.synthesis.loop.evaluation import Precision
from phosphene.synthesis.loop.loop import FUSED_FROM, synthesize
from phosphene.synthesis.loop.optimizers import Optimizer
from phosphene.synthesis.loop.synthesis import Synthesis
from phosphene.synthesis.transforms.pixel_regularizers import PixelRegularizer
from phosphene.synthesis.transforms.transforms import Transform

Made = TypeVar("Made", bound=Result)
Value = TypeVar("Value")
Options = TypeVar("Options", bound="Recipe[Any]")


@dataclasses.dataclass(frozen=True, eq=False)
class Stage:
    """One call of `synthesize`: all that decides its images, but the network, the precision and the seed of the run.

    Args:
        objective: one, or several: then each gets an image of its own.
        steps: how many.
        canvas: see `synthesize`, as all that follows up to `batch`.
        size: height and width, in pixels.
        start: images to begin from.
        transforms: random changes before the network sees the image.
        pixel_regularizers: changes of the pixels after each step.
        optimizer: Adam by default.
        redirect_steps: first steps with redirected ReLUs.
        patience: steps without progress after which the stage ends; 0 never ends it.
        batch: most images in one pass.
        precision: that of the run by default.
        seed: is added to that of the run.
        name: what progress and notes call it.
        fuse: whether batch norms are fused into convolutions first; `synthesize` does so from 16 steps on.
        resumable: whether its state is kept in the state folder.
        done: steps done before it, of all stages; by default those that the runner has counted.
        preview: (images, scores) of the stage → those that a watcher is told; the same by default.
    """

    objective: Objective | Sequence[Objective]
    steps: int
    canvas: Canvas | None = None
    _: dataclasses.KW_ONLY
    size: tuple[int, int] | None = None
    start: Images | None = None
    transforms: Sequence[Transform] = ()
    pixel_regularizers: Sequence[PixelRegularizer] = ()
    optimizer: Optimizer | None = None
    redirect_steps: int = 0
    patience: int = 0
    batch: int | None = None
    precision: Precision | None = None
    seed: int = 0
    name: str = ""
    fuse: bool = False
    resumable: bool = True
    done: int | None = None
    preview: Callable[[Images, Tensor], tuple[Images, Tensor]] | None = None

    @property
    def reads(self) -> frozenset[str]:
        """Layers that its objectives read."""
        objectives = [self.objective] if isinstance(self.objective, Objective) else self.objective
        return frozenset().union(*(objective.reads for objective in objectives)) - {"input"}


@dataclasses.dataclass(frozen=True, eq=False)
class Job:
    """What a recipe is run on.

    Args:
        network: that is asked.
        inputs: pictures in any spelling, or targets: what the recipe takes.
        precision: of the network's multiplications.
        seed: of every random choice.
        state: folder for what a run that goes on needs; None keeps nothing.
    """

    network: Network
    inputs: tuple[Any, ...] = ()
    precision: Precision = "float32"
    seed: int = 0
    state: Path | None = None
    _memory: dict[str, Any] = dataclasses.field(default_factory=dict, repr=False)

    @cached_property
    def images(self) -> tuple[Images, ...]:
        """The inputs as images (N, 3, H, W), each at its own size."""
        return tuple(source.images.float() for source in self.sources)

    @cached_property
    def sources(self) -> tuple[Inputs, ...]:
        """The inputs as pictures of their own sizes.

        Raises:
            ImageError: one is no picture, or has values outside of [0, 1].
        """
        return tuple(full_size_inputs(self.network, given) for given in self.inputs)

    def identity(self, recipe: Recipe[Any]) -> object:
        """What the inputs are, for a fingerprint: pixels, not paths."""
        return self.images if recipe.takes == "pictures" else self.inputs

    def once(self, name: str, compute: Callable[[], Value]) -> Value:
        """A value that is computed once, though a budget of seconds runs parts of the recipe before.

        Args:
            name: of the value.
            compute: computes it.
        """
        if name not in self._memory:
            self._memory[name] = compute()
        value: Value = self._memory[name]
        return value

    def fused(self, reads: frozenset[str]) -> Network:
        """The network with batch norms fused into convolutions; the one made last is kept. See `fused`.

        Args:
            reads: layers that are read.
        """
        if self._memory.get("reads") != reads:
            self._memory["fused"], self._memory["reads"] = fused(self.network, reads), reads
        network: Network = self._memory["fused"]
        return network


@dataclasses.dataclass(frozen=True)
class Recipe(Named, Generic[Made]):
    """A way to make images by stages of optimization. Its fields are its options; `run` runs it.

    A budget of seconds asks `rehearsal` what to time and `reduced` for fewer steps or smaller images; recipes with an
    option `steps` need neither.
    """

    takes: ClassVar[Literal["pictures", "targets"]] = "pictures"
    """What its inputs are."""

    joint: ClassVar[bool] = False
    """Whether several pictures make one result, as content and style; otherwise each gets its own."""

    def stages(self, job: Job) -> Generator[Stage, Synthesis, Made]:
        """Yields a stage, is sent what came of it, and returns the result; what comes next may depend on both.

        Args:
            job: network and inputs.
        """
        raise NotImplementedError

    def check(self, network: Network) -> None:
        """Refuse options that do not suit a network, such as a layer that it does not have, before any input is read.

        Args:
            network: that the recipe is to run on.
        """

    def rehearsal(self, job: Job) -> Generator[Stage, Synthesis, Any]:
        """Stages that are timed for a budget, a few steps each; `steps` says how many such steps the whole takes.

        Args:
            job: as that of `stages`; by default its stages themselves.
        """
        stages = self.stages(job)
        with suppress(StopIteration):
            stage = next(stages)
            while True:  # timed as `synthesize` will run them
                made = yield dataclasses.replace(stage, fuse=stage.fuse or stage.steps >= FUSED_FROM)
                stage = stages.send(made)

    def reduced(self, job: Job, share: float) -> Self:  # noqa: ARG002  that of any job
        """The same with this share of its steps, at most all of them, or, where these are too few, smaller images.

        Args:
            job: what it will run on.
            share: above 0; more than 1 where the time allows more.

        Raises:
            OptionError: the recipe has no option `steps`, and says nothing else about a budget.
        """
        steps = getattr(self, "steps", None)
        if not isinstance(steps, int):
            raise OptionError(f"{self.name} has no steps to take fewer of; leave the budget of seconds out")
        fewer: dict[str, Any] = {"steps": min(max(1, int(share * steps)), steps)}
        return dataclasses.replace(self, **fewer)

    def extent(self, job: Job) -> tuple[int, str]:  # noqa: ARG002  that of the recipe alone
        """Steps, and what else a budget has decided, such as "at 48 × 64"."""
        return getattr(self, "steps", 0), ""

    def total(self, job: Job) -> int | None:  # noqa: ARG002  unknown
        """Steps of all stages together; None where that is not known before."""
        return None


def perform(stage: Stage, job: Job, *, state: Path | None = None, watch: Watch | None = None) -> Synthesis:
    """What `synthesize` makes of a stage.

    Args:
        stage: what to do.
        job: network, precision and seed.
        state: file that keeps the state.
        watch: is told of each step.
    """
    return synthesize(
        job.fused(stage.reads) if stage.fuse else job.network,
        stage.objective,
        stage.canvas,
        size=stage.size,
        start=stage.start,
        transforms=stage.transforms,
        pixel_regularizers=stage.pixel_regularizers,
        optimizer=stage.optimizer,
        steps=stage.steps,
        redirect_steps=stage.redirect_steps,
        patience=stage.patience,
        batch=stage.batch,
        precision=stage.precision or job.precision,
        state=state,
        seed=job.seed + stage.seed,
        watch=watch,
    )


def image_size(images: Images) -> tuple[int, int]:
    """Height and width of images (N, 3, H, W)."""
    return images.shape[2], images.shape[3]


def pair(size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    """Height and width, of which one number stands for both."""
    return (size, size) if isinstance(size, int) else size


def changed(recipe: Options, **options: Any) -> Options:
    """A recipe with those of some options changed that are not None."""
    given = {name: value for name, value in options.items() if value is not None}
    return dataclasses.replace(recipe, **given)
