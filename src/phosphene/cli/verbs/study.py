"""`phosphene study NAME IMAGE…`: one command for each registered study, its options made from its fields."""

from __future__ import annotations

from typing import Any

import click

from phosphene import studies
from phosphene.cli.options import build, everywhere
from phosphene.cli.registered import Members
from phosphene.cli.session import session
from phosphene.core.registry import Named
from phosphene.report import report
from phosphene.studies.study import Study


class Studies(Members):
    """One command for each registered study."""

    def registry(self) -> type[Named]:
        """The studies, once every file of them is imported."""
        studies.registered()
        return Study

    def command_of(self, member: type[Named]) -> click.Command:
        """Takes pictures."""

        @click.command()
        @click.argument("images", nargs=-1, required=True)
        @everywhere
        def run(images: tuple[str, ...], **options: Any) -> int:
            return _study(member, images, options)

        return run


@click.command(cls=Studies, subcommand_metavar="NAME IMAGE... [OPTIONS]")
def study() -> None:
    """One figure of a paper, made from pictures of your own.

    IMAGE is a file, a folder, a glob, sample:cat, or - for standard input; all of them make one result. Writes a page,
    the pictures and numbers of the study, and result.json.
    """


def _study(member: type[Named], sources: tuple[str, ...], options: dict[str, Any]) -> int:
    run = session("study", options)
    chosen = build(member, options)
    assert isinstance(chosen, Study)
    folder = run.joint_folder(str(chosen.name))
    pictures = list(run.pictures(sources))
    if not pictures:
        return run.finish([])
    with run.progress(f"{chosen.name} of {len(pictures)} pictures") as watch:
        result = chosen.study(run.network, pictures, seed=run.seed, watch=watch)
    return run.finish([run.save(report(result), folder)])
