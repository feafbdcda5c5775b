"""Options that every verb shares, and options made from the fields of a method."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Collection, Iterable
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import click
from torch import Tensor

from phosphene.core.objectives.objective import Objective
from phosphene.core.registry import Named, Option

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def everywhere(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that stand at every verb."""
    for option in reversed(_EVERYWHERE):
        command = option(command)
    return command


_EVERYWHERE: tuple[Decorator, ...] = (
    click.option(
        "--model",
        default="efficientnet-lite0",
        show_default=True,
        help="Network: a name, torchvision:NAME, timm:NAME or FILE.py:FACTORY.",
    ),
    click.option("--weights", type=click.Path(), help="File of weights for it: .safetensors, .pt or .pth; or random."),
    click.option("--device", default="cpu", show_default=True, help="Where to run: cpu, cuda, cuda:1, mps."),
    click.option("--seed", default=0, show_default=True, help="Of every random choice."),
    click.option(
        "-o",
        "--output",
        type=click.Path(),
        help="Folder for the results; of several inputs, each gets a folder in it. [default: phosphene-out/VERB/NAME]",
    ),
    click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on standard output."),
    click.option("--quiet", is_flag=True, help="No progress."),
    click.option("--debug", is_flag=True, help="Show where an error came from."),
)


def target(command: Callable[..., Any]) -> Callable[..., Any]:
    """The option that says what to explain."""
    text = 'What to explain: top, a label, an index, "tabby - tiger cat", LAYER:CHANNEL, LAYER:CHANNEL@ROW,COLUMN.'
    return click.option("--target", default="top", show_default=True, help=text)(command)


def precision(command: Callable[..., Any]) -> Callable[..., Any]:
    """The option that says how exactly the network multiplies."""
    text = "Of the network's multiplications: bfloat16 may be faster where the machine has it."
    choices = click.Choice(["float32", "bfloat16"])
    return click.option("--precision", type=choices, default="float32", show_default=True, help=text)(command)


