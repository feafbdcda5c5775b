"""`phosphene dream`: what a network sees in pictures, made so that everyone sees it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor

from phosphene.cli.options import everywhere, from_any, precision
from phosphene.cli.preview import STATE, easel, signed
from phosphene.cli.session import Session, session
from phosphene.core.errors import PhospheneError
from phosphene.core.images import image
from phosphene.core.images.film import film
from phosphene.core.images.image import Picture, Uint8Image
from phosphene.core.objectives.objective import Objective
from phosphene.core.result import Cost, Manifest
from phosphene.synthesis.loop.state import fingerprint
from phosphene.synthesis.losses.dream_targets import about, unmoved
from phosphene.synthesis.recipes.dream import Dream, Dreamed, afford
from phosphene.synthesis.recipes.dream import dream as make
from phosphene.synthesis.recipes.zoom import ENTERED, FACTOR, zoom


@click.command()
@click.argument("pictures", nargs=-1, required=True)
@click.option("--layer", multiple=True, help="To be excited; several count alike. [default: the last of 1/16 the size]")
@click.option("--target", help="A class, LAYER:CHANNEL or a sum of them to dream of, instead of layers.")
@click.option("--guide", type=click.Path(), help="A picture to dream of: the layer is to see what it sees there.")
@click.option(
    "--size", type=click.IntRange(8), help="Long side of the result, in pixels. [default: its own, at most 1024]"
)
@click.option("--seconds", type=click.FloatRange(1), help="Budget of time: chooses the steps, then the size.")
@click.option(
    "--zoom", "frames", type=click.IntRange(1),
    help="A film of so many frames into the dream, instead; "
    f"--octaves are {ENTERED.octaves}, --steps {ENTERED.steps} and --lr {ENTERED.lr} then, unless they are given.",
)  # fmt: skip
@click.option(
    "--factor", type=click.FloatRange(1, min_open=True),
    help=f"Magnification from frame to frame of --zoom. [default: {FACTOR}]",
)  # fmt: skip
@click.option("--animate", type=click.Choice(["gif", "mp4"]), help="Also a film of the steps; the kind of --zoom.")
@click.option("--rate", type=click.FloatRange(1, 50), default=12, show_default=True, help="Frames of films per second.")
@precision
@from_any(Dream)
@everywhere
def dream(pictures: tuple[str, ...], **options: Any) -> int:
    """What a network sees in PICTURES, more of it: strokes in shallow layers, animals in deep ones.

    PICTURE is a file, a folder, a glob, sample:cat, or - for standard input. Writes dream.png, or zoom.mp4, and while
    it runs preview.png. Interrupted, the same command goes on where it was.
    """
    own = ("layer", "target", "guide", "size", "seconds", "frames", "factor", "animate", "rate", "precision")
    asked = {name: options.pop(name) for name in own}
    if asked["factor"] and not asked["frames"]:
        raise click.UsageError("--factor is that of --zoom; give both, or neither")
    fields = {each.name for each in Dream.options()} - {"layers"}
    given = {name: value for name in fields if (value := options.pop(name)) is not None}
    run = session("dream", options)
    how = dataclasses.replace(ENTERED if asked["frames"] else Dream(), **given)
    guide = image.load(asked["guide"]) if asked["guide"] else None
    objective = about(run.network, asked["target"], layers=asked["layer"], channel=how.channel, guide=guide)
    if not (asked["target"] or asked["layer"]):
        run.console.print(f"[dim]dreams of {objective}; --layer chooses another[/dim]")
    manifests = []
    for picture in run.pictures(pictures):
        try:
            manifests.append(_one(run, objective, how, picture, asked=asked))
        except PhospheneError as error:
            run.fail(error)
    return run.finish(manifests)


# A user types --layer, once for each.
dream.params = [each for each in dream.params if each.name != "layers"]


def _one(run: Session, objective: Objective, how: Dream, picture: Picture, *, asked: dict[str, Any]) -> Manifest:
    folder, began, options = run.folder(picture.name), time.perf_counter(), {**how.manifest(), **asked}
    size, notes = _size(picture, asked["size"])
    how = dataclasses.replace(how, channel=None)  # the objective has it
    if asked["seconds"]:
        how, size, note = afford(
            run.network, objective, how, size=size, seconds=asked["seconds"], frames=asked["frames"] or 1,
            precision=asked["precision"], folder=folder / STATE,
        )  # fmt: skip
        notes.append(note)
    work = _zoom if asked["frames"] else _dream
    files, cost, (line, *more) = work(run, objective, how, picture, size=size, folder=folder, asked=asked)
    manifest = Manifest(
        "dream", run.network, (picture,), options=options, target=str(objective), files=tuple(files),
        cost=cost.since(began), seed=run.seed, extra={"notes": [*notes, *more]},
    )  # fmt: skip
    signed(run, manifest, folder)
    run.say(f"{picture.name}: {line}, {manifest.cost} → {folder}")
    return manifest


def _size(picture: Picture, long: int | None) -> tuple[tuple[int, int], list[str]]:
    """Height and width of the result, and what must be said of them."""
    own = max(picture.height, picture.width)
    share = (long or min(own, _LONGEST)) / own
    height, width = max(1, round(picture.height * share)), max(1, round(picture.width * share))
    notes = [] if long or share == 1 else [f"shrunk to {height}×{width}; --size {own} keeps all"]
    return (height, width), notes


def _dream(
    run: Session, objective: Objective, how: Dream, picture: Picture, *, size: tuple[int, int], folder: Path,
    asked: dict[str, Any],
) -> _Made:  # fmt: skip
    plan = (objective, how, picture.sha256, size, asked["precision"], run.seed, run.model, run.weights)
    frames = folder / STATE / fingerprint(plan)[:16] if asked["animate"] else None
    with easel(run, picture.name, folder, steps=how.steps * len(how.sizes(size)), frames=frames) as watch:
        state = folder / STATE / "octaves"
        found = make(
            run.network, picture, objective, how=how, size=size, precision=asked["precision"], state=state,
            seed=run.seed, watch=watch,
        )  # fmt: skip
    files = found.save(folder)
    if frames is not None:
        path = film(folder / f"steps.{asked['animate']}", _growth(frames, found), rate=asked["rate"])
        files.append({"path": path.name, "kind": "picture"})
    return files, found.cost, found.lines()


def _zoom(
    run: Session, objective: Objective, how: Dream, picture: Picture, *, size: tuple[int, int], folder: Path,
    asked: dict[str, Any],
) -> _Made:  # fmt: skip
    count, suffix, climbed = asked["frames"], asked["animate"] or "mp4", list[Tensor]()
    with easel(run, picture.name, folder, steps=count * how.steps * len(how.sizes(size))) as watch:

        def tell(step: int, images: Tensor, scores: Tensor) -> bool | None:
            climbed.append(scores)
            return watch(step, images, scores)

        frames = zoom(
            run.network, picture, objective, frames=count, factor=asked["factor"] or FACTOR, how=how, size=size,
            precision=asked["precision"], state=folder / STATE, seed=run.seed, watch=tell,
        )  # fmt: skip
        path = film(folder / f"zoom.{suffix}", frames, rate=asked["rate"])
    made = len(climbed) // (how.steps * len(how.sizes(size))) if how.steps else count
    passes = made * how.passes(run.network, size)
    line = f"{objective}, {count} frames of {size[0]}×{size[1]}, {how.octaves} octaves, {how.steps} steps each"
    notes = [f"went on at frame {count - made + 1} of {count}"] if made < count else []
    notes += unmoved(objective, torch.stack(climbed)) if climbed else []
    return [{"path": path.name, "kind": "picture", "frames": count}], Cost(passes, passes), (line, *notes)


def _growth(frames: Path, found: Dreamed) -> Iterator[Uint8Image]:
    """The frames of the steps at the size of the result, which is held for a while."""
    for each in sorted(frames.glob("*.png")):
        yield image.levels(image.resize(image.load(each).tensor(), found.sizes[-1])[0])
    yield from found.pictures() * _HELD


_Made = tuple[list[dict[str, Any]], Cost, tuple[str, ...]]  # files, cost, lines
_LONGEST = 1024
_HELD = 12  # frames
