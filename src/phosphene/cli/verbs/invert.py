"""`phosphene invert`: what each layer still knows of a picture."""

from __future__ import annotations

import time
from typing import Any

import click

from phosphene.cli.options import Size, build, everywhere, from_any, precision
from phosphene.cli.preview import STATE, easel, signed
from phosphene.cli.session import Session, session
from phosphene.core import files
from phosphene.core.errors import LayerError, PhospheneError
from phosphene.core.images.image import Picture
from phosphene.core.networks.anatomy import stages
from phosphene.core.networks.layer_patterns import match_layers
from phosphene.core.networks.network import Images, Network
from phosphene.core.result import Cost, Manifest
from phosphene.synthesis.losses.feature_match import Match
from phosphene.synthesis.recipes.inversion import Inversion, Strip
from phosphene.synthesis.recipes.invert import Invert, afford, seen
from phosphene.synthesis.recipes.invert import invert as make


@click.command()
@click.argument("pictures", nargs=-1, required=True)
@click.option("--layer", multiple=True, help="To invert; may be given several times.")
@click.option("--layers", help='"all", for each stage of the network and the logits, or patterns such as "blocks.*".')
@click.option("--seeds", type=click.IntRange(1), default=1, show_default=True, help="Pictures from each layer.")
@click.option("--size", type=Size(), help="Side of the pictures, or HEIGHTxWIDTH. [default: the network's]")
@click.option("--seconds", type=click.FloatRange(1), help="Budget of time for each picture: chooses the steps.")
@precision
@from_any(Invert)
@everywhere
def invert(pictures: tuple[str, ...], layer: tuple[str, ...], layers: str | None, **options: Any) -> int:
    """What each layer still knows of PICTURES: others that it cannot tell apart, from every stage of the network.

    PICTURE is a file, a folder, a glob, sample:cat, or - for standard input. Writes strip.png, the original and one
    picture for each layer and seed, with the relative error of the activations, and while it runs preview.png.
    Interrupted, the same command goes on where it was.
    """
    asked = {name: options.pop(name) for name in ("seeds", "size", "seconds", "precision")}
    how = build(Invert, {each.name: options.pop(each.name) for each in Invert.options()})
    assert isinstance(how, Invert)
    run, manifests = session("invert", options), []
    chosen = _layers(run.network, layer, layers)
    for picture in run.pictures(pictures):
        try:
            manifests.append(_one(run, picture, chosen, how=how, **asked))
        except PhospheneError as error:
            run.fail(error)
    return run.finish(manifests)


def _layers(network: Network, names: tuple[str, ...], patterns: str | None) -> tuple[str, ...]:
    if names and patterns:
        raise click.UsageError("--layer names layers and --layers chooses them; give one of both")
    for each in names:
        network.shape(each)
    return tuple(dict.fromkeys(names)) or (
        stages(network) if patterns in {None, "all"} else match_layers(network, [patterns or ""])
    )


def _one(
    run: Session, picture: Picture, layers: tuple[str, ...], *, how: Invert, size: tuple[int, int] | None,
    seconds: float | None, **same: Any,
) -> Manifest:  # fmt: skip
    folder, began = run.folder(picture.name), time.perf_counter()
    options = {**how.manifest(), **same, "size": size, "seconds": seconds}
    state, original = folder / STATE, seen(run.network, picture, size=size)
    layers, notes = _alive(run.network, original, layers)
    if seconds:
        planned = how.passes
        how = afford(run.network, original, layers, how=how, seconds=seconds, state=state, **same)
        least = ", the least there are" if how.passes <= _STAGES < planned else ""
        notes.append(f"{seconds:g} s allow {how.passes} of {planned} steps for each layer{least}")
    found: list[Inversion] = []
    for number, layer in enumerate(layers, 1):
        text = f"{picture.name}: {layer}, {number} of {len(layers)}"
        with easel(run, text, folder, steps=how.passes) as watch:
            inner = state / files.slug(layer)
            found.append(make(run.network, original, layer, how=how, state=inner, seed=run.seed, watch=watch, **same))
        run.say(f"{picture.name}, {found[-1]}")
    notes += [note for each in found for note in each.notes]
    written = Strip(tuple(found)).save(folder)
    cost = sum((each.cost for each in found), Cost()).since(began)
    manifest = Manifest(
        "invert", run.network, (picture,), options=options, target=", ".join(layers), predictions=(found[0].wanted,),
        files=tuple(written), cost=cost, seed=run.seed,
        extra={"results": [each.manifest() for each in found], "notes": notes},
    )  # fmt: skip
    signed(run, manifest, folder)
    run.say(f"{picture.name}: {how.passes} steps for each of {len(layers)} layers, {cost} → {folder}")
    return manifest


def _alive(network: Network, original: Images, layers: tuple[str, ...]) -> tuple[tuple[str, ...], list[str]]:
    """The layers that have something to match on this picture, and why the others have not."""
    alive, notes = [], []
    for layer in layers:
        try:
            Match.of(network, original, layer)
            alive.append(layer)
        except LayerError as error:
            if len(layers) == 1:
                raise
            notes.append(f"{layer} is left out: {error}")
    if not alive:
        raise LayerError(notes[0])
    return tuple(alive), notes


_STAGES = 3
