"""`phosphene layers`, `weights` and `activations`: look at what is stored in a network, and at what one picture does."""

from __future__ import annotations

import json
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from phosphene.cli.options import everywhere
from phosphene.cli.session import session


@click.command()
@click.argument("model", required=False)
@click.option("--fields/--no-fields", default=True, show_default=True, help="Walk the network for receptive fields.")
@everywhere
def layers(model: str | None, fields: bool, **options: Any) -> int:
    """The layers of a network, in the order in which they run.

    A stride or field of "whole" sees the entire picture; "?" is not known. Names are those that --layer and --target
    take; "relu#1" is the second call of a shared module.
    """
    if model is not None:
        options["model"] = model
    run = session("layers", options)
    network, sights = run.network, run.network.fields if fields else {}
    rows = []
    for name, layer in network.layers.items():
        field = sights.get(name)
        sight = None if field is None else {"size": field.size, "stride": field.stride, "start": field.start, "whole": field.whole}
        rows.append({"name": name, "kind": layer.kind, "shape": layer.shape, "layout": layer.layout, "parameters": layer.parameters, "field": sight})
    if run.as_json:
        click.echo(json.dumps({"model": network.name, "layers": rows}, indent=1))
        return 0
    table = Table("layer", "kind", "shape", "stride", "field", "parameters", title=f"{network.name}: {len(rows)} layers", box=None)
    for row in rows:
        field = row["field"]
        stride, size = ("?", "?") if field is None else ("", "whole") if field["whole"] else (_pair(field["stride"]), _pair(field["size"]))
        table.add_row(row["name"], row["kind"], "×".join(map(str, row["shape"])), stride, size, f"{row['parameters']:,}")
    Console(soft_wrap=True, highlight=False).print(table)
    return 0


def _pair(pair: tuple[int, int]) -> str:
    return f"{pair[0]:g}" if pair[0] == pair[1] else f"{pair[0]:g}×{pair[1]:g}"
