"""Families of methods with public names, whose fields are their options."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
import re
from collections.abc import Mapping
from numbers import Integral, Real
from types import UnionType
from typing import Any, ClassVar, Literal, Self, Union, get_args, get_origin, get_type_hints

from phosphene.core.errors import OptionError, did_you_mean


@dataclasses.dataclass(frozen=True)
class Option:
    """One option of a method: a field of its dataclass.

    Args:
        name: name of the field.
        type: its annotation, resolved, without tensors, modules and pictures, which no text can name.
        default: its default, or `dataclasses.MISSING` where there is none.
        help: its line under "Args:" in the docstring of the class.
    """

    name: str
    type: Any
    default: Any
    help: str


class Named:
    """A family of frozen dataclasses, each with a public name; its fields are its options.

    A direct subclass of Named opens a family with a table of its own. A class in a family with
    `name=` is registered there; one without is abstract and cannot be instantiated. An option that is a Literal takes
    none but its values, and numbers are finite.

    >>> class Shape(Named): ...
    >>> @dataclasses.dataclass(frozen=True)
    ... class Disc(Shape, name="disc"):
    ...     '''A round thing.
    ...
    ...     Args:
    ...         radius: in pixels.
    ...     '''
    ...     radius: float = 1.0
    >>> Shape.find("disc")(radius=2.0)
    Disc(radius=2.0)
    >>> Disc(float("nan"))
    Traceback (most recent call last):
    phosphene.core.errors.OptionError: radius of disc is nan; give a finite number
    >>> Shape.find("disk")
    Traceback (most recent call last):
    phosphene.core.errors.OptionError: no shape is called 'disk'; did you mean 'disc'?
    >>> [(option.name, option.help) for option in Disc.options()]
    [('radius', 'in pixels.')]
    """

    table: ClassVar[dict[str, Any]]  # of classes of the family
    family: ClassVar[str]
    name: ClassVar[str | None] = None

    def __init_subclass__(cls, *, name: str | None = None, **rest: Any) -> None:
        super().__init_subclass__(**rest)
        if Named in cls.__bases__:
            cls.table, cls.family = {}, cls.__name__.lower()
        cls.name = name
        if name is not None:
            taken = cls.table.get(name)
            mine, its = (f"{member.__module__}.{member.__qualname__}" for member in (cls, taken or cls))
            if mine != its:  # a module that is loaded again registers its classes again
                raise OptionError(f"{mine} wants the name {name!r}, which {its} has; choose another")
            cls.table[name] = cls

    def __new__(cls, *values: Any, **named: Any) -> Self:
        if cls.name is None:
            raise OptionError(f"{cls.__qualname__} is abstract; {cls.family}s are {', '.join(sorted(cls.table))}")
        choices, types = _choices(cls), _types(cls)  # type: ignore[arg-type]  # classes are hashable
        for name, value in {**dict(zip(choices, values, strict=False)), **named}.items():
            if name not in choices:
                raise OptionError(f"{cls.name} has no option {name!r}; {did_you_mean(name, choices)}")
            if choices.get(name) and value not in choices[name]:
                raise OptionError(f"{cls.name} has no {name} {value!r}; {did_you_mean(str(value), choices[name])}")
            if not _fits(value, types[name]):
                raise OptionError(
                    f"{name} of {cls.name} is of type {type(value).__name__}; give {_spelled(types[name])}"
                )
            if isinstance(value, float) and not math.isfinite(value):
                raise OptionError(f"{name} of {cls.name} is {value}; give a finite number")
        return super().__new__(cls)

    @classmethod
    def find(cls, name: str) -> type[Self]:
        """The class registered under a name.

        Raises:
            OptionError: no member of the family has that name.
        """
        if name not in cls.table:
            raise OptionError(f"no {cls.family} is called {name!r}; {did_you_mean(name, sorted(cls.table))}")
        member: type[Self] = cls.table[name]
        return member

    @classmethod
    def make(cls, member: str | type[Self] | Self) -> Self:
        """A member of the family from its name, its class with default options, or itself.

        Raises:
            OptionError: no member of the family.
        """
        if isinstance(member, cls):
            return member
        if isinstance(member, str):
            return cls.find(member)()
        if isinstance(member, type) and issubclass(member, cls):
            return member()
        kind = member.__name__ if isinstance(member, type) else type(member).__name__
        raise OptionError(
            f"{kind} is no {cls.family}; give a name ({', '.join(sorted(cls.table))}), a class or an instance"
        )

    @classmethod
    def options(cls) -> tuple[Option, ...]:
        """The options, in order, each with its help in the docstring of the class or of the base that has it."""
        hints, helps = get_type_hints(cls), dict[str, str]()
        for base in reversed(cls.__mro__):
            helps |= arguments(base.__doc__ or "")
        return tuple(
            Option(field.name, _textual(hints[field.name]), _default(field), helps.get(field.name, ""))
            for field in dataclasses.fields(cls)  # type: ignore[arg-type]  # every member is a dataclass
            if field.init
        )

    @classmethod
    def summary(cls) -> str:
        """The first line of the docstring: what the method shows."""
        return inspect.cleandoc(cls.__doc__ or "").partition("\n")[0]

    def manifest(self) -> Mapping[str, Any]:
        """The name and the options as plain values, for a manifest."""
        values = {option.name: getattr(self, option.name) for option in self.options()}
        return {"name": self.name, **{key: _plain(value) for key, value in values.items()}}


def arguments(docstring: str) -> dict[str, str]:
    r"""The lines under "Args:" of a docstring, by argument.

    >>> arguments("Sum.\n\nArgs:\n    a: first,\n        a number.\n    b: second.\n\nRaises:\n    E: no.")
    {'a': 'first, a number.', 'b': 'second.'}
    """
    section = re.search(r"^Args:\n((?:[ ]+.*\n?|\n(?=[ ]))+)", inspect.cleandoc(docstring), re.M)
    if section is None:
        return {}
    pairs = re.findall(r"^ {4}(\w+): (.+(?:\n {8}.+)*)", section.group(1), re.M)
    return {name: re.sub(r"\s+", " ", text) for name, text in pairs}


@functools.cache
def _choices(cls: type[Named]) -> dict[str, tuple[str, ...]]:
    """The values of each field that is a Literal; none for the others."""
    try:
        hints = get_type_hints(cls)
    except NameError:  # of types that are defined in a function
        hints = {}
    fields = [field.name for field in dataclasses.fields(cls) if field.init]  # type: ignore[arg-type]
    return {name: get_args(hints.get(name)) if get_origin(hints.get(name)) is Literal else () for name in fields}


@functools.cache
def _types(cls: type[Named]) -> dict[str, tuple[Any, ...]]:
    """The members of the annotation of each field, where all are plain classes; nothing where one is anything else."""
    try:
        hints = get_type_hints(cls)
    except NameError:  # as above
        hints = {}
    plain: dict[str, tuple[Any, ...]] = {}
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        hint = hints.get(field.name)
        members = get_args(hint) if get_origin(hint) in {Union, UnionType} else (hint,)
        members = tuple(member if get_origin(member) is not tuple else _Several for member in members)
        plain[field.name] = members if all(isinstance(m, type) and get_origin(m) is None for m in members) else ()
    return plain


class _Several:
    """Stands for a tuple of any members."""


def _fits(value: Any, types: tuple[Any, ...]) -> bool:
    """Whether a value is of one of some types; numbers of other libraries count, and integers as floats."""
    if isinstance(value, str) and _Several in types and str not in types:
        return False  # a text is a sequence of letters
    if _Several in types:
        return True
    wider = {int: Integral, float: Real}
    return not types or isinstance(value, tuple(wider.get(kind, kind) for kind in types))


def _spelled(types: tuple[Any, ...]) -> str:
    names = {
        int: "an integer",
        float: "a number",
        str: "a text",
        bool: "True or False",
        type(None): "None",
        _Several: "a tuple",
    }
    return " or ".join(names.get(kind, f"a {kind.__name__}") for kind in types)


def _textual(hint: Any) -> Any:
    if get_origin(hint) not in {Union, UnionType}:
        return hint
    unnamed = "torch", "phosphene.core.images"
    return Union[tuple(m for m in get_args(hint) if not getattr(m, "__module__", "").startswith(unnamed))]  # noqa: UP007


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def _plain(value: Any) -> Any:
    """A value that JSON can hold: registered members as their manifest, tuples as lists."""
    if isinstance(value, Named):
        return value.manifest()
    if isinstance(value, tuple):
        return [_plain(member) for member in value]
    if isinstance(value, str | int | float | bool | None):
        return value
    if hasattr(value, "shape"):  # a tensor has too many numbers
        return f"{type(value).__name__.lower()} {tuple(value.shape)}"
    return str(value)
