"""Zooming DeepDream: each frame of a film is a dream on the last one, magnified."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from phosphene.core.errors import OptionError
from phosphene.core.images import image
from phosphene.core.images.image import Picture, Uint8Image
from phosphene.core.inputs import OnePicture, Target, one_input
from phosphene.core.networks.network import Images, Network
from phosphene.core.objectives.objective import Objective
from phosphene.core.progress import Watch
from phosphene.core.result import File
from phosphene.synthesis.loop.evaluation import Precision
from phosphene.synthesis.loop.recipe import Job, Recipe, Stage, changed
from phosphene.synthesis.loop.run import run
from phosphene.synthesis.loop.state_file import fingerprint
from phosphene.synthesis.loop.step_film import Animation, Film
from phosphene.synthesis.loop.synthesis import Animated, Synthesis
from phosphene.synthesis.losses.dream_targets import constant_score
from phosphene.synthesis.recipes.dream import Dream
from phosphene.synthesis.recipes.octaves import FUSED_FROM_PASSES, Octaves


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Zoomed(Animated):
    """A film into a dream.

    Args:
        frames: the frames.
        objective: what is maximized.
        size: height and width of the frames.
        octaves: of each frame.
        steps: of each octave.
    """

    verb: str = "dream"
    frames: Film
    objective: Objective
    size: tuple[int, int]
    octaves: int
    steps: int

    @property
    def target(self) -> str:
        """The objective."""
        return str(self.objective)

    def __iter__(self) -> Iterator[Uint8Image]:
        """The frames, uint8 (H, W, 3) each."""
        return iter(self.frames)

    def pictures(self) -> Sequence[Uint8Image]:
        """The last frame."""
        return (self.frames[-1],)

    def lines(self) -> tuple[str, ...]:
        """Number and size of the frames."""
        size, octaves = "×".join(map(str, self.size)), f"{self.octaves} octaves, {self.steps} steps each"
        return (f"{self.target}, {len(self.frames)} frames of {size}, {octaves}",)

    def files(self) -> Iterator[File]:
        """zoom.mp4 or zoom.gif."""
        yield self.frames.file("zoom")
        yield from self.step_files()


@dataclasses.dataclass(frozen=True)
class Zoom(Octaves, Recipe[Zoomed], name="zoom"):
    """A film: x(n + 1) = dream(the middle of x(n), magnified). Few steps do, as the dream grows with the frames.

    Before each frame mean color and contrast are brought back to those of the picture; otherwise the film would end in
    black and white. Each frame continues the last one in 8 bits, so that a run that goes on computes the same.

    Args:
        frames: how many.
        factor: magnification from frame to frame.
        animation: kind of the film.
        rate: frames per second, 1 … 50.

    Reference: Mordvintsev, Olah & Tyka, "Inceptionism", Google Research Blog 2015, its last figure.
    """

    octaves: int = 2
    steps: int = 4
    lr: float = 0.01
    frames: int = 100
    factor: float = 1.05
    animation: Animation = "mp4"
    rate: float = 12

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.frames < 1 or self.factor <= 1:
            raise OptionError(
                f"{self.frames} frames, each {self.factor} times the former: zoom wants at least 1, and more than 1"
            )

    @property
    def count(self) -> int:
        """The frames."""
        return self.frames

    def stages(self, job: Job) -> Generator[Stage, Synthesis, Zoomed]:
        """Those of a dream, for each frame; frames that an earlier run has left are not made again."""
        whole, notes = self.result_size(job)
        one_input(job.sources[0], "zoom")
        first = image.resize(job.images[0], whole)
        fuse = self.frames * self.passes(job.network, whole) >= FUSED_FROM_PASSES
        folder, steps = self._folder(job, first), self.steps * len(self.sizes(whole))
        now, frames, scores = first, list[bytes | Path](), list[Tensor]()
        for number in range(self.frames):
            file = folder and folder / f"{number:05}.png"
            if file is not None and file.exists():
                encoded: bytes | Path = file
            else:
                begin = job.network.check(_calmed(_magnified(now, self.factor), first) if number else now).float()
                made, table = yield from self.octave_stages(
                    job, begin, fuse=fuse, seed=number, done=number * steps, name=f"frame {number + 1}, "
                )
                scores.append(table.flatten(0, 1))
                encoded = image.save(file, made[0]) if file is not None else image.encode_png(made[0])
            frames.append(encoded)
            now = image.load(encoded).tensor()
        return Zoomed(
            frames=Film(tuple(frames), self.animation, self.rate),
            objective=self.objective(job),
            size=whole,
            octaves=self.octaves,
            steps=self.steps,
            notes=(*notes, *self._notes(job, scores)),
        )

    def _folder(self, job: Job, first: Images) -> Path | None:
        """A folder of its own for each film, whatever its number of frames: frames of another are no beginning."""
        if job.state is None:
            return None
        plan = fingerprint(dataclasses.replace(self, frames=1), job.network, first, job.precision, job.seed)
        return job.state / plan[:16]

    def _notes(self, job: Job, scores: Sequence[Tensor]) -> list[str]:
        before = self.frames - len(scores)
        notes = [f"went on at frame {before + 1} of {self.frames}"] if before and scores else []
        return notes + (constant_score(self.objective(job), torch.cat(list(scores))) if scores else [])


def zoom(
    network: Network,
    picture: OnePicture,
    target: Target | None = None,
    *,
    frames: int,
    factor: float | None = None,
    recipe: Zoom | Dream = Zoom(),
    guide: str | Path | Picture | None = None,
    size: int | tuple[int, int] | None = None,
    seconds: float | None = None,
    precision: Precision = "float32",
    state: str | Path | None = None,
    seed: int = 0,
    watch: Watch | None = None,
) -> Zoomed:
    """A film into a dream: `run` of `Zoom`. Cost: that of `dream`, for each frame.

    Args:
        network: whose features.
        picture: of the first frame.
        target: see `dream`.
        frames: how many.
        factor: magnification from frame to frame; 1.05 by default.
        recipe: of each frame.
        guide: see `dream`.
        size: height and width of the frames, or their long side; see `Dream`.
        seconds: a budget of time; see `run`, also for what follows.
        precision: of the network's multiplications.
        state: a folder that gets each frame as PNG, in a folder for each film: the same film goes on from the last one,
            and frames of the result are read from there.
        seed: of the offsets of the tiles; each frame adds its number.
        watch: is told of each step, counted over all frames.

    Raises:
        OptionError: no frame, or a factor that does not magnify; and see `dream`.

    >>> film = zoom(tiny, Picture.from_array(images[0]), frames=2, recipe=Dream(octaves=1, steps=1))
    >>> [frame.shape for frame in film]
    [(32, 32, 3), (32, 32, 3)]
    """
    options = {field.name: getattr(recipe, field.name) for field in dataclasses.fields(recipe)}
    film = changed(Zoom(**{**options, "frames": frames}), factor=factor, target=target, guide=guide, size=size)
    return run(film, network, picture, seconds=seconds, precision=precision, state=state, seed=seed, watch=watch)


def _magnified(images: Images, factor: float) -> Images:
    """The middle, at the size of the whole."""
    matrix = torch.tensor([[[1 / factor, 0, 0], [0, 1 / factor, 0]]])
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bicubic", padding_mode="reflection", align_corners=False).clamp(0, 1)


def _calmed(images: Images, first: Images) -> Images:
    """The images with the mean color of the first one and at most its contrast.

    Where the first one has less than the contrast of a photograph, at most that of a photograph.
    """
    (deviation, mean), (first_deviation, first_mean) = (
        torch.std_mean(pictures, (2, 3), correction=0, keepdim=True) for pictures in (images, first)
    )
    factor = (first_deviation.clamp(min=_CONTRAST) / deviation.clamp(min=1e-6)).clamp(max=1)
    return ((images - mean) * factor + first_mean).clamp(0, 1)


_CONTRAST = 0.2  # deviation of the colors of a photograph, in [0, 1]
