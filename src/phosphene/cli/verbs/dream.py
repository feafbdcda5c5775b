"""`phosphene dream`: features that a network has in pictures, amplified."""

from __future__ import annotations

from typing import Any

import click

from phosphene.cli.options import chosen, everywhere, from_any, run_options, running
from phosphene.cli.preview import make
from phosphene.cli.session import session
from phosphene.synthesis.recipes.dream import Dream
from phosphene.synthesis.recipes.zoom import Zoom


@click.command()
@click.argument("pictures", nargs=-1, required=True)
@click.option("--zoom", "frames", type=click.IntRange(1), help="A film of so many frames into the dream, instead.")
@running
@from_any(Dream, Zoom, skip=("frames", "animation"))
@everywhere
def dream(pictures: tuple[str, ...], **options: Any) -> int:
    """Features that a network has in PICTURES, amplified: strokes in shallow layers, animals in deep ones.

    PICTURE is a file, a folder, a glob, sample:cat, or - for standard input. Writes dream.png, or zoom.mp4, and while
    it runs preview.png. Interrupted, the same command goes on where it was.
    """
    asked = run_options(options)
    zooms = options["frames"] is not None
    options["animation"] = asked.pop("animate") if zooms else None
    recipe = chosen(Zoom if zooms else Dream, options, (Dream, Zoom), "dream without --zoom")
    assert isinstance(recipe, Dream | Zoom)
    run = session("dream", options)
    recipe.check(run.network)
    return run.finish(run.for_pictures(pictures, lambda picture: make(run, recipe, picture, **asked)))
