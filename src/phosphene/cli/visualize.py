"""`phosphene visualize`: the picture that a class or a unit wants."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from torch import Tensor

from phosphene.cli.options import build, everywhere, from_any
from phosphene.cli.session import Session, session
from phosphene.core import image
from phosphene.core.result import Cost, Manifest
from phosphene.synthesis.ablation import ablate
from phosphene.synthesis.visualize import Best, Lecture, Manner, Visualization
from phosphene.synthesis.visualize import visualize as make

_PREVIEW = 16  # steps between two previews


@click.command()
@click.argument("targets", nargs=-1, required=True)
@click.option(
    "--manner",
    type=click.Choice(sorted(Manner.table)),
    default="best",
    show_default=True,
    help="best: waves of natural colors, seen in random crops. lecture: pixels, with the regularizers of the notes.",
)
@click.option("--size", type=click.IntRange(8), help="Side of the pictures, in pixels. [default: the network's]")
@click.option("--ablate", "sheet", is_flag=True, help="Also a sheet: the regularizers of the lecture, one at a time.")
@from_any(Best, Lecture)
@everywhere
def visualize(targets: tuple[str, ...], manner: str, size: int | None, sheet: bool, **options: Any) -> int:
    """The picture that each TARGET wants most, all made in one batch.

    TARGET is a label, an index, LAYER:CHANNEL, LAYER:CHANNEL@ROW,COLUMN, or sums of them such as
    "goldfish - 0.5*tench". Writes a PNG for each, while it runs preview.png, and what the network makes of the result.
    """
    kind = Manner.find(manner)
    own = {option.name for each in (Best, Lecture) for option in each.options()}
    given, names = {name: options.pop(name) for name in own}, {option.name for option in kind.options()}
    stray = sorted(name for name, value in given.items() if value is not None and name not in names)
    if stray:
        raise click.UsageError(f"--{stray[0].replace('_', '-')} is not an option of --manner {manner}")
    chosen = build(kind, given)
    assert isinstance(chosen, Manner)
    run = session("visualize", options)
    folder = run.folder(targets[0] if len(targets) == 1 else "several")
    found = _make(run, list(targets), chosen, size=(size, size) if size else None, folder=folder)
    written, cost = found.save(folder), found.synthesis.cost
    if sheet:
        columns = ablate(run.network, list(targets), seed=run.seed)
        image.save(folder / "ablation.png", columns.picture())
        written.append({"path": "ablation.png", "kind": "picture", "roughness": columns.roughness()})
        cost += sum((each.synthesis.cost for each in columns.columns.values()), Cost())
    manifest = Manifest(
        "visualize", run.network, options={**chosen.manifest(), "size": size}, target=", ".join(found.names),
        files=tuple(written), cost=cost, seed=run.seed, extra={"results": _results(found)},
    )  # fmt: skip
    manifest.save(folder)
    (folder / "preview.png").unlink(missing_ok=True)
    for line in found.lines():
        run.say(line)
    run.say(f"{found.manner.name}, {len(found.synthesis.scores)} steps, {cost} → {folder}")
    return run.finish([manifest])


def _make(
    run: Session, targets: list[str], manner: Manner, *, size: tuple[int, int] | None, folder: Path
) -> Visualization:
    with run.progress(f"{', '.join(targets)[:40]}, {manner.name}", manner.steps) as tell:

        def watch(step: int, images: Tensor, scores: Tensor) -> None:
            values = ", ".join(f"{each:.3g}" for each in scores[:4].tolist())
            tell(step, manner.steps, f"objective {values}")
            if step % _PREVIEW == 0:
                image.save(folder / "preview.png", image.levels(images[0]))

        return make(run.network, targets, manner=manner, size=size, seed=run.seed, watch=watch)


def _results(found: Visualization) -> list[dict[str, Any]]:
    rows = zip(found.names, found.activations, found.ranks, found.predictions, strict=True)
    return [
        {"target": name, "activation": activation, "rank": rank, "predictions": [each._asdict() for each in best]}
        for name, activation, rank, best in rows
    ]
