"""`phosphene visualize`: pictures that maximize classes and units."""

from __future__ import annotations

from typing import Any

import click

from phosphene import zoo
from phosphene.cli.options import chosen, everywhere, from_any, run_options, running
from phosphene.cli.preview import preview
from phosphene.cli.session import session
from phosphene.core.folder import OutputFolder
from phosphene.studies.examine import examine
from phosphene.synthesis.recipes.visualize import Visualize
from phosphene.synthesis.settings.preset import Preset

PRESETS = tuple(preset for _, preset in sorted(Preset.table.items()))


@click.command()
@click.argument("targets", nargs=-1, required=True)
@click.option(
    "--preset",
    type=click.Choice(sorted(Preset.table)),
    default="best",
    show_default=True,
    help="; ".join(f"{preset.name}: {preset.summary().rstrip('.')}" for preset in PRESETS),
)
@click.option(
    "--facets", type=click.IntRange(2, 32), help="So many pictures, each from another kind of image of --natural."
)
@click.option(
    "--natural",
    type=click.Path(),
    help="A survey's run or a folder of photographs, to compare with. [default: the six samples]",
)
@click.option("--second", help="Another network, for a second opinion; as --model.")
@click.option("--ablate", is_flag=True, help="Also a sheet: the regularizers of the preset lecture, one at a time.")
@running
@from_any(Visualize, skip=("preset", "starts"))
@from_any(*PRESETS)
@everywhere
def visualize(targets: tuple[str, ...], preset: str, **options: Any) -> int:
    """Pictures that maximize TARGETS; classes, channels and neurons in a batch each.

    TARGET is a label, an index, LAYER:CHANNEL, LAYER:CHANNEL@ROW,COLUMN, or sums of them such as
    "goldfish - 0.5*tench". Writes a PNG for each, while it runs preview.png, and what the network makes of the result.
    Interrupted, the same command goes on where it was.
    """
    asked = {**run_options(options), **{name: options.pop(name) for name in ("facets", "natural", "ablate")}}
    settings = chosen(Preset.find(preset), options, PRESETS, f"--preset {preset}")
    recipe = chosen(Visualize, options, (), "visualize")
    assert isinstance(recipe, Visualize)
    assert isinstance(settings, Preset)
    second = options.pop("second")
    run = session("visualize", options)
    other = zoo.load(second, device=run.device) if second else None
    folder = run.folder(targets[0] if len(targets) == 1 else "several")
    output = OutputFolder(folder, run.verb)
    with preview(run, ", ".join(targets)[:40], output) as watch:
        result = examine(
            run.network,
            targets,
            preset=settings,
            recipe=recipe,
            second=other,
            state=output.state,
            seed=run.seed,
            watch=watch,
            **asked,
        )
    return run.finish([run.save(result, folder)])
