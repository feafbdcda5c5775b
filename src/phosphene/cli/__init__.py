"""The command line: `phosphene VERB …`. Verbs are imported when they are asked for, so that help comes at once."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

import click

VERBS = {
    "explain": ("explain", "Predictions, every map, scores and one offline report for each picture."),
    "attribute": ("attribute", "One map by one method: which pixels matter to a target."),
    "layers": ("look", "The layers of a network: kind, shape, stride, receptive field, parameters."),
    "weights": ("look", "The filters of a layer as pictures, their norms, and near-duplicates."),
    "activations": ("look", "Every channel of a layer, for one picture."),
    "survey": ("survey", "Pass every image through the network once; keep statistics of every unit. Resumable."),
    "verify": ("survey", "Read every byte of a run, and name what is damaged."),
    "query": ("survey", "Answer a SQL query over the tables of a run, read-only."),
    "visualize": ("visualize", "Pictures that maximize classes, channels and neurons."),
    "dream": ("dream", "DeepDream: features that a network has in pictures, amplified; also as a zooming film."),
    "invert": ("invert", "Feature inversion: pictures with the same activations in a layer as a given one."),
    "evaluate": (
        "evaluate",
        "How reliable each method is on pictures of your own: deletion, insertion, pointing, sanity.",
    ),
    "unit": ("units", "One unit of a survey on one page: patches, projections, histogram, classes."),
    "units": ("units", "The units of a layer of a survey: a table and a wall of patches."),
    "classes": ("units", "The units of a survey that contribute most to a class."),
    "plate": ("plate", "The strongest activations of some units, projected to pixels, beside their patches."),
    "neighbors": ("map", "The images of a survey nearest to a picture, by features and by pixels."),
    "map": ("map", "A map of the images of a survey: PCA, t-SNE or UMAP, with thumbnails."),
    "study": ("study", "One figure of a paper, made from pictures of your own."),
    "doctor": ("doctor", "Versions, devices, decoders and disk that phosphene has here."),
}


class Verbs(click.Group):
    """A group whose members are imported only when they run."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """The verbs, the main one first; then the recipes of plugins."""
        return [*VERBS, *_recipes_of_plugins()]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a verb."""
        if cmd_name in _recipes_of_plugins():
            from phosphene.cli.verbs.recipe import command_of

            return command_of(cmd_name)
        if cmd_name not in VERBS:
            from phosphene.cli.verbs.recipe import command_of

            if (recipe := command_of(cmd_name)) is not None:
                return recipe
            ctx.fail(f"there is no verb {cmd_name!r}; {_nearest(cmd_name)}")
        module = importlib.import_module(f"phosphene.cli.verbs.{VERBS[cmd_name][0]}")
        command = getattr(module, cmd_name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """One line a verb, without importing any."""
        with formatter.section("Verbs"):
            lines = [(verb, line) for verb, (_, line) in VERBS.items()]
            formatter.write_dl([*lines, *((name, recipe.summary()) for name, recipe in _recipes_of_plugins().items())])


_PLUGIN = "Python file with methods, accumulators, recipes or studies of your own; anywhere in the line, repeatable."


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="phosphene", message="phosphene %(version)s")
@click.option("--plugin", multiple=True, metavar="FILE.py", expose_value=False, help=_PLUGIN)
def phosphene() -> None:
    """See what a vision network sees, and make images from it.

    \b
    phosphene explain cat.jpg                    predictions, every map, one report
    phosphene attribute occlusion cat.jpg --target "tabby - tiger cat"
    phosphene layers torchvision:resnet50 --weights resnet50.safetensors

    Results go to phosphene-out/VERB/NAME/ unless -o says otherwise; progress goes to standard error.
    """  # noqa: D301  the escape is meant: click keeps such a paragraph as it stands


def main(args: list[str] | None = None) -> None:
    """Run the command line and leave with its exit code: 0 done, 2 usage, 3 some inputs failed, 75 try again later."""
    from phosphene.cli.memory import keep_memory
    from phosphene.core import user_code
    from phosphene.core.errors import PhospheneError

    # Threads that spin while they wait slow everything sixfold as soon as another program wants the cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    keep_memory()
    args, plugins = _without_plugins(sys.argv[1:] if args is None else args)
    debug = "--debug" in args
    try:
        for path in plugins:
            user_code.plugin(path)
        code = phosphene.main(args, prog_name="phosphene", standalone_mode=False)
    except PhospheneError as error:
        if debug:
            raise
        click.echo(f"{type(error).__name__}: {error}", err=True)
        code = error.exit_code
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted; what is finished is kept", err=True)
        code = 130
    except BrokenPipeError:
        # The reader of a pipe has gone: point standard output elsewhere, or Python complains at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except Exception as error:
        if debug:
            raise
        click.echo(f"unexpected {type(error).__name__}: {error}. --debug shows where; please report it", err=True)
        code = 70
    sys.exit(code if isinstance(code, int) else 0)


def _recipes_of_plugins() -> dict[str, Any]:
    """The recipes that plugins have registered; empty, at once, where no plugin has imported the registry."""
    module = sys.modules.get("phosphene.synthesis.loop.recipe")
    table = {} if module is None else module.Recipe.table
    return {name: recipe for name, recipe in table.items() if not recipe.__module__.startswith("phosphene.")}


def _without_plugins(args: list[str]) -> tuple[list[str], list[str]]:
    """The arguments without --plugin, which must run before the commands are made; and its files."""
    rest: list[str] = []
    plugins: list[str] = []
    values = iter(args)
    for value in values:
        option, equals, path = value.partition("=")
        if value == "--":
            rest += [value, *values]
        elif option != "--plugin":
            rest.append(value)
        elif equals or (path := next(values, "")):
            plugins.append(path)
        else:
            rest.append(value)  # click says that it wants a value
    return rest, plugins


def _nearest(name: str) -> str:
    from phosphene.core.errors import did_you_mean

    return did_you_mean(name, VERBS)
