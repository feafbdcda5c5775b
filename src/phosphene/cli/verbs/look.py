"""`phosphene layers`, `weights` and `activations`: the layers, the kernels, and the activations for one picture."""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import Any

import click
from rich.console import Console
from rich.table import Column, Table

from phosphene.cli.options import everywhere
from phosphene.cli.session import session
from phosphene.core.errors import PhospheneError
from phosphene.core.networks.anatomy import spread_layers
from phosphene.core.networks.layers import Layer, ReceptiveField
from phosphene.weights.activations import activations_all
from phosphene.weights.filters import filters


@click.command()
@click.argument("named", metavar="[MODEL]", required=False)
@click.option("--fields/--no-fields", default=True, show_default=True, help="Walk the network for receptive fields.")
@everywhere
def layers(named: str | None, fields: bool, **options: Any) -> int:
    """The layers of a network, in the order in which they run.

    A stride or field of "whole" covers the entire picture; "?" is not known. Names are those that --layer and --target
    take; "relu#1" is the second call of a shared module.
    """
    if named is not None:
        options["model"] = named
    run = session("layers", options)
    network, receptive_fields = run.network, run.network.receptive_fields if fields else {}
    if run.as_json:
        rows = [_row(layer, receptive_fields.get(name)) for name, layer in network.layers.items()]
        click.echo(json.dumps({"model": network.name, "layers": rows}, indent=1))
        return 0
    head = (Column("layer", overflow="fold"), "kind", "shape", "stride", "field", "parameters")
    table = Table(*head, title=f"{network.name}: {len(network.layers)} layers", box=None)
    for name, layer in network.layers.items():
        shape = "×".join(map(str, layer.shape))
        table.add_row(name, layer.kind, shape, *_spelled(receptive_fields.get(name)), f"{layer.parameters:,}")
    # Where no terminal sets the width, as in a pipe, no name is cut.
    Console(width=None if sys.stdout.isatty() else 160, highlight=False).print(table)
    return 0


def _row(layer: Layer, field: ReceptiveField | None) -> dict[str, Any]:
    values = field and {"size": field.size, "stride": field.stride, "start": field.start, "whole": field.whole}
    return {**dataclasses.asdict(layer), "field": values}


def _spelled(field: ReceptiveField | None) -> tuple[str, str]:
    """Stride and size of a receptive field."""
    if field is None:
        return "?", "?"
    return ("", "whole") if field.whole else (_pair(field.stride), _pair(field.size))


def _pair(pair: tuple[int, int]) -> str:
    return f"{pair[0]:g}" if pair[0] == pair[1] else f"{pair[0]:g}×{pair[1]:g}"


@click.command()
@click.argument("named", metavar="[MODEL]", required=False)
@click.option("--layer", help="Convolution to show; the first by default.")
@click.option(
    "--scaling",
    type=click.Choice(["per-kernel", "all"]),
    default="per-kernel",
    show_default=True,
    help="Whether each kernel or all of them reach from black to white.",
)
@click.option("--columns", type=int, help="Of the grid.")
@everywhere
def weights(named: str | None, layer: str | None, scaling: Any, columns: int | None, **options: Any) -> int:
    """The filters of a layer as pictures, their norms, and near-duplicates.

    The kernels of the first layer are colors; those of deeper ones are grey slices, one for each input channel.
    """
    if named is not None:
        options["model"] = named
    # --weights is the file of weights here as everywhere.
    run = session("weights", options)
    result = filters(run.network, layer, scaling=scaling, columns=columns)
    return run.finish([run.save(result, run.folder(f"{run.network.name} {result.layer}"))])


@click.command()
@click.argument("images", nargs=-1, required=True)
@click.option("--layer", "layers", multiple=True, help="Layer to show; may be given several times. [default: three]")
@click.option("--top", type=int, help="Channels to show, strongest first; all by default.")
@click.option(
    "--sort",
    type=click.Choice(["max", "mean", "index"]),
    default="max",
    show_default=True,
    help="What channels are ordered by.",
)
@click.option(
    "--scaling",
    type=click.Choice(["shared", "per-channel"]),
    default="shared",
    show_default=True,
    help="Whether white is the strongest of all channels or of each.",
)
@click.option("--overlays", type=int, default=3, show_default=True, help="Strongest channels to lay over the image.")
@everywhere
def activations(images: tuple[str, ...], layers: tuple[str, ...], **options: Any) -> int:
    """Every channel of a layer as a grey picture, brighter where it responds more, for one picture."""
    how = {name: options.pop(name) for name in ("top", "sort", "scaling", "overlays")}
    run = session("activations", options)
    chosen, stored = layers or spread_layers(run.network), []
    for picture in run.pictures(images):
        try:
            folder = run.folder(picture.name)
            stored.append(run.save(activations_all(run.network, picture, chosen, **how), folder))
        except PhospheneError as error:
            run.fail(error)
    return run.finish(stored)
