"""Errors of the user: each states what was given, what is allowed, and the next step."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class PhospheneError(Exception):
    """Any error that a user can correct. Its text is one line that ends with the next step.

    >>> issubclass(LayerError, PhospheneError)
    True
    """

    exit_code = 2


class ImageError(PhospheneError):
    """A picture, or a tensor of pixels, that cannot be used."""


class CheckpointError(PhospheneError):
    """A file of weights that cannot be loaded, or is not safe to load."""


class NetworkError(PhospheneError):
    """A network that cannot be found, built or run."""


class LayerError(PhospheneError):
    """A layer that does not exist, is not reached by the pass, or has the wrong shape."""


class TargetError(PhospheneError):
    """A target that no objective of this network matches."""


class RuleError(PhospheneError):
    """A backward rule that would change nothing in this network."""


class OptionError(PhospheneError):
    """A method that does not exist, or an option with a value it cannot take."""


class RunError(PhospheneError):
    """The folder of a survey that is not there, not finished, or damaged."""


class FolderError(PhospheneError):
    """An output folder that holds what phosphene must not replace."""


class OutputError(PhospheneError):
    """A result that cannot be written, such as on a full disk: worth trying again."""

    exit_code = 75


def did_you_mean(name: str, names: Iterable[str], most: int = 3) -> str:
    """The end of a "not found" message: the nearest names, or else the first few.

    Args:
        name: that does not exist.
        names: that exist.
        most: how many to show.

    >>> did_you_mean("layer5", ["layer3", "layer4", "fc"])
    "did you mean 'layer4' or 'layer3'?"
    >>> did_you_mean("zzz", ["conv", "fc"])
    "there are 'conv', 'fc'"
    """
    names = list(names)
    folded = {known.casefold(): known for known in reversed(names)}
    near = difflib.get_close_matches(name.casefold(), folded, most)
    if near:
        return "did you mean " + " or ".join(repr(folded[known]) for known in near) + "?"
    if not names:
        return "there is none"
    rest = f" and {len(names) - 2 * most} more" if len(names) > 2 * most else ""
    return "there are " + ", ".join(repr(known) for known in names[: 2 * most]) + rest
