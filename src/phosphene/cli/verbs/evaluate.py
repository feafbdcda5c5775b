"""`phosphene evaluate IMAGE…`: scores of attribution methods on pictures."""

from __future__ import annotations

import dataclasses
import math
import sys
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from phosphene.attribution import Attribution
from phosphene.cli.options import everywhere, target
from phosphene.cli.session import Session, session
from phosphene.core.folder import OutputFolder
from phosphene.studies.evaluate import DEFAULT, MethodEvaluation
from phosphene.studies.evaluate import evaluate as evaluate_methods


@click.command()
@click.argument("images", nargs=-1, required=True)
@target
@click.option("--methods", default=",".join(DEFAULT), show_default=True, help="Names with commas between them, or all.")
@click.option(
    "--confidence", default=0.5, show_default=True, help="Least probability of a picture in the pointing game."
)
@everywhere
def evaluate(images: tuple[str, ...], methods: str, confidence: float, **options: Any) -> int:
    """Score attribution methods on pictures of your own.

    Deletion (lower is better) and insertion (higher): the probability while the pixels disappear or appear in the order
    of the map. Pointing: share of the map in the right cell of mosaics; chance is 1/4 and 1/9. Sanity: rank
    correlation with the map when the upper half of the weights is random; near 0 is better. Covering: how often the
    target falls further when the pixels that the map shows are covered than when as many elsewhere are; 1 is best.
    """
    what = options.pop("target")
    run = session("evaluate", options)
    names = sorted(set(Attribution.table) - {"occlusion-class"}) if methods == "all" else methods.split(",")
    pictures = list(run.pictures(images))
    if not pictures:
        return run.finish([])
    OutputFolder(run.top, "evaluate")
    with run.progress("evaluate", len(names)) as watch:
        how = {"target": what, "confidence": confidence, "seed": run.seed}
        scores = evaluate_methods(run.network, pictures, names, watch=watch, **how)
    scores = dataclasses.replace(scores, errors=tuple(run.failed))
    stored = scores.save(run.top)
    if not run.as_json:
        _print(run, scores)
        run.say(f"→ {run.top}")
    return run.finish([stored])


def _print(run: Session, scores: MethodEvaluation) -> None:
    """The scores as a table, and below it what could not be measured."""
    table = Table(*scores.table.columns, box=None, title=f"{run.network.name} on {len(scores.inputs)} pictures")
    for name, *values in scores.table.rows:
        table.add_row(name, *("–" if math.isnan(value) else f"{value:.3f}" for value in values))
    Console(width=None if sys.stdout.isatty() else 160, highlight=False).print(table)
    for note in scores.notes:
        run.say(f"  {note}")
