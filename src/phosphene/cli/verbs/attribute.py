"""`phosphene attribute METHOD IMAGE…`: one command for each registered method, its options made from its fields."""

from __future__ import annotations

import inspect
import re
from typing import Any

import click

from phosphene.attribution import Attribution, attribute_all
from phosphene.cli.options import build, everywhere, from_fields, target
from phosphene.cli.session import Session, session
from phosphene.core.errors import PhospheneError
from phosphene.core.images.image import Picture
from phosphene.core.objectives.grammar import resolve
from phosphene.core.result import Cost, Manifest


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
        help_text = "\n\n".join(f"\b\n{each}" for each in paragraphs if not each.startswith("Args:"))

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
    """One map by one method: which pixels matter to a target.

    IMAGE is a file, a folder, a glob, sample:cat, or - for standard input. Writes the raw map as .npy, the map and its
    overlay as PNG, and result.json.
    """


def _attribute(method: type[Attribution], sources: tuple[str, ...], options: dict[str, Any]) -> int:
    what = options.pop("target")
    run = session("attribute", options)
    chosen = build(method, {**options, "seed": run.seed})
    assert isinstance(chosen, Attribution)
    manifests = []
    for picture in run.pictures(sources):
        try:
            manifests.append(_one(run, chosen, picture, what))
        except PhospheneError as error:
            run.fail(error)
    return run.finish(manifests)


def _one(run: Session, method: Attribution, picture: Picture, what: str) -> Manifest:
    network = run.network
    images, _ = network.prepare(picture)
    target = resolve(what, network, images)
    cost = method.cost(network, images) + Cost(forwards=1)
    with run.progress(f"{method.name} for {target}: {cost}"):
        found = attribute_all(network, images, [target], [method])[0]
    folder = run.folder(picture.name)
    manifest = Manifest(
        "attribute",
        network,
        (picture,),
        options=method.manifest(),
        target=str(target),
        predictions=network.predict(images)[0],
        files=tuple(found.save(folder)),
        cost=found.cost + Cost(forwards=1),
        seed=run.seed,
        extra={"notes": list(found.notes)},
    )
    manifest.save(folder)
    run.say(
        f"{picture.name}: {method.name} for {target} ({found.scores.item():.2f} {target.unit}), {found.cost} → {folder}"
    )
    for note in found.notes:
        run.say(f"  {note}")
    return manifest
