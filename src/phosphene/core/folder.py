"""The only writer into folders of results: what is not ours is never replaced and never deleted."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath

from phosphene.core import files
from phosphene.core.errors import FolderError

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
        holder = self._read()
        if holder not in {None, verb}:
            raise FolderError(f"{self.path} holds the result of phosphene {holder}; name another folder with -o")
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
        for name in names:
            self._refuse(name)
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
        for name in writers:
            self._refuse(name)
        self.claim()
        new = self.path / HIDDEN / "new"
        with files.writing(self.path):
            shutil.rmtree(new, ignore_errors=True)
            hashes = {}
            for name, write in writers.items():
                (new / name).parent.mkdir(parents=True, exist_ok=True)
                write(new / name)
                hashes[name] = files.sha256(new / name)
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
        self._mark({**self._owned, **hashes})

    def _read(self) -> str | None:
        """The verb of the marker, whose files are remembered; None without a marker.

        Raises:
            FolderError: the hidden folder is there, but its marker is not one of ours.
        """
        marker, hidden = self.path / HIDDEN / "owned.json", self.path / HIDDEN
        if not os.path.lexists(hidden):
            return None
        if hidden.is_dir() and all(file.name == "state" or file.name.endswith(".tmp") for file in hidden.iterdir()):
            return None  # a kill came before the marker was written; what only serves the making comes earlier
        try:
            stored = json.loads(marker.read_text("utf-8"))
            verb, self._owned = str(stored["verb"]), {str(name): str(sha) for name, sha in stored["files"].items()}
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise FolderError(f"{marker} is no marker of phosphene, or damaged; name another folder with -o") from error
        return verb

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
