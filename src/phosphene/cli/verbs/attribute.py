"""`phosphene attribute METHOD IMAGE…`: one command for each registered method, its options made from its fields."""

from __future__ import annotations

from typing import Any

import click

from phosphene.attribution import Attribution
from phosphene.attribution import attribute as compute
from phosphene.cli.options import build, everywhere, target
from phosphene.cli.registered import Members
from phosphene.cli.session import Stored, session
from phosphene.core.images.image import Picture
from phosphene.core.registry import Named


class Methods(Members):
    """One command for each method of attribution."""

    def registry(self) -> type[Named]:
        """The methods."""
        return Attribution

    def command_of(self, member: type[Named]) -> click.Command:
        """Takes pictures and a target."""

        @click.command()
        @click.argument("images", nargs=-1, required=True)
        @target
        @everywhere
        def run(images: tuple[str, ...], **options: Any) -> int:
            return _attribute(member, images, options)

        return run


@click.command(cls=Methods, subcommand_metavar="METHOD IMAGE... [OPTIONS]")
def attribute() -> None:
    """One map by one method: which pixels a target depends on.

    IMAGE is a file, a folder, a glob, sample:cat, or - for standard input. Writes the raw map as .npy, the map and its
    overlay as PNG, and result.json.
    """


def _attribute(method: type[Named], sources: tuple[str, ...], options: dict[str, Any]) -> int:
    target = options.pop("target")
    run = session("attribute", options)
    chosen = build(method, {**options, "seed": run.seed})
    assert isinstance(chosen, Attribution)

    def one(picture: Picture) -> Stored:
        folder = run.folder(picture.name)
        with run.progress(f"{chosen.name} for {target}"):
            heatmap = compute(run.network, picture, target, method=chosen)
        return run.save(heatmap, folder)

    return run.finish(run.for_pictures(sources, one))
