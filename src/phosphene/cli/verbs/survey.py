"""`phosphene survey`, `verify`, `query`: make a run, check it, query it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import click
from rich import progress as bars

from phosphene.cli.options import everywhere
from phosphene.cli.session import Session, session
from phosphene.core.progress import Progress, Watch
from phosphene.survey.accumulators import Accumulator
from phosphene.survey.engine.survey import survey as run_survey
from phosphene.survey.store.run import Run
from phosphene.survey.store.seal import foreign_files


class AccumulatorNames(click.Option):
    """An option whose help lists accumulators, also those of plugins."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """The line of the help."""
        default = self.name == "only"
        names = ", ".join(name for name, cls in sorted(Accumulator.table.items()) if cls.default is default)
        instead = "instead of" if default else "besides"
        self.help = f"Accumulators to keep {instead} the default ones: {names}."
        return super().get_help_record(ctx)


def _split(_context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> list[str]:
    """The names in options such as --keep a,b --keep c.

    Raises:
        OptionError: no accumulator of that name.
    """
    names = [name.strip() for value in values for name in value.split(",") if name.strip()]
    return [str(Accumulator.find(name).name) for name in names]


@click.command()
@click.argument("images", nargs=-1, required=True)
@click.option("--layers", multiple=True, help='Layers, or patterns such as "blocks.*". [default: every block, logits]')
@click.option("--k", default=64, show_default=True, help="Strongest and weakest patches to keep of each unit.")
@click.option("--limit", type=int, help="Only so many images, a sample drawn with the seed.")
@click.option(
    "--labels",
    type=click.Choice(["auto", "none"]),
    default="auto",
    show_default=True,
    help="Those of the source: auto reads them where there are any, none ignores them.",
)
@click.option("--keep", cls=AccumulatorNames, multiple=True, metavar="NAME[,NAME]", callback=_split)
@click.option("--only", cls=AccumulatorNames, multiple=True, metavar="NAME[,NAME]", callback=_split)
@click.option("--workers", type=int, help="Threads that share the work. [default: one for each core]")
@click.option("--ray", help="Work on a Ray cluster: its address, or local.")
@click.option("--batch", type=int, help="Images in a pass. [default: 4]")
@everywhere
def survey(images: tuple[str, ...], only: list[str], **options: Any) -> int:
    """Pass every image through the network once, and keep statistics of every unit.

    IMAGES are folders, patterns, a CSV of paths and labels, tar or zip shards. -o names the folder of the run; without
    it, the first of them does, below phosphene-out/survey. It may be interrupted at any moment: the same command
    resumes.
    """
    own = {name: options.pop(name) for name in ("layers", "k", "limit", "labels", "keep", "workers", "ray", "batch")}
    command = session("survey", options)
    folder = command.folder(Path(images[0]).resolve().stem)
    chosen = {name: value for name, value in own.items() if value is not None}
    with _bar(command) as watch:
        run = run_survey(command.network, images, folder, only or None, seed=command.seed, watch=watch, **chosen)
    return _report(command, run)


@contextmanager
def _bar(command: Session) -> Iterator[Watch]:
    """A bar: images, images a second, time left, failures."""
    text, speed = bars.TextColumn("{task.description}"), bars.TextColumn("{task.fields[rate]}")
    columns = (text, bars.BarColumn(), bars.MofNCompleteColumn(), speed, bars.TimeRemainingColumn())
    with bars.Progress(*columns, console=command.console, transient=True, disable=command.quiet) as bar:
        task = bar.add_task("survey", total=None, rate="")

        def watch(progress: Progress) -> None:
            speed = bar.tasks[task].speed
            rate = f"{speed:.1f} images/s" if speed else ""
            bar.update(task, completed=progress.done, total=progress.total, description=progress.what, rate=rate)

        yield watch


def _report(command: Session, run: Run) -> int:
    """The outcome in a few lines, the failures by name, the exit code."""
    for line in run.errors:
        click.echo(f"ImageError: {line}", err=True)
    for line in run.lines():
        command.say(f"{line} → {run.folder}")
    for note in run.notes:
        command.say(f"  {note}")
    if run.images["ok"].any():
        command.say(f"  next: phosphene units {run.folder} --layer {run.layers[-1]}")
    if command.as_json:
        click.echo(json.dumps(run.record, indent=1))
    return 3 if run.errors else 0


@click.command()
@click.argument("run", type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="Print JSON on standard output.")
@click.option("--debug", is_flag=True, help="Show where an error came from.")
def verify(run: str, as_json: bool, debug: bool) -> int:  # noqa: ARG001  --debug is read before click is
    """Read every byte of a run, and name each file that is not as it was written. Exit code 3 if there is one."""
    opened = Run(run, check=False)
    damage = opened.verify(full=True)
    if as_json:
        click.echo(json.dumps({"run": run, "damage": [str(entry) for entry in damage]}, indent=1))
        return 3 if damage else 0
    for entry in damage:
        click.echo(f"RunError: {entry}", err=True)
    for name in foreign_files(opened.folder):
        click.echo(f"  {name} does not belong to the run")
    files = len(opened.record["files"])
    click.echo(f"{files - len(damage)} of {files} files of {run} are as they were written")
    return 3 if damage else 0


@click.command()
@click.argument("run", type=click.Path())
@click.argument("sql")
@click.option("--limit", default=1000, show_default=True, help="Rows to print at most.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON on standard output.")
@click.option("--debug", is_flag=True, help="Show where an error came from.")
def query(run: str, sql: str, *, limit: int, as_json: bool, debug: bool) -> int:  # noqa: ARG001
    """Query the tables of a run in SQL, read-only: images, units, patches, classes, histograms, samples, and others.

    \b
    phosphene query run/ "select layer, count(*) from units where dead group by layer"
    phosphene query run/ 'select image, row, "column" from patches where layer = $$blocks.4$$ and channel = 50'
    """  # noqa: D301  the escape is meant: click keeps such a paragraph as it stands
    table = Run(run).query(sql, limit=limit)
    if as_json:
        rows = [dict(zip(table.columns, map(_plain, row), strict=True)) for row in table.rows]
        click.echo(json.dumps(rows, indent=1, default=str))
        return 0
    click.echo("\t".join(table.columns))
    for row in table.rows:
        click.echo("\t".join(map(str, row)))
    return 0


def _plain(value: Any) -> Any:
    """A cell in JSON, which has neither NaN nor infinity; decimal numbers become floats."""
    if isinstance(value, Decimal):
        return float(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value
