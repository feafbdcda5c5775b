"""`phosphene unit`, `units` and `classes`: what a survey recorded of one unit, of a layer, of a class."""

from __future__ import annotations

import sys
from typing import Any, get_args

import click
from click.core import ParameterSource
from rich.console import Console
from rich.table import Column, Table

from phosphene.cli.options import everywhere
from phosphene.cli.session import Session, session
from phosphene.report import report
from phosphene.studies.class_units import class_units
from phosphene.studies.evidence.selection import parse_unit
from phosphene.studies.ranked_units import RankedUnits, UnitOrder, ranked_units
from phosphene.studies.unit_evidence import unit as evidence_of
from phosphene.survey.store.run import Run


@click.command()
@click.argument("survey", metavar="RUN", type=click.Path())
@click.argument("units", metavar="LAYER:CHANNEL...", nargs=-1, required=True)
@click.option("--k", default=9, show_default=True, help="Strongest and weakest patches to show.")
@everywhere
def unit(survey: str, units: tuple[str, ...], k: int, **options: Any) -> int:
    """One unit on one page: its strongest patches, their projections, all its activations, its classes.

    RUN is the folder of a survey. The network is that of the survey; give --weights where the survey had them.
    """
    run = session("unit", options)
    surveyed = open_survey(run, survey)
    return run.finish(run.for_names(units, lambda target: _unit(run, surveyed, target, k)))


def _unit(run: Session, survey: Run, target: str, k: int) -> dict[str, Any]:
    layer, channel = parse_unit(survey, target)
    folder = run.folder(f"{layer}:{channel}")
    with run.progress(target) as watch:
        evidence = evidence_of(run.network, survey, target, k=k, seed=run.seed, watch=watch)
    return run.save(report(evidence), folder)


@click.command()
@click.argument("survey", metavar="RUN", type=click.Path())
@click.option("--layer", required=True, help="Whose units.")
@click.option(
    "--sort",
    type=click.Choice(get_args(UnitOrder)),
    default="selectivity",
    show_default=True,
    help="What they are ordered by; sparsity begins with those that are active at the fewest places.",
)
@click.option("--top", type=click.IntRange(1), default=64, show_default=True, help="Units to show.")
@click.option("--patches", type=click.Choice(["1", "4", "9"]), default="1", show_default=True, help="Of each unit.")
@everywhere
def units(survey: str, layer: str, sort: UnitOrder, **options: Any) -> int:
    """The units of a layer: a table, and a wall of their strongest patches."""
    top, patches = options.pop("top"), int(options.pop("patches"))
    run = session("units", options)
    folder = run.folder(layer)
    ranked = ranked_units(Run(survey), layer, sort, top=top, patches=patches)
    stored = run.save(report(ranked), folder)
    if not run.as_json:
        _print(ranked)
    return run.finish([stored])


def _print(ranked: RankedUnits) -> None:
    """The units as a table."""
    head = Column("unit", no_wrap=True), Column("class"), *(Column(title, justify="right") for title in _HEAD)
    table = Table(*head, box=None)
    for row in ranked.rows:
        name = f"{ranked.layer}:{row['channel']}"
        table.add_row(name, "dead" if row["dead"] else row.get("class") or "–", *_cells(row))
    # Where no terminal sets the width, as in a pipe, no name is cut.
    Console(width=None if sys.stdout.isatty() else 120, highlight=False).print(table)


@click.command()
@click.argument("survey", metavar="RUN", type=click.Path())
@click.argument("name", metavar="CLASS")
@click.option("--k", type=click.IntRange(1), default=10, show_default=True, help="Units, and of each layer as many.")
@everywhere
def classes(survey: str, name: str, k: int, **options: Any) -> int:
    """The units of a class: by the weights of the classifier, and by their selectivity in each layer.

    CLASS is a label of the images, a class of the network, or its index. Contributions need a network that ends in
    global average pooling and one linear layer.
    """
    run = session("classes", options)
    surveyed = open_survey(run, survey)
    units_of_class = class_units(run.network, surveyed, name, k=k)
    return run.finish([run.save(report(units_of_class), run.folder(units_of_class.target))])


def open_survey(run: Session, folder: str) -> Run:
    """A survey; where no --model is given, the session gets the network that the survey names."""
    survey = Run(folder)
    if click.get_current_context().get_parameter_source("model") is ParameterSource.DEFAULT:
        run.model = survey.record["model"]["name"]
    return survey


_HEAD = ("selectivity", "d′", "greatest", "mean", "places > 0")


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    share = row["places_positive"] / row["places"] if row["places"] else 0.0
    numbers = [row.get("selectivity"), row.get("d_prime"), row["max"], row["mean"]]
    return (*("–" if value is None else f"{value:.3g}" for value in numbers), f"{share:.0%}")
