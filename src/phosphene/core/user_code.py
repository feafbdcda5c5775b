"""Python files of the user's own: a network, or a plugin with methods."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from phosphene.core.errors import NetworkError, OptionError, PhospheneError


def plugin(path: str | Path) -> ModuleType:
    """Run a file whose classes register themselves: methods, accumulators, recipes, studies.

    Args:
        path: of a Python file.

    Raises:
        OptionError: no such file, or it failed.
    """
    path = Path(path)
    if not path.is_file() or path.suffix != ".py":
        raise OptionError(f"there is no plugin {path}; --plugin wants a Python file")
    with importable_neighbors(path):
        return module(path, OptionError)


def module(path: Path, error: type[PhospheneError] = NetworkError) -> ModuleType:
    """A file as a module. The file is run.

    Args:
        path: of a Python file.
        error: what is raised where it fails.
    """
    name = f"phosphene_user_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    loader = spec.loader
    assert loader is not None
    loaded = importlib.util.module_from_spec(spec)
    # Dataclasses and pickling look their module up by its name.
    sys.modules[name] = loaded
    called(str(path), lambda: loader.exec_module(loaded), error)
    return loaded


def called(what: str, function: Callable[[], Any], error: type[PhospheneError] = NetworkError) -> Any:
    """What the user's code returns; whatever it raises becomes one line.

    Args:
        what: how the user calls that code.
        function: runs it.
        error: what is raised where it fails.
    """
    try:
        return function()
    except PhospheneError:
        raise
    except (Exception, SystemExit) as cause:
        frame = traceback.extract_tb(cause.__traceback__)[-1]
        file, line = frame.filename, frame.lineno
        if isinstance(cause, SyntaxError):
            cause, file, line = SyntaxError(cause.msg), cause.filename or what, cause.lineno
        reason = str(cause).partition("\n")[0]
        raise error(
            f"{what} raised {type(cause).__name__}: {reason} ({Path(file).name}, line {line}); mend it there"
        ) from cause


@contextmanager
def importable_neighbors(path: Path) -> Iterator[None]:
    """Within, a file can import the files beside it, as it can when Python runs it."""
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
