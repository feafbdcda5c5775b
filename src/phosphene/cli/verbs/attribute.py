"""`phosphene attribute METHOD IMAGE…`: one command for each registered method, its options made from its fields."""

from __future__ import annotations

import inspect
import re
from typing import Any

import click

from phosphene.attribution import Attribution
from phosphene.attribution import attribute as compute
from phosphene.cli.options import build, everywhere, from_fields, target
from phosphene.cli.session import session
from phosphene.core.errors import PhospheneError


class Methods(click.Group):
    """One command for each method of the registry."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Names of the methods."""
        return sorted(Attribution.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:  # noqa: ARG002
        """The command of a method."""
        method = Attribution.find(cmd_name)
        # Paragraphs as they stand; the options and their help are listed below, the example is for Python.
        paragraphs = re.split(r"\n\n", inspect.cleandoc(method.__doc__ or "").partition(">>>")[0].strip())
        help_text = "\n\n".join(f"\b\n{text}" for text in paragraphs if not text.startswith("Args:"))

        @click.argument("images", nargs=-1, required=True)
        @target
        @everywhere
        def run(images: tuple[str, ...], **options: Any) -> int:
            return _attribute(method, images, options)

        command = click.command(cmd_name, help=help_text, short_help=method.summary())(run)
        command.params[1:1] = from_fields(method)
        return command


@click.command(cls=Methods, subcommand_metavar="METHOD IMAGE... [OPTIONS]")
def attribute() -> None:
    """One map by one method: which pixels a target depends on.

    IMAGE is a file, a folder, a glob, sample:cat, or - for standard input. Writes the raw map as .npy, the map and its
    overlay as PNG, and result.json.
    """


def _attribute(method: type[Attribution], sources: tuple[str, ...], options: dict[str, Any]) -> int:
    target = options.pop("target")
    run = session("attribute", options)
    chosen = build(method, {**options, "seed": run.seed})
    assert isinstance(chosen, Attribution)
    stored = []
    for picture in run.pictures(sources):
        try:
            folder = run.folder(picture.name)
            with run.progress(f"{chosen.name} for {target}"):
                heatmap = compute(run.network, picture, target, method=chosen)
            stored.append(run.save(heatmap, folder))
        except PhospheneError as error:
            run.fail(error)
    return run.finish(stored)
