"""A dream that is entered: every frame is the former one, zoomed in a little and dreamed again."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F

from phosphene.core.errors import OptionError
from phosphene.core.images import image
from phosphene.core.images.image import Picture, Uint8Image
from phosphene.core.inputs import OnePicture, Target, full_size_inputs, one_input
from phosphene.core.networks.network import Images, Network
from phosphene.synthesis.loop.evaluation import Precision
from phosphene.synthesis.loop.loop import Watch
from phosphene.synthesis.loop.state import fingerprint
from phosphene.synthesis.losses.dream_targets import about, hasten
from phosphene.synthesis.recipes.dream import Dream, climb, later

ENTERED = Dream(octaves=2, steps=4, lr=0.01)
"""How each frame is dreamed, unless told otherwise."""
FACTOR = 1.05
"""Magnification from frame to frame, unless told otherwise."""


def zoom(
    network: Network,
    picture: OnePicture,
    target: Target | None = None,
    *,
    frames: int,
    factor: float = FACTOR,
    how: Dream = ENTERED,
    guide: OnePicture | None = None,
    size: tuple[int, int] | None = None,
    precision: Precision = "float32",
    state: str | Path | None = None,
    seed: int = 0,
    watch: Watch | None = None,
) -> Iterator[Uint8Image]:
    """The frames of a film into a dream: dream(zoomed(dream(zoomed(…)))). Cost: that of `dream`, for each frame.

    Before each frame mean color and contrast are brought back to those of the picture, or the film would end in black
    and white.
    Each frame goes on from the former one in 8 bits, so that a run that is resumed sees what a run that was not sees.

    Args:
        network: dreams.
        picture: what the first frame is dreamed of.
        target: see `dream`.
        frames: how many.
        factor: magnification from frame to frame.
        how: of each frame; few steps, as the dream grows from frame to frame.
        guide: see `dream`.
        size: height and width of the frames; those of the picture by default.
        precision: see `dream`.
        state: a folder that gets each frame as PNG, in a folder named by a hash of all that makes them: the same film
            goes on from the last one. They are left.
        seed: of where the tiles lie; each frame adds its number.
        watch: is told of each step, counted over all frames.

    Yields:
        uint8 (H, W, 3), from the first one, also where it was made before.

    Raises:
        OptionError: no frame, or a factor that does not magnify; and see `dream`.

    >>> [each.shape for each in zoom(tiny, Picture.from_array(images[0]), frames=2, how=Dream(octaves=1, steps=1))]
    [(32, 32, 3), (32, 32, 3)]
    """
    if frames < 1 or factor <= 1:
        raise OptionError(f"{frames} frames, each {factor} times the former: zoom wants at least 1, and more than 1")
    start = one_input(full_size_inputs(network, picture), "zoom").images
    objective = about(network, target, layers=how.layers, channel=how.channel, guide=guide)
    how = dataclasses.replace(how, layers=(), channel=None)
    now = image.resize(start, size or (start.shape[2], start.shape[3]))
    plan = fingerprint(objective, network, how, now, factor, precision, seed) if state else ""
    first, folder = now, Path(state) / plan[:16] if state else None  # frames of another film are no beginning of this
    quick = hasten(network, objective, frames * how.passes(network, (now.shape[2], now.shape[3])))
    for number in range(frames):
        file = folder and folder / f"{number:05}.png"
        if file is not None and file.exists():
            shown = image.load(file).pixels
        else:
            begin = network.check(_calmed(_zoomed(now, factor), first) if number else now).float()
            told = later(watch, number * how.steps * len(how.sizes((begin.shape[2], begin.shape[3]))))
            found = climb(quick, begin, objective, how=how, precision=precision, seed=seed + number, watch=told)
            (shown,) = found.pictures()
            if file is not None:
                image.save(file, shown)
        yield shown
        now = Picture.from_array(shown).tensor()


def _zoomed(images: Images, factor: float) -> Images:
    """The middle, at the size of all."""
    matrix = torch.tensor([[[1 / factor, 0, 0], [0, 1 / factor, 0]]])
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bicubic", padding_mode="reflection", align_corners=False).clamp(0, 1)


def _calmed(images: Images, first: Images) -> Images:
    """The images with the mean color of the first, and at most its contrast: else every frame is harsher than the last.

    A first one that is flat leaves them the contrast of a photograph.
    """
    (spread, mean), (wanted, goal) = (
        torch.std_mean(each, (2, 3), correction=0, keepdim=True) for each in (images, first)
    )
    factor = (wanted.clamp(min=_CONTRAST) / spread.clamp(min=1e-6)).clamp(max=1)
    return ((images - mean) * factor + goal).clamp(0, 1)


_CONTRAST = 0.2  # deviation of the colors of a photograph, in [0, 1]
