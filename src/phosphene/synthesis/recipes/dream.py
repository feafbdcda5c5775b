"""DeepDream: features that a layer has in a picture, amplified at several sizes."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

from phosphene.core.images import image
from phosphene.core.images.image import Picture
from phosphene.core.inputs import Pictures, Target
from phosphene.core.networks.network import Network
from phosphene.core.progress import Watch
from phosphene.core.result import File
from phosphene.synthesis.loop.evaluation import Precision
from phosphene.synthesis.loop.recipe import Job, Recipe, Stage, changed, image_size
from phosphene.synthesis.loop.run import run
from phosphene.synthesis.loop.step_film import Animation
from phosphene.synthesis.loop.synthesis import Synthesis
from phosphene.synthesis.losses.dream_targets import constant_score
from phosphene.synthesis.recipes.octaves import FUSED_FROM_PASSES, Octaves


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Dreamed(Synthesis):
    """A dream.

    Args:
        scores: (octaves, steps, N), the objective before each step; NaN after one that a watcher stopped at.
        sizes: height and width of every octave.
        steps: of each octave.
    """

    verb: str = "dream"
    sizes: tuple[tuple[int, int], ...]
    steps: int

    def lines(self) -> tuple[str, ...]:
        """The objective before the first and the last step of the largest octave, and the sizes."""
        small, large = ("×".join(map(str, self.sizes[place])) for place in (0, -1))
        sizes = f"{len(self.sizes)} octaves from {small} to {large}" if len(self.sizes) > 1 else large
        done = self.scores[-1][~self.scores[-1].isnan().any(1)]
        ends = done[[0, -1]].T.tolist() if len(done) else []
        grown = ", ".join(f"{first:.3g} → {last:.3g}" if len(done) > 1 else f"from {first:.3g}" for first, last in ends)
        return (f"{self.target}: {grown or 'no step'}, {sizes}, {self.steps} steps each",)

    def files(self) -> Iterator[File]:
        """dream.png (dream-0.png … of several), scores.npy with the objective of every step, the film of the steps."""
        shown = self.pictures()
        names = ["dream.png"] if len(shown) == 1 else [f"dream-{number}.png" for number in range(len(shown))]
        for name, pixels in zip(names, shown, strict=True):
            yield File.picture(name, pixels, target=self.target)
        yield File.array("scores.npy", self.scores.cpu().numpy(), kind="table")
        yield from self.step_files()


@dataclasses.dataclass(frozen=True)
class Dream(Octaves, Recipe[Dreamed], name="dream"):
    """DeepDream: gradient ascent on the energy of layers, at several sizes; see `Octaves`.

    Reference: Mordvintsev, Olah & Tyka, "Inceptionism", Google Research Blog 2015, and its notebook.
    """

    def stages(self, job: Job) -> Generator[Stage, Synthesis, Dreamed]:
        """A stage for each octave."""
        whole, notes = self.result_size(job)
        images = job.images[0]
        images = images if whole == image_size(images) else image.resize(images, whole)
        fuse = self.passes(job.network, whole) >= FUSED_FROM_PASSES
        dreamed, scores = yield from self.octave_stages(job, images, fuse=fuse)
        objective = self.objective(job)
        return Dreamed(
            images=dreamed,
            objectives=(objective,) * len(images),
            scores=scores,
            sizes=tuple(self.sizes(whole)),
            steps=self.steps,
            notes=(*notes, *constant_score(objective, scores.flatten(0, 1))),
        )


def dream(
    network: Network,
    picture: Pictures,
    target: Target | None = None,
    *,
    recipe: Dream = Dream(),
    guide: str | Path | Picture | None = None,
    size: int | tuple[int, int] | None = None,
    seconds: float | None = None,
    precision: Precision = "float32",
    animate: Animation | None = None,
    state: str | Path | None = None,
    seed: int = 0,
    watch: Watch | None = None,
) -> Dreamed:
    """DeepDream: `run` of `Dream`. Cost: steps x tiles of all octaves, forward and backward.

    Args:
        network: whose features.
        picture: one or several of one size, see `attribute`, or images (N, 3, H, W).
        target: what to maximize, as the target grammar writes it; else the energy of the layers of the recipe.
        recipe: octaves, steps and layers.
        guide: a picture whose features the layers are to have.
        size: height and width of the result, or its long side; see `Dream`.
        seconds: a budget of time; see `run`, also for what follows.
        precision: of the network's multiplications.
        animate: "gif" or "mp4", also a film of the steps.
        state: a folder to keep the state in.
        seed: of the offsets of the tiles.
        watch: is told of each step, and may stop.

    Raises:
        OptionError: a target and layers, a channel or a guide, which exclude each other.
        LayerError: no such layer.
        TargetError: no such class or unit.
        ImageError: images that are no images.
        OutputError: the state cannot be written.

    >>> result = dream(tiny, images, recipe=Dream(("features.2",), octaves=2, steps=3))
    >>> result.images.shape, result.sizes, result.cost.forwards
    (torch.Size([2, 3, 32, 32]), ((23, 23), (32, 32)), 12)
    """
    options: dict[str, Any] = {"seconds": seconds, "precision": precision, "animate": animate, "state": state}
    return run(
        changed(recipe, target=target, guide=guide, size=size), network, picture, seed=seed, watch=watch, **options
    )
