"""Octaves: gradient ascent on a picture at several sizes, which DeepDream and its films share."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Generator
from pathlib import Path
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from phosphene.core.errors import OptionError
from phosphene.core.images import image
from phosphene.core.images.image import Picture
from phosphene.core.inputs import Target
from phosphene.core.networks.network import Images, Network
from phosphene.core.objectives.objective import Objective
from phosphene.synthesis.canvas.canvas import Pixels
from phosphene.synthesis.canvas.color import colors_seen
from phosphene.synthesis.loop.optimizers import Ascent
from phosphene.synthesis.loop.recipe import Job, Stage, image_size
from phosphene.synthesis.loop.synthesis import Synthesis
from phosphene.synthesis.losses.dream_targets import dream_target
from phosphene.synthesis.transforms.tiles import Soften, Tiles


@dataclasses.dataclass(frozen=True)
class Octaves:
    """Gradient ascent on the pixels of a picture, from small to large sizes, each continuing the detail of the last.

    x(s) = picture resized to s + detail resized to s; ascend; detail = x(s) - picture resized to s. The picture itself
    is resized once for each size and stays sharp. Steps are those of `Ascent`, lr · g / rms(g), where the notebook
    divides by the mean of |g|. See `Tiles` for pictures of any size.

    Args:
        layers: whose energy is maximized; by default the last with 1/16 of the rows and columns of the input.
        channel: of the one layer, whose mean is maximized instead.
        octaves: number of sizes, that of the result and smaller ones.
        ratio: of one size to the next smaller one.
        steps: at each size.
        lr: root mean square of a step, in [0, 1] of pixels.
        smooth: deviation of the Gaussian that blurs the gradient, never the picture, in pixels; 0 for none.
        max_rms: bound of the root mean square of the detail, in [0, 1] of pixels. Steps of shallow layers all have the
            same direction, and would end in black and white. The mean color stays.
        tile: side of a tile, in pixels; by default what the network takes.
        batch: tiles in one pass, which bounds the memory.
        target: a class, a unit or a sum of them to maximize, instead of layers.
        guide: a picture whose features the layers are to have.
        size: height and width of the result, or its long side, in pixels; by default that of the picture, of a
            photograph at most 1024.
    """

    layers: tuple[str, ...] = ()
    channel: int | None = None
    octaves: int = 4
    ratio: float = 1.4
    steps: int = 10
    lr: float = 0.015
    smooth: float = 1.0
    max_rms: float = 0.1
    tile: int | None = None
    batch: int = 8
    target: Target | None = None
    guide: str | Path | Picture | None = None
    size: int | tuple[int, int] | None = None

    def __post_init__(self) -> None:
        for name, low in {"octaves": 1, "steps": 0, "smooth": 0, "batch": 1, "tile": 2}.items():
            value = getattr(self, name)
            if value is not None and value < low:
                raise OptionError(f"{name} is {value}; dream wants at least {low}")
        if self.ratio <= 1 or min(self.lr, self.max_rms) <= 0:
            raise OptionError(f"dream wants a ratio above 1, an lr and a max_rms above 0; found {self}")

    def octave_stages(
        self, job: Job, images: Images, *, fuse: bool, seed: int = 0, done: int | None = None, name: str = ""
    ) -> Generator[Stage, Synthesis, tuple[Images, Tensor]]:
        """The stages of one dream; returns images (N, 3, H, W) and scores (octaves, steps, N).

        Args:
            job: network, and what the objective is made of.
            images: (N, 3, H, W) at the size of the result.
            fuse: see `Stage`.
            seed: is added to that of the run.
            done: steps before, of all stages; None where the runner counts, and the state of stages is kept.
            name: of the dream, in those of its stages.
        """
        whole, objective = image_size(images), self.objective(job)
        sizes, scores, detail = self.sizes(whole), list[Tensor](), torch.zeros_like(images[:, :, :1, :1])
        soft = [Soften(self.smooth)] if self.smooth else []
        for number, size in enumerate(sizes if self.steps else ()):
            base = images if size == whole else image.resize(images, size)
            start = (base + F.interpolate(detail, size, mode="bicubic")).clamp(0, 1)
            synthesis = yield Stage(
                objective=[objective] * len(images), canvas=Pixels(), start=start, size=size,
                transforms=(*soft, self.tiles(job.network)), optimizer=Ascent(self.lr), steps=self.steps,
                batch=self.batch, seed=seed + number, name=f"{name}octave {number + 1}", fuse=fuse,
                resumable=done is None, done=None if done is None else done + self.steps * number,
            )  # fmt: skip
            shown = start if colors_seen(job.network) == 3 else start.mean(1, keepdim=True)
            detail = _bounded((start + synthesis.images - shown).clamp(0, 1) - base, self.max_rms)
            scores.append(synthesis.scores)
        none = torch.zeros(len(sizes), 0, len(images))
        table = pad_sequence(scores, batch_first=True, padding_value=math.nan) if scores else none
        return (images + detail).clamp(0, 1), table

    @property
    def count(self) -> int:
        """Pictures that are made one after another."""
        return 1

    def check(self, network: Network) -> None:
        """Refuse layers, channels and targets that the network does not have."""
        self.objective(Job(network))

    def rehearsal(self, job: Job) -> Generator[Stage, Synthesis, Any]:
        """One tile, as many times as there are tiles in all."""
        passes = self.count * self.passes(job.network, self.result_size(job)[0])
        tile = dataclasses.replace(self, octaves=1, steps=2)
        grey = job.network.check(torch.full((1, 3, *self.tiles(job.network).size), 0.5))
        stage = next(tile.octave_stages(job, grey, fuse=passes >= FUSED_FROM_PASSES))
        yield dataclasses.replace(stage, steps=passes)

    def reduced(self, job: Job, share: float) -> Self:
        """Fewer steps; where fewer than 4 are left, a smaller size."""
        size, tile = self.result_size(job)[0], self.tiles(job.network).size
        passes = share * self.passes(job.network, size)
        while True:
            steps = int(passes / dataclasses.replace(self, steps=1).passes(job.network, size))
            if steps >= min(_FEW, self.steps) or size[0] <= tile[0] or size[1] <= tile[1]:
                return dataclasses.replace(self, steps=min(max(steps, 1), self.steps), size=size)
            size = round(0.9 * size[0]), round(0.9 * size[1])

    def extent(self, job: Job) -> tuple[int, str]:
        """Steps, and the size of the result."""
        return self.steps, "at {}×{}".format(*self.result_size(job)[0])

    def total(self, job: Job) -> int:
        """The steps of all octaves of all pictures."""
        return self.count * self.steps * len(self.sizes(self.result_size(job)[0]))

    def objective(self, job: Job) -> Objective:
        """What is maximized."""
        options: dict[str, Any] = {"layers": self.layers, "channel": self.channel, "guide": self.guide}
        return job.once("objective", lambda: dream_target(job.network, self.target, **options))

    def result_size(self, job: Job) -> tuple[tuple[int, int], list[str]]:
        """Height and width of the result, and a note where that is not the picture's own."""
        height, width = image_size(job.images[0])
        if isinstance(self.size, tuple):
            image.check_size(self.size)
            return self.size, []
        own = max(height, width)
        share = (self.size or (min(own, _LONGEST) if job.sources[0].photographs else own)) / own
        size = max(1, round(height * share)), max(1, round(width * share))
        shrunk = self.size is None and share < 1
        return size, [f"shrunk to {size[0]}×{size[1]}; size {own} keeps all"] if shrunk else []

    def sizes(self, size: tuple[int, int]) -> list[tuple[int, int]]:
        """The height and width of every octave, from small to large, without those of less than 8 pixels a side."""
        scales = (self.ratio**power for power in reversed(range(self.octaves)))
        octaves = [(round(size[0] / scale), round(size[1] / scale)) for scale in scales]
        return [octave for octave in octaves[:-1] if min(octave) >= _LEAST] + [size]

    def tiles(self, network: Network) -> Tiles:
        """The tiles in which the network sees a picture of any size."""
        size = (self.tile, self.tile) if self.tile else network.preprocess.size
        return Tiles(size, max(1, min(size) // 7))

    def passes(self, network: Network, size: tuple[int, int]) -> int:
        """Tiles that pass through the network, forward and backward, for one picture of a height and width."""
        return self.steps * sum(map(self.tiles(network).count, self.sizes(size)))


def _bounded(detail: Tensor, max_rms: float) -> Tensor:
    """Detail minus its mean color, scaled to at most a root mean square, for each image."""
    detail = detail - detail.mean((2, 3), keepdim=True)
    rms = detail.square().mean((1, 2, 3), keepdim=True).sqrt()
    return detail * (max_rms / rms.clamp(min=max_rms))


FUSED_FROM_PASSES = 32
"""Tiles in all from which on fusing batch norms saves more time than it takes."""
_FEW, _LEAST, _LONGEST = 4, 8, 1024  # steps below which a smaller size is better; pixels a side
