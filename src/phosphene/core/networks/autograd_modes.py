"""Work that comes out the same whatever modes of torch are on around it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import ExitStack
from typing import ParamSpec, TypeVar

import torch

Given = ParamSpec("Given")
Found = TypeVar("Found")


def undisturbed(work: Callable[Given, Found]) -> Callable[Given, Found]:
    """Work outside inference mode, whose tensors no gradient passes, and without autocast, which rounds what it paints.

    Args:
        work: any function that is no generator.

    >>> with torch.inference_mode():
    ...     undisturbed(lambda: torch.zeros(1).is_inference())()
    False
    """

    @functools.wraps(work)
    def done(*values: Given.args, **named: Given.kwargs) -> Found:
        with ExitStack() as modes:
            modes.enter_context(torch.inference_mode(mode=False))
            for device in ("cpu", "cuda", "mps"):
                if torch.is_autocast_enabled(device):
                    modes.enter_context(torch.autocast(device, enabled=False))
            return work(*values, **named)

    return done