def running(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of every recipe, which its runner takes; see `run_options`."""
    command = precision(command)
    command = click.option(
        "--animate", type=click.Choice(["gif", "mp4"]), help="Also a film of the steps, or the kind of a film."
    )(command)
    text = "Budget of time for each result: chooses the steps, then the size."
    return click.option("--seconds", type=click.FloatRange(1), help=text)(command)


def run_options(options: dict[str, Any]) -> dict[str, Any]:
    """The options of `running`, taken out of those given."""
    return {name: options.pop(name) for name in ("seconds", "precision", "animate")}


class Size(click.ParamType[int | tuple[int, int]]):
    """A size in pixels: one number, or height and width as in 64x128."""

    name = "pixels"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | tuple[int, int]:
        """The number, or both."""
        match = re.fullmatch(r"(\d+)(?:[x×](\d+))?", value) if isinstance(value, str) else None
        if match is None:
            self.fail(f"{value!r} is no size; write one number for squares, or HEIGHTxWIDTH", param, ctx)
        size = int(match[1]), int(match[2] or match[1])
        if min(size) < _LEAST:
            self.fail(f"{value} is too small; pictures have at least {_LEAST} pixels a side", param, ctx)
        return size if match[2] else size[0]


def from_fields(method: type[Named]) -> list[click.Option]:
    """The options of a method: one for each field of its dataclass, with the help of its docstring."""
    return [_option(option) for option in method.options() if option.name != "seed"]


def from_any(*methods: type[Named], skip: Collection[str] = ()) -> Decorator:
    """The options of several methods at once, of which one will be chosen; what is not given stays None.

    Args:
        methods: whose options.
        skip: names of options that the command line does not have.
    """

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        options = {option.name: option for method in reversed(methods) for option in reversed(method.options())}
        for option in options.values():
            if option.name not in skip:
                text = _help(option) + _defaults(option, methods)
                several = get_origin(option.type) is tuple and get_args(option.type)[-1] is Ellipsis
                more: dict[str, Any] = {"multiple": True, "callback": _joined} if several else {"default": None}
                command = click.option(_flag(option), option.name, type=_kind(option), help=text, **more)(command)
        return command

    return decorate


def chosen(method: type[Named], values: dict[str, Any], others: Iterable[type[Named]], flag: str) -> Named:
    """A method of several that share their options.

    Args:
        method: which.
        values: of the options of all; those are taken out of it.
        others: the others.
        flag: that chose the method, for messages.

    Raises:
        UsageError: a value is given for an option that the method does not have.
    """
    names = {option.name for other in (method, *others) for option in other.options()} & values.keys()
    given = {name: value for name in names if (value := values.pop(name)) is not None}
    stray = sorted(given.keys() - {option.name for option in method.options()})
    if stray:
        raise click.UsageError(f"--{stray[0].replace('_', '-')} is not an option of {flag}")
    return build(method, given)


def build(method: type[Named], values: dict[str, Any]) -> Named:
    """A method from the values of its options; the fields that were not given keep their defaults."""
    known = {option.name for option in method.options()}
    return method(**{name: value for name, value in values.items() if name in known and value is not None})


def _kind(option: Option) -> Any:
    return bool if option.type is bool else Size() if option.name == "size" else _Value(option.type)


def _joined(_: click.Context, __: click.Parameter, values: tuple[tuple[Any, ...], ...]) -> tuple[Any, ...] | None:
    """The values of an option that may be given several times, each with several values; None without any."""
    return tuple(value for several in values for value in several) or None


def _option(option: Option) -> click.Option:
    has_default = option.default is not dataclasses.MISSING and option.default is not None
    return click.Option(
        [_flag(option), option.name],
        type=_Value(option.type) if option.type is not bool else bool,
        default=option.default if has_default else None,
        show_default=has_default,
        required=option.default is dataclasses.MISSING,
        help=_help(option),
    )


def _defaults(option: Option, methods: tuple[type[Named], ...]) -> str:
    """What happens without an option: of each method, where they differ."""
    defaults = {
        str(method.name): own.default for method in methods for own in method.options() if own.name == option.name
    }
    if all(default in {None, (), dataclasses.MISSING} for default in defaults.values()):
        return ""
    texts = [f"{name} {_plain(default)}" for name, default in defaults.items()]
    return f" [default: {', '.join(texts) if len({*defaults.values()}) > 1 else _plain(option.default)}]"


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _flag(option: Option) -> str:
    flag = option.name.replace("_", "-")
    return f"--{flag}/--no-{flag}" if option.type is bool else f"--{flag}"


def _help(option: Option) -> str:
    return option.help[:1].upper() + option.help[1:]


class _Value(click.ParamType[Any]):
    """A value of any type that a field may have: the first member of a union that takes the text."""

    def __init__(self, annotation: Any) -> None:
        self.annotation = annotation
        self.name = " | ".join(_names(annotation))

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:  # noqa: ARG002
        """The values as they are written; kinds of values in capitals."""
        literal = any(get_origin(member) is Literal for member in _members(self.annotation))
        return self.name if literal else self.name.upper()

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The value that a text stands for."""
        if not isinstance(value, str):
            return value
        for member in _members(self.annotation):
            try:
                return _parse(member, value)
            except ValueError:
                continue
        self.fail(f"{value!r} is not one of: {', '.join(_names(self.annotation))}", param, ctx)
        return None


def _members(annotation: Any) -> tuple[Any, ...]:
    """The types that a text can stand for."""
    union = get_origin(annotation) in {Union, UnionType}
    members = get_args(annotation) if union else (annotation,)
    return tuple(member for member in members if not (isinstance(member, type) and issubclass(member, _NO_TEXT)))


def _names(annotation: Any) -> list[str]:
    names: list[str] = []
    for member in _members(annotation):
        names += map(str, get_args(member)) if get_origin(member) is Literal else [_noun(member)]
    return names


def _noun(member: Any) -> str:
    if get_origin(member) is tuple:
        return ",".join("…" if part is Ellipsis else _noun(part) for part in get_args(member))
    return {int: "integer", float: "number", str: "text"}.get(member, getattr(member, "__name__", str(member)))


def _parse(member: Any, text: str) -> Any:
    if get_origin(member) is Literal:
        if text not in get_args(member):
            raise ValueError(text)
        return text
    if get_origin(member) is tuple:
        kinds, parts = get_args(member), text.split(",")
        kinds = kinds[:1] * len(parts) if kinds[-1] is Ellipsis else kinds
        return tuple(_parse(kind, part) for kind, part in zip(kinds, parts, strict=True))
    return member(text)


_NO_TEXT = (Objective, Tensor, type(None))
_LEAST = 8  # pixels
