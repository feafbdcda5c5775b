"""The only writer into folders of results: what is not ours is never replaced and never deleted."""

from __future__ import annotations

import functools
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from phosphene.core import files
from phosphene.core.errors import FolderError

try:
    import fcntl
except ImportError:  # systems without it have no locks here
    fcntl = None  # type: ignore[assignment]

HIDDEN = ".phosphene"
"""Folder inside a folder of results: the marker, and what serves only the making of the result."""


class OutputFolder:
    """A folder that holds one result, and says so by a marker of ours.

    The marker, `.phosphene/owned.json`, names the verb and each file that belongs to the result, with its SHA-256.
    A file is replaced or deleted only if the marker names it and its content is still what was written. Files of the
    user may stand beside the result.

    Args:
        path: of the folder; it need not exist.
        verb: whose result it is to hold.
        inputs: files that must not be overwritten.

    Raises:
        FolderError: the path is a file, or the folder holds the result of another verb or a foreign `result.json`.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "out"
    >>> OutputFolder(path, "dream").publish({"a.txt": lambda file: file.write_text("a")})
    >>> sorted(file.name for file in path.iterdir())
    ['.phosphene', 'a.txt']
    >>> OutputFolder(path, "invert")
    Traceback (most recent call last):
    phosphene.core.errors.FolderError: ... holds the result of phosphene dream; name another folder with -o
    """

    def __init__(self, path: str | Path, verb: str, *, inputs: Iterable[str | Path] = ()) -> None:
        self.path, self.verb = Path(path), verb
        self._inputs = {Path(file).resolve() for file in inputs}
        self._owned: dict[str, str] = {}
        if self.path.is_file():
            raise FolderError(f"{self.path} is a file; name a folder with -o")
        self._read()
        self._refuse("result.json")

    @property
    def state(self) -> Path:
        """A folder for what serves only the making of the result; `publish` removes it."""
        return self.path / HIDDEN / "state"

    def claim(self, *names: str) -> None:
        """Mark files as ours before they are written; the next `publish` deletes those that it does not write.

        Args:
            names: relative paths, such as "preview.png"; none marks the folder alone.

        Raises:
            FolderError: a file of that name is not ours, or is an input.
            OutputError: the folder cannot be written.
        """
        self._read()
        for name in names:
            self._refuse(name)
        with self._locked():
            self._mark({**self._owned, **dict.fromkeys(names, "")})

    def publish(self, writers: Mapping[str, Callable[[Path], object]]) -> None:
        """Write a whole result, in place of the one that the folder held.

        All files are written into the hidden folder first, then moved to their places in the order given: until then
        the former result stands as it was.

        Args:
            writers: relative path → writes the file at the path that it is given.

        Raises:
            FolderError: a file of one of the names is not ours, was changed since, or is an input.
            OutputError: the folder cannot be written, or the disk is full.
        """
        self._read()
        for name in writers:
            self._refuse(name)
        new = self.path / HIDDEN / "new"
        with files.writing(self.path), self._locked():
            self._mark(self._owned)
            shutil.rmtree(new, ignore_errors=True)
            hashes = {}
            for name, write in writers.items():
                (new / name).parent.mkdir(parents=True, exist_ok=True)
                write(new / name)
                hashes[name] = files.sha256(new / name)
            for name in writers:
                self._refuse(name)  # again: writing takes time, in which the user may have put a file there
            self._mark({**self._owned, **dict.fromkeys(writers, "")})
            for name in writers:
                (self.path / name).parent.mkdir(parents=True, exist_ok=True)
                (new / name).replace(self.path / name)
            for name in self._owned.keys() - writers.keys():
                self._delete(name)
            self._mark(hashes)
            shutil.rmtree(new, ignore_errors=True)
            shutil.rmtree(self.state, ignore_errors=True)

    def own(self, hashes: Mapping[str, str]) -> None:
        """Mark files that stand in the folder as ours, besides those that are.

        Args:
            hashes: relative path → SHA-256 of its content, "" where it is still written to.
        """
        with self._locked():
            self._mark({**self._owned, **hashes})

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Within, no other process writes here; what another one has written until then is known."""
        hidden = self.path / HIDDEN
        with files.writing(self.path):
            hidden.mkdir(parents=True, exist_ok=True)
        if fcntl is None:
            yield
            return
        descriptor = os.open(hidden, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            self._read()
            yield
        finally:
            os.close(descriptor)

    def _read(self) -> None:
        """Read the marker, which another process may have changed.

        Raises:
            FolderError: the marker is of another verb, or is not one of ours.
        """
        marker, hidden = self.path / HIDDEN / "owned.json", self.path / HIDDEN
        if not os.path.lexists(hidden):
            self._owned = {}
            return
        if hidden.is_dir() and all(file.name == "state" or file.name.endswith(".tmp") for file in hidden.iterdir()):
            return  # a kill came before the marker was written; what only serves the making comes earlier
        try:
            stored = json.loads(marker.read_text("utf-8"))
            verb, self._owned = str(stored["verb"]), {str(name): str(sha) for name, sha in stored["files"].items()}
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise FolderError(f"{marker} is no marker of phosphene, or damaged; name another folder with -o") from error
        if verb != self.verb:
            raise FolderError(f"{self.path} holds the result of phosphene {verb}; name another folder with -o")

    def _refuse(self, name: str) -> None:
        """Nothing, if a file may be written.

        Raises:
            FolderError: it is an input, not ours, or was changed since.
        """
        relative, path = PurePosixPath(name), self.path / name
        assert not relative.is_absolute(), name
        assert ".." not in relative.parts, name
        if path.resolve() in self._inputs:
            raise FolderError(f"{path} is an input and would be overwritten; name another folder with -o")
        parents = [self.path / parent for parent in relative.parents if os.path.lexists(self.path / parent)]
        if any(not parent.is_dir() for parent in parents):
            raise FolderError(f"{path} cannot be written, as a file has the name of its folder; name another with -o")
        if not os.path.lexists(path):
            return
        if name not in self._owned or path.is_dir():
            raise FolderError(f"{path} was not written by phosphene; move it, or name another folder with -o")
        if self._owned[name] and files.sha256(path) != self._owned[name]:
            raise FolderError(f"{path} was changed since phosphene wrote it; move it, or name another folder with -o")

    def _delete(self, name: str) -> None:
        """Remove a file of the former result, and its folder once that is empty; one that was changed stays."""
        path = self.path / name
        if path.is_file() and not path.is_symlink() and self._owned[name] in {"", files.sha256(path)}:
            path.unlink()
            if path.parent != self.path and not any(path.parent.iterdir()):
                path.parent.rmdir()

    def _mark(self, owned: Mapping[str, str]) -> None:
        self._owned = dict(owned)
        files.write_json(self.path / HIDDEN / "owned.json", {"verb": self.verb, "files": self._owned})


def is_foreign(file: Path) -> bool:
    """Whether it is a file that no marker of phosphene names, beside it or in the two folders above.

    Args:
        file: a path.
    """
    return file.is_file() and not any(
        file.relative_to(folder).as_posix() in _owned(folder) for folder in list(file.parents)[:3]
    )


@functools.lru_cache(maxsize=256)
def _marked(marker: Path, _: int) -> frozenset[str]:
    """The files that a marker names, as it was at a time; none where it is no marker."""
    try:
        return frozenset(json.loads(marker.read_text("utf-8"))["files"])
    except (OSError, ValueError, LookupError, TypeError):
        return frozenset()


def _owned(folder: Path) -> frozenset[str]:
    marker = folder / HIDDEN / "owned.json"
    try:
        return _marked(marker, marker.stat().st_mtime_ns)
    except OSError:
        return frozenset()
