"""`phosphene unit`, `units` and `classes`: what a survey knows of one unit, of a layer, of a class."""

from __future__ import annotations

import sys
from typing import Any, get_args

import click
from click.core import ParameterSource
from rich.console import Console
from rich.table import Column, Table

from phosphene.cli.options import everywhere
from phosphene.cli.session import Session, session
from phosphene.core.result import Manifest
from phosphene.report.pages.class_units import ClassReport
from phosphene.report.pages.unit import UnitReport
from phosphene.report.pages.wall import Wall
from phosphene.studies.class_units import class_units
from phosphene.studies.ranked_units import Sort, ranked_units
from phosphene.studies.unit_evidence import parse_unit
from phosphene.studies.unit_evidence import unit as study
from phosphene.survey.store.run import Run


@click.command()
@click.argument("survey", metavar="RUN", type=click.Path())
@click.argument("units", metavar="LAYER:CHANNEL...", nargs=-1, required=True)
@click.option("--k", default=9, show_default=True, help="Strongest and weakest patches to show.")
@everywhere
def unit(survey: str, units: tuple[str, ...], k: int, **options: Any) -> int:
    """One unit on one page: its strongest patches, what made them, all its answers, its classes.

    RUN is the folder of a survey. The network is that of the survey; give --weights where the survey had them.
    """
    run = session("unit", options)
    found = opened(run, survey)
    return run.finish(run.each(units, lambda target: _unit(run, found, target, k)))


def _unit(run: Session, found: Run, target: str, k: int) -> Manifest:
    layer, channel = parse_unit(found, target)
    with run.progress(target) as watch:
        page = UnitReport(study(run.network, found, target, k=k, seed=run.seed, watch=watch))
    name, facts = f"{layer}:{channel}", page.found.facts
    folder = run.folder(name)
    manifest = Manifest(
        "unit", run.network, options={"survey": str(found.folder), "k": k}, target=name, files=page.save(folder),
        cost=page.found.cost, seed=run.seed, extra=page.as_dict(),
    )  # fmt: skip
    manifest.save(folder)
    told = "dead" if page.found.dead else f"strongest {facts['max']:.3g}, mean {facts['mean']:.3g}"
    run.say(f"{name}: {told}{', prefers ' + facts['class'] if facts.get('class') else ''} → {folder / 'index.html'}")
    for note in page.found.notes:
        run.say(f"  {note}")
    return manifest


@click.command()
@click.argument("survey", metavar="RUN", type=click.Path())
@click.option("--layer", required=True, help="Whose units.")
@click.option(
    "--sort",
    type=click.Choice(get_args(Sort)),
    default="selectivity",
    show_default=True,
    help="What they are ordered by; sparsity begins with those that answer at the fewest places.",
)
@click.option("--top", type=click.IntRange(1), default=64, show_default=True, help="Units to show.")
@click.option("--patches", type=click.Choice(["1", "4", "9"]), default="1", show_default=True, help="Of each unit.")
@everywhere
def units(survey: str, layer: str, sort: Sort, **options: Any) -> int:
    """The units of a layer: a table, and a wall of their strongest patches."""
    top, patches = options.pop("top"), int(options.pop("patches"))
    run = session("units", options)
    found = Run.open(survey)
    wall = Wall(ranked_units(found, layer, sort, top=top, patches=patches))
    folder = run.folder(layer)
    manifest = Manifest(
        "units", options={"survey": survey, "layer": layer, "sort": sort, "top": top, "patches": patches},
        files=wall.save(folder), seed=run.seed, extra={"model": found.manifest["model"], "units": list(wall.rows)},
    )  # fmt: skip
    manifest.save(folder)
    if not run.as_json:
        head = Column("unit", no_wrap=True), Column("class"), *(Column(each, justify="right") for each in _HEAD)
        run.say(wall.lead)
        table = Table(*head, box=None)
        for row in wall.rows:
            table.add_row(f"{layer}:{row['channel']}", "dead" if row["dead"] else row.get("class") or "–", *_cells(row))
        # Where no terminal sets the width, as in a pipe, no name is cut.
        Console(width=None if sys.stdout.isatty() else 120, highlight=False).print(table)
    run.say(f"wall and table: {folder / 'index.html'}")
    return run.finish([manifest])


@click.command()
@click.argument("survey", metavar="RUN", type=click.Path())
@click.argument("name", metavar="CLASS")
@click.option("--k", type=click.IntRange(1), default=10, show_default=True, help="Units, and of each layer as many.")
@everywhere
def classes(survey: str, name: str, k: int, **options: Any) -> int:
    """The units that speak for a class: by the weights of the classifier, and by their selectivity in each layer.

    CLASS is a label of the images, a class of the network, or its index. Contributions want a network that ends in
    global average pooling and one linear layer.
    """
    run = session("classes", options)
    found = opened(run, survey)
    page = ClassReport(class_units(run.network, found, name, k=k))
    folder = run.folder(page.found.name)
    manifest = Manifest(
        "classes", run.network, options={"survey": survey, "k": k}, target=page.found.name, files=page.save(folder),
        seed=run.seed, extra=page.as_dict(),
    )  # fmt: skip
    manifest.save(folder)
    run.say(f"{page.found.name}, on {page.found.basis}")
    for each in page.found.contributions:
        told = f"{each.value:6.2f} = {each.weight:.3f} × {each.mean:.3g}"
        run.say(f"{told}  {page.found.layer}:{each.channel}")
    for layer, selective in page.found.selective.items():
        best = ", ".join(f"{each.channel} ({each.selectivity:.2f})" for each in selective[:5])
        run.say(f"selective in {layer}: {best}")
    for note in page.found.notes:
        run.say(f"  {note}")
    run.say(f"→ {folder / 'index.html'}")
    return run.finish([manifest])


def opened(run: Session, folder: str) -> Run:
    """A survey, and for the session the network that it tells of, unless another was asked for."""
    found = Run.open(folder)
    if click.get_current_context().get_parameter_source("model") is ParameterSource.DEFAULT:
        run.model = found.manifest["model"]["name"]
    return found


_HEAD = ("selectivity", "d′", "greatest", "mean", "places > 0")


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    share = row["places_positive"] / row["places"] if row["places"] else 0.0
    numbers = [row.get("selectivity"), row.get("d_prime"), row["max"], row["mean"]]
    return (*("–" if each is None else f"{each:.3g}" for each in numbers), f"{share:.0%}")
