"""`phosphene explain IMAGE…`: the main job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from phosphene.attribution import Attribution
from phosphene.cli.options import everywhere, target
from phosphene.cli.session import Session, session
from phosphene.core import files
from phosphene.core.errors import PhospheneError
from phosphene.core.images.image import Picture
from phosphene.core.result import Manifest
from phosphene.report import Entry, index, render
from phosphene.report.pages.explanation import ExplanationReport
from phosphene.studies.explain import DEFAULT, Plan
from phosphene.studies.explain import explain as study


@click.command()
@click.argument("images", nargs=-1, required=True)
@target
@click.option(
    "--methods", default="default", show_default=True, help="Names with commas between them, default, or all."
)
@click.option("--layers", default="", help="Layers whose activations to show, with commas. [default: three]")
@click.option(
    "--scores/--no-scores", default=True, show_default=True, help="Score the maps: deletion, insertion, random weights."
)
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
    done: list[tuple[Picture, Manifest, Path]] = []
    for picture in run.pictures(images):
        try:
            done.append((picture, *_one(run, picture, what, plan)))
        except PhospheneError as error:
            run.fail(error)
    if len(done) > 1:
        run.say(f"\nall of them: {_contents(run, done)}")
    return run.finish([manifest for _, manifest, _ in done])


def _one(run: Session, picture: Picture, what: str, plan: Plan) -> tuple[Manifest, Path]:
    network = run.network
    cost = plan.cost(network, network.prepare(picture).images)
    run.console.print(f"{picture.name}: {len(plan.methods)} maps of {network.name}, {cost}")
    with run.progress("explain") as watch:
        found = study(network, picture, what, plan=plan, watch=watch)
    page, manifest = ExplanationReport(found, run.seed).save(run.folder(picture.name))
    for best in found.predictions:
        run.say(f"{best.probability:6.1%}  {best.logit:6.2f}  {best.label}")
    for note in found.notes:
        run.console.print(f"[dim]{note}[/dim]")
    count = len(found.heatmaps)
    run.say(f"{count} map{'' if count == 1 else 's'} for {found.target} ({found.cost}): {page}")
    return manifest, page


def _contents(run: Session, done: list[tuple[Picture, Manifest, Path]]) -> Path:
    """The page that leads to all the others, in the folder above theirs."""
    top = run.top
    entries = [
        Entry(
            picture.name,
            str(page.relative_to(top)),
            picture.pixels,
            f"{manifest.predictions[0].label}, {manifest.predictions[0].probability:.0%}",
        )
        for picture, manifest, page in done
    ]
    failures = dict(line.split(": ", 1) for line in run.failed)
    return files.write(top / "index.html", render(index(entries, failures=failures)))
