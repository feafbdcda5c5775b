"""Ablation sheet: pictures of the same targets with each pixel regularizer alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np

from phosphene.core.images import drawing
from phosphene.core.images.image import Uint8Image
from phosphene.core.inputs import Target, list_targets
from phosphene.core.networks.network import Network
from phosphene.core.progress import Watch
from phosphene.core.result import Cost, File
from phosphene.synthesis.loop.recipe import Job, Recipe, Stage
from phosphene.synthesis.loop.run import run
from phosphene.synthesis.loop.synthesis import Animated, Synthesis
from phosphene.synthesis.recipes.visualization import Visualization
from phosphene.synthesis.recipes.visualize import Visualize
from phosphene.synthesis.settings.preset import Lecture

ABLATIONS: tuple[tuple[str, dict[str, float]], ...] = (
    ("none of them", {}),
    ("L2 decay", {"decay": 0.02}),
    ("Gaussian blur", {"blur": 1.0}),
    ("clip small pixels", {"clip_norm": 0.5}),
    ("clip small contributions", {"clip_contribution": 0.5}),
    ("decay and blur", {"decay": 0.01, "blur": 0.8}),
)
"""Columns of the sheet: name → regularizers that are on."""


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Ablation(Animated):
    """The same targets and seed with each pixel regularizer alone.

    Args:
        columns: name of the regularizer → pictures.
    """

    verb: str = "ablate"
    columns: Mapping[str, Visualization]

    @property
    def target(self) -> str:
        """The targets."""
        return next(iter(self.columns.values())).target

    def pictures(self) -> tuple[Uint8Image, ...]:
        """The sheet."""
        return (self.picture(),)

    def picture(self) -> Uint8Image:
        """A row for each target, a column for each regularizer, with the activation and the rank of the class."""
        first = next(iter(self.columns.values()))
        tiles, labels = [], []
        for row in range(len(first.names)):
            for name, column in self.columns.items():
                tiles.append(column.pictures()[row])
                rank = f", rank {column.ranks[row]}" if column.ranks[row] else ""
                labels.append(f"{name}: {column.activations[row]:.3g}{rank}")
        return drawing.grid(drawing.enlarged(tiles, _LABELLED), len(self.columns), labels=labels)

    def roughness(self) -> dict[str, tuple[float, ...]]:
        """Mean absolute difference of neighboring pixels of each picture, in [0, 1], which blur and decay lower."""
        return {name: tuple(map(_roughness, column.pictures())) for name, column in self.columns.items()}

    def lines(self) -> tuple[str, ...]:
        """The pictures of each column."""
        return tuple(f"{name}: {line}" for name, column in self.columns.items() for line in column.lines())

    def files(self) -> Iterator[File]:
        """ablation.png."""
        yield File.picture("ablation.png", self.picture(), roughness=self.roughness())
        yield from self.step_files()


@dataclasses.dataclass(frozen=True)
class Ablate(Recipe[Ablation], name="ablate"):
    """One sheet: the pixel regularizers of the preset "lecture", one at a time, all else the same.

    A regularizer that the preset has at another strength than by default is shown at that, the others at those of
    `ABLATIONS`.

    Args:
        preset: steps and all else that the columns share.
        size: height and width of the pictures; see `Visualize`.
    """

    takes: ClassVar[Literal["pictures", "targets"]] = "targets"

    preset: Lecture = Lecture()
    size: int | tuple[int, int] | None = None

    def stages(self, job: Job) -> Generator[Stage, Synthesis, Ablation]:
        """Those of `Visualize`, for each column."""
        columns = {}
        for name, recipe in self._columns():
            own = dataclasses.replace(job, _memory={})  # each column counts the cost of its probe
            columns[name] = yield from recipe.stages(own)
        notes = dict.fromkeys(note for column in columns.values() for note in column.notes)
        cost = sum((column.cost for column in columns.values()), Cost())
        return Ablation(columns=columns, notes=tuple(notes), cost=cost)

    def reduced(self, job: Job, share: float) -> Self:  # noqa: ARG002  steps alone
        """Fewer steps."""
        steps = min(max(1, int(share * self.preset.steps)), self.preset.steps)
        return dataclasses.replace(self, preset=dataclasses.replace(self.preset, steps=steps))

    def extent(self, job: Job) -> tuple[int, str]:  # noqa: ARG002  steps alone
        """Steps."""
        return self.preset.steps, "for each column"

    def total(self, job: Job) -> int:
        """The steps of all columns."""
        return sum(recipe.total(job) for _, recipe in self._columns())

    def _columns(self) -> Iterator[tuple[str, Visualize]]:
        usual = Lecture()
        for name, strengths in ABLATIONS:
            changed = {
                option: strength
                for option in strengths
                if (strength := getattr(self.preset, option)) not in {0, getattr(usual, option)}
            }
            yield name, Visualize(dataclasses.replace(self.preset, **{**_OFF, **strengths, **changed}), self.size)


def ablate(
    network: Network,
    targets: Target | Sequence[Target],
    *,
    preset: Lecture = Lecture(),
    size: int | tuple[int, int] | None = None,
    state: str | Path | None = None,
    seed: int = 0,
    watch: Watch | None = None,
) -> Ablation:
    """One sheet: the regularizers of the preset "lecture", one at a time. Cost: that of `visualize` for each column.

    Args:
        network: whose.
        targets: see `visualize`.
        preset: see `Ablate`.
        size: height and width; see `visualize`.
        state: a folder to keep the state in; see `run`.
        seed: the same for all.
        watch: is told of each step, and may stop.
    """
    several = list_targets(targets)
    return run(Ablate(preset, size), network, *several, state=state, seed=seed, watch=watch)


_LABELLED = 200  # pixels, for the longest of the names
_OFF: dict[str, Any] = dict.fromkeys(("decay", "blur", "clip_norm", "clip_contribution"), 0.0)


def _roughness(pixels: Uint8Image) -> float:
    return float(np.abs(np.diff(pixels.astype(np.float32), axis=1)).mean() / 255)
