"""Class and unit visualization: pictures that maximize a class, a channel or a neuron."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from phosphene.core.errors import OptionError
from phosphene.core.images.image import check_size
from phosphene.core.inputs import Target, bind_targets, list_targets
from phosphene.core.networks.network import Images, Network
from phosphene.core.objectives.objective import Objective
from phosphene.core.progress import Watch
from phosphene.core.result import Cost
from phosphene.synthesis.loop.evaluation import Precision
from phosphene.synthesis.loop.recipe import Job, Recipe, Stage, pair
from phosphene.synthesis.loop.run import run
from phosphene.synthesis.loop.step_film import Animation
from phosphene.synthesis.loop.synthesis import Synthesis
from phosphene.synthesis.recipes.group import Group
from phosphene.synthesis.recipes.groups import Measured, Preview, in_order, kinds, measure
from phosphene.synthesis.recipes.visualization import Visualization, evaluate_pictures
from phosphene.synthesis.settings.preset import Best, Preset


@dataclasses.dataclass(frozen=True)
class Visualize(Recipe[Visualization], name="visualize"):
    """Pictures that maximize targets. Classes, channels and neurons are one batch each, with settings of their own.

    Args:
        preset: settings: canvas, optimizer, transforms, regularizers, priors.
        size: height and width of the pictures, in pixels; by default what the network takes, or, for units that depend
            on less, a window.
        diverse: pictures of each target; several are pushed apart, see `Diverse`.
        scale: factor of both sides; a budget of seconds chooses 0.75 or 0.5 where less than 64 steps are left.
        starts: (M, 3, H, W), images to begin from: each target gets M pictures, which are not pushed apart.
    """

    takes: ClassVar[Literal["pictures", "targets"]] = "targets"

    preset: Preset = dataclasses.field(default=Best())  # frozen
    size: int | tuple[int, int] | None = None
    diverse: int = 1
    scale: float = 1.0
    starts: Images | None = dataclasses.field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.diverse < 1 or not 0 < self.scale <= 1:
            raise OptionError(f"diverse is {self.diverse} and scale {self.scale}; give at least 1, and at most 1")
        if self.size is not None:
            check_size(pair(self.size) or (0, 0))

    def stages(self, job: Job) -> Generator[Stage, Synthesis, Visualization]:
        """A stage for each kind of target."""
        groups = self.groups(job)
        preview, made = Preview(groups), list[Synthesis]()
        for group in groups:
            name = group.name if len(groups) > 1 else ""
            synthesis = yield group.stage(name, partial(preview.update, group))
            preview.update(group, synthesis.images, synthesis.scores[-1])
            made.append(synthesis)
        images, objectives, scores = in_order(groups, made)
        count = groups[0].count
        targets = [target for target in self._targets(job) for _ in range(count)]
        synthesis = Synthesis(
            images=images,
            objectives=objectives,
            scores=scores,
            cost=sum((group.probe.cost for group in groups), Cost()),
        )
        result = evaluate_pictures(job.network, synthesis, self.preset, targets)
        notes = [note for group in groups for note in group.notes]
        for group in groups:
            reached = [result.activations[place] for place in group.places]
            notes += group.probe.dead_units(
                [max(reached[first : first + count]) for first in range(0, len(reached), count)]
            )
        return dataclasses.replace(result, notes=tuple(dict.fromkeys(notes)))

    def reduced(self, job: Job, share: float) -> Self:
        """Fewer steps, or up to four times as many; where fewer than 64 are left, smaller pictures if they may be."""
        steps, groups = int(share * self.preset.steps), self.groups(job)
        smaller = next((scale for scale in _SCALES if scale < self.scale), None)
        if steps < _FEW and smaller is not None and len(groups) == 1 and groups[0].shrinks_to(smaller):
            return dataclasses.replace(self, scale=smaller)
        steps = min(max(1, steps), _MANY * self.preset.steps)
        return dataclasses.replace(self, preset=dataclasses.replace(self.preset, steps=steps))

    def extent(self, job: Job) -> tuple[int, str]:
        """Steps, and the size of the pictures."""
        return self.preset.steps, "at {} × {}".format(*self.groups(job)[0].canvas_size)

    def total(self, job: Job) -> int:
        """The steps of the preset for each kind of target."""
        return self.preset.steps * len(kinds(self._targets(job), self.preset))

    def _targets(self, job: Job) -> tuple[Objective, ...]:
        """The targets, bound to the network."""
        if not job.inputs:
            raise OptionError("visualize was given no target; name a class, a channel or a neuron")
        return job.once("targets", lambda: bind_targets(job.network, job.inputs))

    def groups(self, job: Job) -> list[Group]:
        """The targets by kind, with what is measured of them; see `measure`.

        Args:
            job: network and targets.
        """
        targets, size = self._targets(job), pair(self.size)
        windows = size is None and self.starts is None
        measured: Measured = job.once("probe", lambda: measure(job.network, targets, self.preset, windows=windows))
        count = self.diverse if self.starts is None else len(self.starts)
        return [
            Group(
                network=job.network,
                targets=tuple(targets[place] for place in kind),
                places=tuple(place * count + number for place in kind for number in range(count)),
                asked=self.preset,
                count=count,
                starts=self.starts,
                size=size,
                scale=self.scale,
                probe=probe,
                windows=measured.windows and tuple(measured.windows[place] for place in kind),
            )
            for kind, probe in zip(measured.kinds, measured.probes, strict=True)
        ]


def visualize(
    network: Network,
    targets: Target | Sequence[Target],
    *,
    preset: str | Preset = "best",
    size: int | tuple[int, int] | None = None,
    diverse: int = 1,
    starts: Images | None = None,
    seconds: float | None = None,
    precision: Precision = "float32",
    animate: Animation | None = None,
    state: str | Path | None = None,
    seed: int = 0,
    watch: Watch | None = None,
) -> Visualization:
    """Pictures that maximize targets: `run` of `Visualize`. Cost: the steps of the preset, forward and backward.

    Args:
        network: whose.
        targets: classes, channels, neurons or sums of them, as the target grammar writes them.
        preset: "best", "lecture", or one of these with its options.
        size: height and width; see `Visualize`.
        diverse: pictures of each target, which are pushed apart.
        starts: (M, 3, H, W), images to begin from; see `Visualize`.
        seconds: a budget of time; see `run`, also for what follows.
        precision: of the network's multiplications.
        animate: "gif" or "mp4", also a film of the steps.
        state: a folder to keep the state in.
        seed: of the start and of every transform.
        watch: is told of each step, and may stop.

    Raises:
        TargetError: no such class or unit.
        LayerError: no such layer.
        OptionError: no such preset, no target, or no time.
        OutputError: the state cannot be written.

    >>> from phosphene.synthesis.settings.preset import Lecture
    >>> result = visualize(tiny, ["features.2:1", 0], preset=Lecture(steps=3))
    >>> result.names, result.images.shape, result.cost.forwards
    (('features.2:1', 'tabby'), torch.Size([2, 3, 32, 32]), 25)
    """
    several = list_targets(targets)
    chosen = Preset.make(preset)
    options: dict[str, Any] = {"seconds": seconds, "precision": precision, "animate": animate, "state": state}
    recipe = Visualize(chosen, size, diverse, starts=starts)
    return run(recipe, network, *several, seed=seed, watch=watch, **options)


_FEW, _MANY = 64, 4  # steps below which smaller is better; times the steps of the preset
_SCALES = 0.75, 0.5
