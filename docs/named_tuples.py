"""Named tuples document their fields under "Args:"; the site is told that these fields are the parameters."""

from __future__ import annotations

from typing import Any

import griffe


class NamedTuples(griffe.Extension):
    """Gives each class that derives from NamedTuple the `__init__` that it has, as Griffe does for dataclasses."""

    def on_class_members(self, *, cls: griffe.Class, **_: Any) -> None:
        """Add the `__init__` of one class."""
        if "NamedTuple" in map(str, cls.bases) and "__init__" not in cls.members:
            fields = [field for field in cls.attributes.values() if "instance-attribute" in field.labels]
            init = griffe.Function("__init__", parameters=griffe.Parameters(*map(parameter, fields)), returns="None")
            cls.set_member("__init__", init)


def parameter(field: griffe.Attribute) -> griffe.Parameter:
    """The parameter that sets a field."""
    kind = griffe.ParameterKind.positional_or_keyword
    return griffe.Parameter(field.name, annotation=field.annotation, kind=kind, default=field.value)
