"""Networks of the user: FILE.py:FUNCTION."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from phosphene.core import user_code
from phosphene.core.checkpoints import checkpoint
from phosphene.core.errors import NetworkError, did_you_mean
from phosphene.core.networks.network import Network
from phosphene.zoo.assemble import RANDOM, read_weights


def is_file(spec: str) -> bool:
    """Whether a spec names a Python file, with or without a function.

    >>> is_file("nets/mine.py:make"), is_file("mine.py"), is_file("timm:resnet18")
    (True, True, False)
    """
    return spec.endswith(".py") or ".py:" in spec


def build(spec: str, *, weights: str | Path | None, classes: int | None) -> Network:
    """The network that a function without arguments returns, in a file of the user, which is run.

    Args:
        spec: FILE.py:FUNCTION; the function, or class, gives an nn.Module (ImageNet's preprocessing at 224 is assumed)
            or a Network, which is used as it is.
        weights: a file, put in the network by name.
        classes: none may be given; the function decides.

    Raises:
        NetworkError: no such file or function, or it failed, or returned something else.
    """
    if classes is not None:
        raise NetworkError(f"{spec} decides itself how many classes it has; leave classes out")
    path, name = _split(spec)
    with user_code.importable_neighbors(path):
        made = user_code.called(spec, _function(path, name))
    if not isinstance(made, nn.Module | Network):
        raise NetworkError(f"{spec} returned {type(made).__name__}; it is to return a torch.nn.Module or a Network")
    network = made if isinstance(made, Network) else Network(made, notes=("preprocessing of ImageNet at 224 assumed",))
    if weights is None or weights == RANDOM:
        return network
    loaded = read_weights(weights)
    checkpoint.install(loaded, network.module)
    return replace(network, sha256=loaded.sha256, notes=(*network.notes, *loaded.notes))


def _split(spec: str) -> tuple[Path, str]:
    file, _, name = (spec + ":" if spec.endswith(".py") else spec).rpartition(":")
    path = Path(file)
    if not path.is_file():
        raise NetworkError(f"there is no file {file}; check the path in {spec}")
    if not name:
        raise NetworkError(f"{spec} names no function; write {spec}:FUNCTION, one that returns the network")
    return path, name


def _function(path: Path, name: str) -> Any:
    module = user_code.module(path)
    function = getattr(module, name, None)
    if not callable(function):
        own = [key for key, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__]
        raise NetworkError(f"{path} has no function {name!r}; {did_you_mean(name, own)}")
    return function
