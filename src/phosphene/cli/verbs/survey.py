"""`phosphene survey`, `verify`, `query`: make a run, check it, ask it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from phosphene.cli.options import everywhere
from phosphene.cli.session import Session, session
from phosphene.survey.engine.survey import Watch
from phosphene.survey.engine.survey import survey as run_survey
from phosphene.survey.store.run import Run
from phosphene.survey.store.seal import strangers


@click.command()
@click.argument("images", nargs=-1, required=True)
@click.option("--layers", multiple=True, help='Layers, or patterns such as "blocks.*". [default: every block, logits]')
@click.option("--k", default=64, show_default=True, help="Strongest and weakest patches to keep of each unit.")
@click.option("--limit", type=int, help="So many images alone, drawn by the seed.")
@click.option(
    "--labels",
    type=click.Choice(["auto", "none"]),
    default="auto",
    show_default=True,
    help="Those of the source: auto takes them where there are any, none ignores them.",
)
@click.option("--coactivation", is_flag=True, help="Keep which units of a layer respond to the same images.")
@click.option("--workers", type=int, help="Threads that share the work. [default: one for each core]")
@click.option("--ray", "address", help="Work on a Ray cluster: its address, or local.")
@click.option("--batch", type=int, help="Images in a pass. [default: 4]")
@everywhere
def survey(images: tuple[str, ...], **options: Any) -> int:
    """Show every image to the network once, and keep what every unit looks for.

    IMAGES are folders, patterns, a CSV of paths and labels, tar or zip shards. -o names the folder of the run; without
    it, the first of them does, below phosphene-out/survey. It may be interrupted at any moment: the same command goes
    on where it was.
    """
    own = {name: options.pop(name) for name in ("layers", "k", "limit", "labels", "workers", "batch")}
    coactivation, address = options.pop("coactivation"), options.pop("address")
    run = session("survey", options)
    folder = run.folder(Path(images[0]).resolve().stem)
    accumulators = _with_coactivation(run, own["k"]) if coactivation else None
    chosen = {name: value for name, value in own.items() if value is not None}
    with _watched(run) as watch:
        remote = _fleet(address, own["workers"]) if address else None
        found = run_survey(
            run.network, images, folder, accumulators, seed=run.seed, watch=watch, remote=remote, **chosen
        )
    return _tell(run, found)


def _with_coactivation(run: Session, k: int) -> tuple[Any, ...]:
    from phosphene.survey.accumulators.coactivation import CoActivation
    from phosphene.survey.engine.survey import default

    return (*default(run.network, k), CoActivation())


def _fleet(address: str, workers: int | None) -> Any:
    from phosphene.survey.engine.ray_cluster import Fleet

    return Fleet(address, workers=workers)


@contextmanager
def _watched(run: Session) -> Iterator[Watch]:
    """A bar: images, images a second, time left, failures."""
    rate = TextColumn("{task.fields[rate]}")
    columns = (TextColumn("survey"), BarColumn(), MofNCompleteColumn(), rate, TimeRemainingColumn())
    with Progress(*columns, console=run.console, transient=True, disable=run.quiet) as bar:
        task = bar.add_task("survey", total=None, rate="")

        def watch(done: int, total: int, failures: int) -> None:
            speed = bar.tasks[task].speed
            text = f"{speed:.1f} images/s" if speed else ""
            bar.update(task, completed=done, total=total, rate=f"{text}{f', {failures} failed' if failures else ''}")

        yield watch


def _tell(run: Session, found: Run) -> int:
    """The outcome in a few lines, the failures by name, the exit code."""
    errors = found.manifest["errors"]
    for line in errors:
        click.echo(f"ImageError: {line}", err=True)
    ok, seconds = int(found.images["ok"].sum()), found.manifest["cost"]["seconds"]
    units = found.units()
    layers = f"{len(found.layers)} layer{'s' * (len(found.layers) != 1)}"
    known = f"{len(units['channel']):,} units of {layers}, {int(units['dead'].sum()):,} dead"
    run.say(f"{ok:,} image{'s' * (ok != 1)}, {known}, in {seconds:.0f} s → {found.folder}")
    for note in found.manifest["notes"]:
        run.say(f"  {note}")
    if ok:
        run.say(f"  next: phosphene units {found.folder} --layer {found.layers[-1]}")
    if run.as_json:
        click.echo(json.dumps(found.manifest, indent=1))
    return 3 if errors else 0


@click.command()
@click.argument("run", type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="Print JSON on standard output.")
@click.option("--debug", is_flag=True, help="Show where an error came from.")
def verify(run: str, as_json: bool, debug: bool) -> int:  # noqa: ARG001  --debug is read before click is
    """Read every byte of a run, and name each file that is not as it was written. Exit code 3 if there is one."""
    found = Run.open(run, check=False)
    damage = found.verify(full=True)
    if as_json:
        click.echo(json.dumps({"run": run, "damage": [str(each) for each in damage]}, indent=1))
        return 3 if damage else 0
    for each in damage:
        click.echo(f"RunError: {each}", err=True)
    for name in strangers(found.folder):
        click.echo(f"  {name} does not belong to the run")
    files = len(found.manifest["files"])
    click.echo(f"{files - len(damage)} of {files} files of {run} are as they were written")
    return 3 if damage else 0


@click.command()
@click.argument("run", type=click.Path())
@click.argument("sql")
@click.option("--limit", default=1000, show_default=True, help="Rows to print at most.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON on standard output.")
@click.option("--debug", is_flag=True, help="Show where an error came from.")
def query(run: str, sql: str, *, limit: int, as_json: bool, debug: bool) -> int:  # noqa: ARG001
    """Ask the tables of a run in SQL, read-only: images, units, patches, classes, histograms, samples.

    \b
    phosphene query run/ "select layer, count(*) from units where dead group by layer"
    phosphene query run/ 'select image, row, "column" from patches where layer = $$blocks.4$$ and channel = 50'
    """  # noqa: D301  the escape is meant: click keeps such a paragraph as it stands
    rows = Run.open(run).query(sql, limit=limit)
    if as_json:
        found = [dict(zip(rows.columns, map(_plain, row), strict=True)) for row in rows.rows]
        click.echo(json.dumps(found, indent=1, default=str))
        return 0
    click.echo("\t".join(rows.columns))
    for row in rows.rows:
        click.echo("\t".join(map(str, row)))
    return 0


def _plain(value: Any) -> Any:
    """A cell as JSON can say it, which knows neither NaN nor infinity; decimal numbers are numbers."""
    if isinstance(value, Decimal):
        return float(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value
