"""Networks by name: embedded ones, those of torchvision and timm, and functions in files of the user."""

from __future__ import annotations

import difflib
import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from phosphene.core.errors import NetworkError, did_you_mean
from phosphene.core.networks.network import Network
from phosphene.zoo import embedded, user

_SOURCES = {"torchvision": "phosphene.zoo.torchvision_models", "timm": "phosphene.zoo.timm_models"}


def load(
    spec: str = "efficientnet-lite0",
    *,
    weights: str | Path | None = None,
    device: str | torch.device = "cpu",
    classes: int | None = None,
    allow_code: bool = True,
) -> Network:
    """A network with its weights and its preprocessing, in evaluation mode and frozen.

    Args:
        spec: "efficientnet-lite0" (embedded), "torchvision:NAME", "timm:NAME" or "FILE.py:FUNCTION".
        weights: a file to use instead of the network's own weights, or "random" for none.
        device: to run on.
        classes: number of classes of the weights in the file, where it is not 1000.
        allow_code: whether FILE.py may be run.

    Raises:
        NetworkError: no such network, or its weights cannot be fetched.
        CheckpointError: the file of weights cannot be used.

    >>> load().predict(torch.zeros(1, 3, 224, 224), k=1)[0][0].index < 1000
    True
    >>> load("resnet50")
    Traceback (most recent call last):
    phosphene.core.errors.NetworkError: no network is called 'resnet50'; did you mean 'torchvision:resnet50' or
    'torchvision:wide_resnet50_2' or 'torchvision:resnet34'?
    """
    source, name = _source(spec, allow_code)
    # Initial weights are drawn and replaced; the caller's random numbers must not depend on that.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        network: Network = source.build(name, weights=weights, classes=classes)
    try:
        network.module.to(device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0]
        raise NetworkError(f"{spec} cannot be put on {str(device)!r}: {reason}; use device 'cpu'") from error
    return replace(network, name=spec)


def available(start: str = "") -> tuple[str, ...]:
    """Names that `load` has weights for.

    Args:
        start: only names that start so, such as "torchvision:".

    >>> available("efficientnet")
    ('efficientnet-lite0', 'efficientnet-lite1')
    """
    names = list(embedded.names())
    for prefix, module in _SOURCES.items():
        if start[: len(prefix) + 1] == f"{prefix}:"[: len(start)]:
            names += [f"{prefix}:{name}" for name in importlib.import_module(module).names()]
    return tuple(name for name in names if name.startswith(start))


def _source(spec: str, allow_code: bool) -> tuple[Any, str]:
    """The module that builds a network, and its name there."""
    prefix, colon, name = spec.partition(":")
    if user.is_file(spec):
        if not allow_code:
            raise NetworkError(f"{spec} is code, which may not be run here; name a network of torchvision or timm")
        return user, spec
    if spec in embedded.names():
        return embedded, spec
    if not colon or prefix not in _SOURCES:
        raise NetworkError(f"no network is called {spec!r}; {_suggestion(spec)}")
    source = importlib.import_module(_SOURCES[prefix])
    if not source.has(name):
        raise NetworkError(f"{prefix} has no network {name!r}; {did_you_mean(name, source.names())}")
    return source, name


def _suggestion(spec: str) -> str:
    """The nearest names, compared without their prefix."""
    known = {name.partition(":")[2] or name: name for name in available("torchvision:") + embedded.names()}
    near = [repr(known[name]) for name in difflib.get_close_matches(spec.casefold(), known)]
    if near:
        return f"did you mean {' or '.join(near)}?"
    kinds = [*embedded.names(), *(f"{prefix}:NAME" for prefix in _SOURCES), "FILE.py:FUNCTION"]
    return f"there are {', '.join(kinds)}"
