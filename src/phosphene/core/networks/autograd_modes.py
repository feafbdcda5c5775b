"""Functions that compute the same under any of torch's modes."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import ExitStack
from typing import ParamSpec, TypeVar

import torch

Parameters = ParamSpec("Parameters")
Returned = TypeVar("Returned")


def default_modes(function: Callable[Parameters, Returned]) -> Callable[Parameters, Returned]:
    """Run a function with inference mode and autocast off: the one forbids gradients, the other rounds the pixels.

    Args:
        function: any that is no generator.

    >>> with torch.inference_mode():
    ...     default_modes(lambda: torch.zeros(1).is_inference())()
    False
    """

    @functools.wraps(function)
    def run(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Returned:
        with ExitStack() as modes:
            modes.enter_context(torch.inference_mode(mode=False))
            for device in ("cpu", "cuda", "mps"):
                if torch.is_autocast_enabled(device):
                    modes.enter_context(torch.autocast(device, enabled=False))
            return function(*args, **kwargs)

    return run
