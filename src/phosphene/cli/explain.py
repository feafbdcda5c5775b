"""`phosphene explain IMAGE…`: the main job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from phosphene.attribution import Attribution
from phosphene.cli.options import everywhere, target
from phosphene.cli.session import Session, session
from phosphene.core.errors import PhospheneError
from phosphene.core.image import Picture
from phosphene.core.result import Manifest
from phosphene.reporting import explanation, index_page
from phosphene.studies.explain import DEFAULT, Plan, explain as study


@click.command()
@click.argument("images", nargs=-1, required=True)
@target
@click.option("--methods", default="default", show_default=True, help="Names with commas between them, default, or all.")
@click.option("--layers", default="", help="Layers whose activations to show, with commas. [default: three]")
@click.option("--scores/--no-scores", default=True, show_default=True, help="Score the maps: deletion, insertion, random weights.")
@everywhere
def explain(images: tuple[str, ...], methods: str, layers: str, scores: bool, **options: Any) -> int:
    """Predictions, every map, scores and one offline report for each picture.

    IMAGE is a file, a folder, a glob, sample:cat, or - for standard input. A file that cannot be read is named, the
    others are done, and the exit code is 3.
    """
    what = options.pop("target")
    run = session("explain", options)
    names = {"default": DEFAULT, "all": tuple(sorted(Attribution.table))}.get(methods, tuple(methods.split(",")))
    plan = Plan.of(run.network, names, layers=tuple(filter(None, layers.split(","))), scores=scores, seed=run.seed)
    done: list[tuple[Manifest, Path]] = []
    for picture in run.pictures(images):
        try:
            done.append(_one(run, picture, what, plan, alone=len(images) == 1))
        except PhospheneError as error:
            run.fail(error)
    if len(done) > 1:
        page = index_page([(each, path) for each, path in done], run.failed)
        run.say(f"\nall of them: {page}")
    return run.finish([manifest for manifest, _ in done])
