"""A network of the user's own: FILE.py:FUNCTION."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from phosphene.core.checkpoints import checkpoint
from phosphene.core.errors import NetworkError, PhospheneError, nearest
from phosphene.core.networks.network import Network
from phosphene.zoo.furnish import RANDOM, given


def is_file(spec: str) -> bool:
    """Whether a spec names a Python file, with or without a function.

    >>> is_file("nets/mine.py:make"), is_file("mine.py"), is_file("timm:resnet18")
    (True, True, False)
    """
    return spec.endswith(".py") or ".py:" in spec


def build(spec: str, *, weights: str | Path | None, classes: int | None) -> Network:
    """What a function without arguments, in a file that the user names, returns. The file is run.

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
    with _beside(path):
        made = _called(spec, _function(path, name))
    if not isinstance(made, nn.Module | Network):
        raise NetworkError(f"{spec} returned {type(made).__name__}; it is to return a torch.nn.Module or a Network")
    network = made if isinstance(made, Network) else Network(made, notes=("preprocessing of ImageNet at 224 assumed",))
    if weights is None or weights == RANDOM:
        return network
    found = given(weights)
    checkpoint.install(found, network.module)
    return replace(network, sha256=found.sha256, notes=(*network.notes, *found.notes))


def _split(spec: str) -> tuple[Path, str]:
    file, _, name = (spec + ":" if spec.endswith(".py") else spec).rpartition(":")
    path = Path(file)
    if not path.is_file():
        raise NetworkError(f"there is no file {file}; check the path in {spec}")
    if not name:
        raise NetworkError(f"{spec} names no function; write {spec}:FUNCTION, one that returns the network")
    return path, name


def _function(path: Path, name: str) -> Any:
    module = _module(path)
    found = getattr(module, name, None)
    if not callable(found):
        own = [key for key, each in vars(module).items() if getattr(each, "__module__", None) == module.__name__]
        raise NetworkError(f"{path} has no function {name!r}; {nearest(name, own)}")
    return found


def _module(path: Path) -> ModuleType:
    name = f"phosphene_user_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses and pickling look their module up by its name.
    sys.modules[name] = module
    _called(str(path), lambda: spec.loader.exec_module(module))
    return module


def _called(what: str, function: Any) -> Any:
    """Run the user's code; whatever it raises becomes one line."""
    try:
        return function()
    except PhospheneError:
        raise
    except (Exception, SystemExit) as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        line = error.lineno if isinstance(error, SyntaxError) else frame.lineno
        reason = str(error).partition("\n")[0]
        raise NetworkError(
            f"{what} raised {type(error).__name__}: {reason} ({Path(frame.filename).name}, line {line}); mend it there"
        ) from error


@contextmanager
def _beside(path: Path) -> Iterator[None]:
    """Let a file import its neighbors, as it can when Python runs it."""
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
