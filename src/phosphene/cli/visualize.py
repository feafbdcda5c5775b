"""`phosphene visualize`: the picture that a class or a unit wants."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import click

from phosphene.cli.easel import easel
from phosphene.cli.options import build, everywhere, from_any
from phosphene.cli.session import Session, session
from phosphene.core import image
from phosphene.core.result import Cost, Manifest
from phosphene.studies.belief import Belief, believe
from phosphene.survey.store import Run
from phosphene.synthesis.ablation import ablate
from phosphene.synthesis.manner import Best, Lecture, Manner
from phosphene.synthesis.visualize import Visualization
from phosphene.synthesis.visualize import visualize as make


@click.command()
@click.argument("targets", nargs=-1, required=True)
@click.option(
    "--manner",
    type=click.Choice(sorted(Manner.table)),
    default="best",
    show_default=True,
    help="best: waves of natural colors, seen in random crops. lecture: pixels, with the regularizers of the notes.",
)
@click.option("--size", type=click.IntRange(8), help="Side of the pictures, in pixels. [default: what the target sees]")
@click.option("--seconds", type=click.FloatRange(1), help="Budget of time: chooses the steps, and the size.")
@click.option("--diverse", type=click.IntRange(2, 32), help="So many pictures of each target, pushed apart.")
@click.option(
    "--facets", type=click.IntRange(2, 32), help="So many pictures, each from another kind of image of --natural."
)
@click.option("--natural", type=click.Path(), help="A survey's run or a folder of photographs, to compare with.")
@click.option("--second", help="Another network, for a second opinion; as --model.")
@click.option("--animate", type=click.Choice(["gif", "mp4"]), help="Also a film of the steps.")
@click.option("--ablate", "sheet", is_flag=True, help="Also a sheet: the regularizers of the lecture, one at a time.")
@from_any(Best, Lecture)
@everywhere
def visualize(targets: tuple[str, ...], manner: str, **options: Any) -> int:
    """The picture that each TARGET wants most, all made in one batch.

    TARGET is a label, an index, LAYER:CHANNEL, LAYER:CHANNEL@ROW,COLUMN, or sums of them such as
    "goldfish - 0.5*tench". Writes a PNG for each, while it runs preview.png, and what the network makes of the result.
    Interrupted, the same command goes on where it was.
    """
    chosen = _manner(manner, options)
    own = {name: options.pop(name) for name in ("size", "seconds", "diverse", "facets", "natural", "second", "animate")}
    sheet = options.pop("sheet")
    run = session("visualize", options)
    folder = run.folder(targets[0] if len(targets) == 1 else "several")
    found = _make(run, list(targets), chosen, folder=folder, **own)
    written, cost = found.save(folder), found.synthesis.cost
    written += _film(folder, own["animate"])
    if sheet:
        columns = ablate(
            run.network, list(targets), steps=chosen.steps if isinstance(chosen, Lecture) else Lecture().steps,
            size=(own["size"],) * 2 if own["size"] else None, seed=run.seed,
        )  # fmt: skip
        image.save(folder / "ablation.png", columns.picture())
        written.append({"path": "ablation.png", "kind": "picture", "roughness": columns.roughness()})
        cost += sum((each.synthesis.cost for each in columns.columns.values()), Cost())
    beliefs = _believe(run, found, own["natural"], own["second"])
    manifest = Manifest(
        "visualize", run.network, options={**chosen.manifest(), **own}, target=", ".join(found.names),
        files=tuple(written), cost=cost, seed=run.seed,
        extra={"results": [each.manifest() for each in beliefs], "notes": list(found.synthesis.notes)},
    )  # fmt: skip
    manifest.save(folder)
    (folder / "preview.png").unlink(missing_ok=True)
    shutil.rmtree(folder / _STATE, ignore_errors=True)
    for each in beliefs:
        run.say(str(each))
    for note in found.synthesis.notes:
        run.say(f"  {note}")
    height, width = found.synthesis.images.shape[2:]
    run.say(f"{found.manner.name}, {len(found.synthesis.scores)} steps at {height} × {width}, {cost} → {folder}")
    return run.finish([manifest])


def _manner(name: str, options: dict[str, Any]) -> Manner:
    """The manner with those of its options that were given; takes the options of all manners out of `options`."""
    kind = Manner.find(name)
    own = {option.name for each in (Best, Lecture) for option in each.options()}
    given, names = {each: options.pop(each) for each in own}, {option.name for option in kind.options()}
    stray = sorted(each for each, value in given.items() if value is not None and each not in names)
    if stray:
        raise click.UsageError(f"--{stray[0].replace('_', '-')} is not an option of --manner {name}")
    chosen = build(kind, given)
    assert isinstance(chosen, Manner)
    return chosen


def _make(
    run: Session, targets: list[str], manner: Manner, *, folder: Path, size: int | None, seconds: float | None,
    diverse: int | None, facets: int | None, natural: str | None, animate: str | None, **_: Any,
) -> Visualization:  # fmt: skip
    starts = None
    frames = folder / _STATE / "frames" if animate else None
    steps = None if seconds else manner.steps
    with easel(run, ", ".join(targets)[:40], folder, steps=steps, frames=frames) as watch:
        return make(
            run.network,
            targets,
            manner=manner,
            size=(size, size) if size else None,
            each=diverse or 1,
            starts=starts,
            seconds=seconds,
            state=folder / _STATE,
            seed=run.seed,
            watch=watch,
        )


def _film(folder: Path, kind: str | None) -> list[dict[str, Any]]:
    """The frames as a film, the last one held for a while."""
    if kind is None:
        return []
    from phosphene.core.film import film

    paths = sorted((folder / _STATE / "frames").glob("*.png"))
    frames = (image.load(each).pixels for each in [*paths, *paths[-1:] * _HELD])
    path = film(folder / f"steps.{kind}", frames)
    return [{"path": path.name, "kind": "picture", "frames": len(paths) + _HELD}]


def _believe(run: Session, found: Visualization, natural: str | None, second: str | None) -> tuple[Belief, ...]:
    from phosphene import zoo

    source = Run.open(natural) if natural and (Path(natural) / "result.json").exists() else natural
    other = zoo.load(second, device=run.device) if second else None
    return believe(run.network, found, source=source, second=other)


_STATE = "state"
_HELD = 12  # times the last frame stands in a film
