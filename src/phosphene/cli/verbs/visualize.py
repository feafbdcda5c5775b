"""`phosphene visualize`: the picture that a class or a unit wants."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

import click

from phosphene import zoo
from phosphene.cli.options import Size, build, everywhere, from_any, precision
from phosphene.cli.preview import STATE, easel, shown, signed
from phosphene.cli.session import Session, session
from phosphene.core.images import image
from phosphene.core.images.image import Uint8Image
from phosphene.core.images.samples import SAMPLES, sample
from phosphene.core.inputs import bind_targets
from phosphene.core.networks.network import Images, Network
from phosphene.core.objectives.grammar import parse
from phosphene.core.result import Cost, Manifest
from phosphene.studies.evidence.photographs import Photographs, PhotographSource
from phosphene.studies.evidence.reference_levels import check_classes
from phosphene.studies.evidence.verdict import verdicts
from phosphene.studies.facets import facets
from phosphene.survey.store.run import Run
from phosphene.synthesis.loop.state import fingerprint
from phosphene.synthesis.recipes.ablation import ablate
from phosphene.synthesis.recipes.groups import kinds
from phosphene.synthesis.recipes.preset import Best, Lecture, Manner
from phosphene.synthesis.recipes.visualize import Visualization
from phosphene.synthesis.recipes.visualize import visualize as make


@click.command()
@click.argument("targets", nargs=-1, required=True)
@click.option(
    "--manner",
    type=click.Choice(sorted(Manner.table)),
    default="best",
    show_default=True,
    help="best: waves of natural colors, seen in random crops. lecture: pixels, with the regularizers of the notes.",
)
@click.option("--size", type=Size(), help="Side of the pictures, or HEIGHTxWIDTH. [default: what the target sees]")
@click.option(
    "--seconds",
    type=click.FloatRange(1),
    help="Budget of time: chooses the steps, and the size; what else is asked for comes on top.",
)
@click.option("--diverse", type=click.IntRange(2, 32), help="So many pictures of each target, pushed apart.")
@click.option(
    "--facets", type=click.IntRange(2, 32), help="So many pictures, each from another kind of image of --natural."
)
@click.option(
    "--natural",
    type=click.Path(),
    help="A survey's run or a folder of photographs, to compare with. [default: the six samples]",
)
@click.option("--second", help="Another network, for a second opinion; as --model.")
@click.option("--animate", type=click.Choice(["gif", "mp4"]), help="Also a film of the steps.")
@precision
@click.option(
    "--ablate",
    is_flag=True,
    help="Also a sheet: the regularizers of the lecture, one at a time; 200 steps each, or as the lecture is told.",
)
@from_any(Best, Lecture)
@everywhere
def visualize(targets: tuple[str, ...], manner: str, **options: Any) -> int:
    """The picture that each TARGET wants most; classes, channels and neurons in a batch each.

    TARGET is a label, an index, LAYER:CHANNEL, LAYER:CHANNEL@ROW,COLUMN, or sums of them such as
    "goldfish - 0.5*tench". Writes a PNG for each, while it runs preview.png, and what the network makes of the result.
    Interrupted, the same command goes on where it was.
    """
    chosen, own = _manner(manner, options), _own(targets, options)
    run = session("visualize", options)
    source, second = _witnesses(run, own["natural"], own["second"])
    folder, apart = run.folder(targets[0] if len(targets) == 1 else "several"), None
    if own["facets"]:
        apart = facets(source, run.network, parse(targets[0], run.network), own["facets"], seed=run.seed)
    plan = (targets, chosen, own, run.seed, run.model, run.weights)
    frames = folder / STATE / fingerprint(plan)[:16] if own["animate"] else None
    starts = apart.starts if apart else None
    found = _make(run, list(targets), chosen, own, folder=folder, frames=frames, starts=starts)
    written, cost = found.save(folder), found.synthesis.cost
    if frames is not None:
        written.append(_film(folder, frames, own["animate"], shown(found.pictures())))
    if own["ablate"]:
        lecture = chosen if isinstance(chosen, Lecture) else Lecture()
        more, spent = _sheet(run, list(targets), lecture, own["size"], folder=folder)
        written, cost = [*written, more], cost + spent
    beliefs = verdicts(run.network, found, source=source, second=second)
    results, notes = [each.manifest() for each in beliefs], list(found.synthesis.notes)
    notes[:0] = sorted(
        {f"--natural: {each.reference.note}" for each in beliefs if each.reference and each.reference.note}
    )
    if apart:
        image.save(folder / "facets.png", apart.picture())
        written.append({"path": "facets.png", "kind": "picture"})
        results = [{**each, "facet": start.label} for each, start in zip(results, apart.facets, strict=True)]
        notes[:0] = apart.notes
    manifest = Manifest(
        "visualize", run.network, options={**chosen.manifest(), **own}, target=", ".join(found.names),
        files=tuple(written), cost=cost, seed=run.seed,
        extra={"results": results, "notes": notes},
    )  # fmt: skip
    for each in beliefs:
        run.say(str(each))
    signed(run, manifest, folder)
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
    idle = [each for each in _IDLE.get(str(given["canvas"]), ()) if given[each] is not None]
    if idle:
        raise click.UsageError(f"--{idle[0]} does nothing with --canvas {given['canvas']}; leave one of both out")
    chosen = build(kind, given)
    assert isinstance(chosen, Manner)
    return chosen


def _own(targets: tuple[str, ...], options: dict[str, Any]) -> dict[str, Any]:
    """The options of the command itself, taken out of `options`."""
    own = {name: options.pop(name) for name in _OWN}
    if own["facets"] and own["natural"] is None:
        raise click.UsageError("--facets tells kinds of images apart, and has none; give --natural too")
    if own["facets"] and (len(targets) > 1 or own["diverse"]):
        raise click.UsageError(f"--facets is for one target, without --diverse; found {len(targets)} targets")
    return own


def _witnesses(run: Session, natural: str | None, second: str | None) -> tuple[Run | PhotographSource, Network | None]:
    """What pictures will be held against, opened before the long work: a survey or photographs, another network."""
    source: Run | PhotographSource = natural or [str(sample(name)) for name in SAMPLES]
    if natural is not None and (Path(natural) / "result.json").exists():
        source = Run(natural)
        source.check_network(run.network)
    elif natural is not None:
        Photographs.of(natural, 1)  # an error now, if there are none
    other = zoo.load(second, device=run.device) if second else None
    if other is not None:
        check_classes(other, run.network)
    return source, other


def _make(
    run: Session, targets: list[str], manner: Manner, own: dict[str, Any], *, folder: Path, frames: Path | None,
    starts: Images | None,
) -> Visualization:  # fmt: skip
    several = kinds(bind_targets(run.network, targets), manner)  # one after the other
    steps = None if own["seconds"] else manner.steps * len(several)
    with easel(run, ", ".join(targets)[:40], folder, steps=steps, frames=frames) as watch:
        return make(
            run.network,
            targets,
            manner=manner,
            size=own["size"],
            each=own["diverse"] or 1,
            starts=starts,
            seconds=own["seconds"],
            precision=own["precision"],
            state=folder / STATE,
            seed=run.seed,
            watch=watch,
        )


def _sheet(
    run: Session, targets: list[str], manner: Lecture, size: tuple[int, int] | None, *, folder: Path
) -> tuple[dict[str, Any], Cost]:
    """The ablation sheet, made as the pictures are where they are in the manner of the lecture."""
    state = folder / STATE / "ablation"
    with easel(run, "ablation", folder, steps=manner.steps) as watch:
        columns = ablate(run.network, targets, manner=manner, size=size, state=state, seed=run.seed, watch=watch)
    image.save(folder / "ablation.png", columns.picture())
    cost = sum((each.synthesis.cost for each in columns.columns.values()), Cost())
    return {"path": "ablation.png", "kind": "picture", "roughness": columns.roughness()}, cost


def _film(folder: Path, frames: Path, kind: str, last: Uint8Image) -> dict[str, Any]:
    """The frames that were kept of the steps, and the last one, held for a while, as a film."""
    from phosphene.core.images.film import film

    paths = sorted(frames.glob("*.png"))
    path = film(folder / f"steps.{kind}", chain((image.load(each).pixels for each in paths), [last] * _HELD))
    return {"path": path.name, "kind": "picture", "frames": len(paths) + _HELD}


_IDLE = {"maco": ("power", "l2", "tv"), "pyramid": ("power",)}  # what a canvas makes no use of
_HELD = 12  # times the last frame stands in a film
_OWN = ("size", "seconds", "diverse", "facets", "natural", "second", "precision", "animate", "ablate")
