"""DeepDream: what a network sees in a picture, made so that everyone sees it."""

from __future__ import annotations

import dataclasses
import math
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from phosphene.core import files
from phosphene.core.errors import OptionError
from phosphene.core.images import image
from phosphene.core.inputs import OnePicture, Pictures, Target, full_size_inputs
from phosphene.core.networks.autograd_modes import default_modes
from phosphene.core.networks.network import Images, Network
from phosphene.core.objectives.objective import Objective
from phosphene.core.registry import Named
from phosphene.core.result import Cost
from phosphene.synthesis.canvas.canvas import Pixels
from phosphene.synthesis.canvas.color import colors_seen
from phosphene.synthesis.loop.budget import kept, seconds_of
from phosphene.synthesis.loop.evaluation import Precision
from phosphene.synthesis.loop.loop import Watch, synthesize
from phosphene.synthesis.loop.optimizers import Ascent
from phosphene.synthesis.loop.state import fingerprint
from phosphene.synthesis.losses.dream_targets import REPAID, about, hasten, unmoved
from phosphene.synthesis.transforms.tiles import Soften, Tiles


@dataclasses.dataclass(frozen=True)
class Dream(Named, name="dream"):
    """Gradient ascent on the pixels of a picture, from coarse to fine, each size keeping what was dreamed before it.

    dreamed(s) = the picture at size s + detail resized to s; ascend; detail = dreamed(s) - the picture at size s. The
    picture is resized once for each size and stays sharp. Steps are those of `Ascent`, lr · g / rms(g), where the
    notebook divides by the mean of |g|. See `Tiles` for pictures of any size.

    Args:
        layers: to be excited; by default the last one with 1/16 of the rows and columns of the input.
        channel: of that layer alone, its mean.
        octaves: sizes, the picture's own and smaller ones.
        ratio: of one size to the next smaller one.
        steps: at each size.
        lr: root mean square of a step, in [0, 1] of pixels.
        smooth: deviation of the Gaussian that blurs the gradient, never the picture, in pixels; 0 for none.
        most: root mean square of the detail, in [0, 1] of pixels, at which it is held: the steps of shallow layers all
            point one way, and would end in black and white. The mean color stays.
        tile: side of a tile, in pixels; by default what the network takes.
        batch: tiles in one pass, which bounds the memory.

    Reference: Mordvintsev, Olah & Tyka, "Inceptionism", Google Research Blog 2015, and its notebook.
    """

    layers: tuple[str, ...] = ()
    channel: int | None = None
    octaves: int = 4
    ratio: float = 1.4
    steps: int = 10
    lr: float = 0.015
    smooth: float = 1.0
    most: float = 0.1
    tile: int | None = None
    batch: int = 8

    def __post_init__(self) -> None:
        least = {"octaves": 1, "steps": 0, "smooth": 0, "batch": 1, "tile": 2}
        for name, low in least.items():
            value = getattr(self, name)
            if value is not None and value < low:
                raise OptionError(f"{name} is {value}; dream wants at least {low}")
        if self.ratio <= 1 or min(self.lr, self.most) <= 0:
            raise OptionError(f"dream wants a ratio above 1, an lr and a most above 0; found {self}")

    def sizes(self, size: tuple[int, int]) -> list[tuple[int, int]]:
        """The height and width of every octave, from small to large; those too small to show anything are left out."""
        scales = (self.ratio**power for power in reversed(range(self.octaves)))
        found = [(round(size[0] / scale), round(size[1] / scale)) for scale in scales]
        return [each for each in found[:-1] if min(each) >= _LEAST] + [size]

    def tiles(self, network: Network) -> Tiles:
        """How the network looks at a picture of any size."""
        size = (self.tile, self.tile) if self.tile else network.preprocess.size
        return Tiles(size, max(1, min(size) // 7))

    def passes(self, network: Network, size: tuple[int, int]) -> int:
        """Tiles that pass through the network, forward and backward, for one picture of a height and width."""
        return self.steps * sum(map(self.tiles(network).count, self.sizes(size)))

    def within(self, network: Network, size: tuple[int, int], passes: float) -> tuple[Dream, tuple[int, int]]:
        """As many steps as take so many passes, at most its own; where they are too few, a smaller size."""
        steps, tile = int(passes / dataclasses.replace(self, steps=1).passes(network, size)), self.tiles(network).size
        if steps < min(_FEW, self.steps) and size[0] > tile[0] and size[1] > tile[1]:
            return self.within(network, (round(0.9 * size[0]), round(0.9 * size[1])), passes)
        return dataclasses.replace(self, steps=min(max(steps, 1), self.steps)), size


@dataclasses.dataclass(frozen=True, eq=False)
class Dreamed:
    """A dream, and how it came about.

    Args:
        images: (N, 3, H, W) in [0, 1].
        how: it was dreamed.
        objective: what it is about.
        sizes: height and width of every octave.
        scores: (octaves, steps, N), the objective before each step; NaN after one that a watcher stopped at.
        seed: of where the tiles lay.
        cost: passes of tiles, and seconds.
        notes: what was chosen on the way.
    """

    images: Images
    how: Dream
    objective: Objective
    sizes: tuple[tuple[int, int], ...]
    scores: Tensor
    seed: int
    cost: Cost
    notes: tuple[str, ...] = ()

    def pictures(self) -> tuple[image.Uint8Image, ...]:
        """uint8 (H, W, 3) each."""
        return tuple(image.levels(each) for each in self.images)

    def lines(self) -> tuple[str, ...]:
        """What must be said under the picture."""
        small, large = ("×".join(map(str, self.sizes[place])) for place in (0, -1))
        sizes = f"{len(self.sizes)} octaves from {small} to {large}" if len(self.sizes) > 1 else large
        done = self.scores[-1][~self.scores[-1].isnan().any(1)]
        ends = done[[0, -1]].T.tolist() if len(done) else []  # each before a step
        grown = ", ".join(f"{first:.3g} → {last:.3g}" if len(done) > 1 else f"from {first:.3g}" for first, last in ends)
        return (f"{self.objective}: {grown or 'nothing yet'}, {sizes}, {self.how.steps} steps each", *self.notes)

    def save(self, folder: str | Path) -> list[dict[str, Any]]:
        """Write dream.png (dream-0.png … for several), and scores.npy with the objective of every step.

        Returns:
            one mapping for each file, as a manifest wants it.

        Raises:
            OutputError: the folder cannot be written.
        """
        folder, shown = Path(folder), self.pictures()
        names = ["dream.png"] if len(shown) == 1 else [f"dream-{number}.png" for number in range(len(shown))]
        for name, pixels in zip(names, shown, strict=True):
            image.save(folder / name, pixels)
        files.write_array(folder / "scores.npy", self.scores.cpu().numpy())
        entries = [{"path": name, "kind": "picture", "target": str(self.objective)} for name in names]
        return [*entries, {"path": "scores.npy", "kind": "table", "shape": list(self.scores.shape)}]


@default_modes
def dream(
    network: Network,
    picture: Pictures,
    target: Target | None = None,
    *,
    how: Dream = Dream(),
    guide: OnePicture | None = None,
    size: tuple[int, int] | None = None,
    seconds: float | None = None,
    precision: Precision = "float32",
    state: str | Path | None = None,
    seed: int = 0,
    watch: Watch | None = None,
) -> Dreamed:
    """What a network sees in a picture, more of it. Cost: steps x tiles of all octaves, forward and backward.

    Args:
        network: dreams.
        picture: one or several of one size, see `attribute`, or images (N, 3, H, W).
        target: what to dream of, as the target grammar writes it; else what the layers of `how` see.
        how: octaves, steps and layers.
        guide: a picture to dream of: each place of the layer is to be more like the place of the guide that it
            resembles most.
        size: height and width of the result; those of the picture by default.
        seconds: a budget, from which fewer steps, and below 4 a smaller size, are chosen by timing a few.
        precision: of the network's multiplications; see `synthesize`.
        state: a folder to keep the state in: what was killed goes on from there to the same bytes. Remove it once the
            result is saved.
        seed: of where the tiles lie.
        watch: is told of each step, counted over all octaves; one that stops ends the octave.

    Raises:
        OptionError: a target and layers, a channel or a guide, which exclude each other.
        LayerError: no such layer.
        TargetError: no such class or unit.
        ImageError: images that are no images.
        OutputError: the state cannot be written.

    >>> found = dream(tiny, images, how=Dream(("features.2",), octaves=2, steps=3))
    >>> found.images.shape, found.sizes, found.cost.forwards
    (torch.Size([2, 3, 32, 32]), ((23, 23), (32, 32)), 12)
    """
    begun, folder = time.perf_counter(), None if state is None else Path(state)
    images = full_size_inputs(network, picture).images.float()
    objective = about(network, target, layers=how.layers, channel=how.channel, guide=guide)
    whole: tuple[int, int] = size or (images.shape[2], images.shape[3])
    notes: list[str] = []
    if seconds is not None:
        how, whole, *notes = afford(
            network, objective, how, size=whole, seconds=seconds, precision=precision, folder=folder
        )
    images = images if whole == tuple(images.shape[2:]) else image.resize(images, whole)
    quick = hasten(network, objective, how.passes(network, whole))
    found = climb(quick, images, objective, how=how, precision=precision, folder=folder, seed=seed, watch=watch)
    return dataclasses.replace(found, cost=found.cost.since(begun), notes=(*notes, *found.notes))


def climb(
    network: Network, images: Images, objective: Objective, *, how: Dream, precision: Precision,
    folder: Path | None = None, seed: int = 0, watch: Watch | None = None,
) -> Dreamed:  # fmt: skip
    """The dream of images at their size, by the network as it is; see `dream`."""
    whole = (images.shape[2], images.shape[3])
    sizes, cost, scores, detail = tuple(how.sizes(whole)), Cost(), [], torch.zeros_like(images[:, :, :1, :1])
    soft, notes = [Soften(how.smooth)] if how.smooth else [], list[str]()
    for number, small in enumerate(sizes if how.steps else ()):
        base = images if small == whole else image.resize(images, small)
        begin = (base + F.interpolate(detail, small, mode="bicubic")).clamp(0, 1)
        found = synthesize(
            network, [objective] * len(images), Pixels(), start=begin, transforms=(*soft, how.tiles(network)),
            optimizer=Ascent(how.lr), steps=how.steps, batch=how.batch, precision=precision, seed=seed + number,
            state=folder and folder / f"octave-{number}.pt", watch=later(watch, how.steps * number),
        )  # fmt: skip
        shown = begin if colors_seen(network) == 3 else begin.mean(1, keepdim=True)
        detail = _held((begin + found.images - shown).clamp(0, 1) - base, how.most)
        cost += found.cost
        scores.append(found.scores)
        notes += [f"octave {number + 1}: {note}" for note in found.notes]
    none = torch.zeros(len(sizes), 0, len(images))
    table = pad_sequence(scores, batch_first=True, padding_value=math.nan) if scores else none
    notes += unmoved(objective, table.flatten(0, 1))
    return Dreamed((images + detail).clamp(0, 1), how, objective, sizes, table, seed, cost, tuple(notes))


def afford(
    network: Network, objective: Objective, how: Dream, *, size: tuple[int, int], seconds: float, frames: int = 1,
    precision: Precision = "float32", folder: Path | None = None,
) -> tuple[Dream, tuple[int, int], str]:  # fmt: skip
    """As many steps as fit into a time, at most those of the recipe; where they are too few, a smaller size.

    Cost: four steps of one tile, or eight, unless the folder holds what was chosen for the same dream.

    Args:
        network: dreams.
        objective: of what.
        how: at most so.
        size: height and width, at most.
        seconds: of the whole dream, or film.
        frames: of the film.
        precision: of the network's multiplications.
        folder: keeps the choice.

    Returns:
        the recipe, the size, and the choice in words.

    Raises:
        OptionError: no time.
    """
    if seconds <= 0:
        raise OptionError(f"{seconds:g} seconds are no time to dream; give some")

    def fit() -> dict[str, int]:
        once = dataclasses.replace(how, octaves=1, steps=2)
        grey = network.check(torch.full((1, 3, *how.tiles(network).size), 0.5))
        for quick in (hasten(network, objective, frames * how.passes(network, size)), network):
            pace = seconds_of(partial(climb, quick, grey, objective, how=once, precision=precision)) / 2
            less, (height, width) = how.within(network, size, 0.9 * seconds / frames / pace)
            if frames * less.passes(network, (height, width)) >= REPAID:
                break
        return {"height": height, "width": width, "steps": less.steps}

    plan = fingerprint(network, objective, how, size, seconds, frames, precision)
    chosen = kept(folder and folder / "budget.json", plan, fit)
    height, width, steps = chosen["height"], chosen["width"], chosen["steps"]
    least = ", the least there are" if steps == 1 < how.steps else ""
    note = f"{seconds:g} s allow {steps} of {how.steps} steps at {height}×{width}{least}"
    return dataclasses.replace(how, steps=steps), (height, width), note


def _held(detail: Tensor, most: float) -> Tensor:
    """Detail of no color in the mean, and of at most that root mean square, image by image."""
    detail = detail - detail.mean((2, 3), keepdim=True)
    rms = detail.square().mean((1, 2, 3), keepdim=True).sqrt()
    return detail * (most / rms.clamp(min=most))


def later(watch: Watch | None, before: int) -> Watch | None:
    """A watcher that counts the steps that were done before."""
    return watch and (lambda step, images, scores: watch(before + step, images, scores))


_FEW, _LEAST = 4, 8  # steps below which a smaller size is better; pixels a side that show something
