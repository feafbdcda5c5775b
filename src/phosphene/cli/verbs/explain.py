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
from phosphene.core.folder import OutputFolder
from phosphene.core.images.image import Picture
from phosphene.report import PageEntry, index, render, report
from phosphene.studies.explain import DEFAULT, explanation_cost
from phosphene.studies.explain import explain as explain_picture


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
    how: dict[str, Any] = {"target": options.pop("target"), "scores": scores}
    how["methods"] = {"default": DEFAULT, "all": tuple(sorted(Attribution.table))}.get(methods, methods.split(","))
    how["layers"] = tuple(filter(None, layers.split(","))) or None
    run = session("explain", options)
    cost = explanation_cost(run.network, methods=how["methods"], scores=scores)
    done: list[tuple[Picture, Path, dict[str, Any]]] = []
    contents = OutputFolder(run.top, run.verb)
    for picture in run.pictures(images):
        if run.several:
            contents.claim("index.html")
        run.console.print(f"{picture.name}: {len(how['methods'])} maps of {run.network.name}, {cost}")
        try:
            done.append((picture, *_explain(run, picture, how)))
        except PhospheneError as error:
            run.fail(error)
    if len(done) > 1:
        page = _contents(run, done)
        contents.publish({"index.html": lambda path: files.write(path, page)})
        run.say(f"\nall of them: {run.top / 'index.html'}")
    return run.finish([stored for _, _, stored in done])


def _explain(run: Session, picture: Picture, how: dict[str, Any]) -> tuple[Path, dict[str, Any]]:
    folder = run.folder(picture.name)
    with run.progress("explain") as watch:
        explanation = explain_picture(run.network, picture, seed=run.seed, watch=watch, **how)
    return folder, run.save(report(explanation), folder)


def _contents(run: Session, done: list[tuple[Picture, Path, dict[str, Any]]]) -> str:
    """The page that leads to all the others, for the folder above theirs."""
    entries = []
    for picture, folder, stored in done:
        best = stored["predictions"][0]
        page = str((folder / "index.html").relative_to(run.top))
        entries.append(PageEntry(picture.name, page, picture.pixels, f"{best['label']}, {best['probability']:.0%}"))
    failures = dict(line.split(": ", 1) for line in run.failed)
    return render(index(entries, failures=failures))
