"""`phosphene NAME INPUT…`: a command for a recipe that a plugin has registered, its options made from its fields."""

from __future__ import annotations

from typing import Any

import click

from phosphene.cli.options import build, everywhere, run_options, running
from phosphene.cli.preview import make
from phosphene.cli.registered import generated
from phosphene.cli.session import session
from phosphene.synthesis.loop.recipe import Recipe


def command_of(name: str) -> click.Command | None:
    """The command of a registered recipe; None where no recipe has that name.

    Args:
        name: of the recipe.
    """
    if name not in Recipe.table:
        return None
    recipe: type[Recipe[Any]] = Recipe.table[name]

    @click.command()
    @click.argument("inputs", nargs=-1, required=True)
    @running
    @everywhere
    def run(inputs: tuple[str, ...], **options: Any) -> int:
        return _make(recipe, inputs, options)

    return generated(recipe, run)


def _make(recipe: type[Recipe[Any]], inputs: tuple[str, ...], options: dict[str, Any]) -> int:
    asked = run_options(options)
    run = session(str(recipe.name), options)
    chosen = build(recipe, options)
    assert isinstance(chosen, Recipe)
    chosen.check(run.network)
    if recipe.takes == "targets":
        return run.finish([make(run, chosen, *inputs, **asked)])
    if recipe.joint:
        pictures = tuple(run.pictures(inputs))
        return run.finish([] if run.failed else [make(run, chosen, *pictures, **asked)])
    return run.finish(run.for_pictures(inputs, lambda picture: make(run, chosen, picture, **asked)))
