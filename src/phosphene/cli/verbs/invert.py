"""`phosphene invert`: pictures whose activations in a layer are near those of a given one."""

from __future__ import annotations

from typing import Any

import click

from phosphene.cli.options import chosen, everywhere, from_any, run_options, running
from phosphene.cli.preview import make
from phosphene.cli.session import session
from phosphene.synthesis.recipes.invert import Invert


@click.command()
@click.argument("pictures", nargs=-1, required=True)
@running
@from_any(Invert)
@everywhere
def invert(pictures: tuple[str, ...], **options: Any) -> int:
    """Pictures that a layer cannot distinguish from PICTURES, for every stage of the network.

    PICTURE is a file, a folder, a glob, sample:cat, or - for standard input. Writes strip.png, the original and one
    picture for each layer and seed, with the relative error of the activations, and while it runs preview.png.
    Interrupted, the same command goes on where it was.
    """
    asked, recipe = run_options(options), chosen(Invert, options, (), "invert")
    assert isinstance(recipe, Invert)
    run = session("invert", options)
    recipe.check(run.network)
    return run.finish(run.for_pictures(pictures, lambda picture: make(run, recipe, picture, **asked)))
