"""`phosphene evaluate IMAGE…`: how far to believe each method."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from typing import Any

import click
import torch
from rich.console import Console
from rich.table import Table

from phosphene.attribution import Attribution
from phosphene.cli.options import everywhere, target
from phosphene.cli.session import Session, session
from phosphene.core.result import Cost, Manifest
from phosphene.studies.evaluate import MethodScores, table
from phosphene.studies.evaluate import evaluate as study

QUICK = ("grad-cam", "layer-cam", "gradient", "input-x-gradient", "guided-backprop", "guided-grad-cam")


@click.command()
@click.argument("images", nargs=-1, required=True)
@target
@click.option("--methods", default=",".join(QUICK), show_default=True, help="Names with commas between them, or all.")
@click.option(
    "--confidence", default=0.5, show_default=True, help="Least probability of a picture in the pointing game."
)
@everywhere
def evaluate(images: tuple[str, ...], methods: str, confidence: float, **options: Any) -> int:
    """How far to believe each method, on pictures of your own.

    Deletion (lower is better) and insertion (higher): the probability while the pixels disappear or appear in the order
    of the map. Pointing: share of the map in the right cell of mosaics; chance is 1/4 and 1/9. Sanity: what is left of
    the map when the upper half of the weights is random; near 0 is better. Covering: how often covering the pixels that
    the map shows hurts more than covering as many elsewhere; 1 is best.
    """
    what = options.pop("target")
    run = session("evaluate", options)
    names = sorted(set(Attribution.table) - {"occlusion-class"}) if methods == "all" else methods.split(",")
    chosen = [Attribution.find(name) for name in names]
    pictures = list(run.pictures(images))
    if not pictures:
        return run.finish([])
    batch = torch.cat([run.network.prepare(each).images for each in pictures])
    with run.progress("evaluate", len(chosen)) as watch:
        how = {"target": what, "confidence": confidence, "seed": run.seed}
        rows = study(run.network, batch, [each() for each in chosen], watch=watch, **how)
    cost = sum((each.cost for each in rows), start=Cost())
    manifest = Manifest(
        "evaluate",
        run.network,
        tuple(pictures),
        {"methods": names, "confidence": confidence},
        what,
        cost=cost,
        seed=run.seed,
        errors=tuple(run.failed),
        extra={"results": [dataclasses.asdict(each) for each in rows]},
    )
    path = manifest.save(run.top)
    if not run.as_json:
        _print(run, rows, len(pictures))
        run.say(f"{path}")
    return run.finish([manifest])


def _print(run: Session, rows: Sequence[MethodScores], count: int) -> None:
    """The scores as a table, and below it what could not be measured."""
    head, body = table(rows)
    drawn = Table(*head, box=None, title=f"{run.network.name} on {count} pictures")
    for row in body:
        drawn.add_row(*(each if isinstance(each, str) else "–" if each is None else f"{each:.3f}" for each in row))
    Console(width=None if sys.stdout.isatty() else 160, highlight=False).print(drawn)
    for note in dict.fromkeys(note for each in rows for note in each.notes):
        run.say(f"  {note}")
