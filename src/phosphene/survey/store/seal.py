"""A survey's folder, sealed: result.json lists every file with its SHA-256, and carries the SHA-256 of itself."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from phosphene.core import files
from phosphene.core.errors import RunError
from phosphene.survey.store.table import count_rows

RESULT = "result.json"
WORK, PLAN = "work", "survey.json"
"""What a survey keeps in its folder until it is finished."""
CACHE = "cache"
"""What was drawn from a survey and may be drawn again."""


@dataclass(frozen=True)
class Damage:
    """What is wrong with one file of a survey.

    Args:
        path: of the file, within the folder.
        what: as the end of a line that begins with the path.

    >>> print(Damage("units.parquet", "is missing"))
    units.parquet is missing
    """

    path: str
    what: str

    def __str__(self) -> str:
        return f"{self.path} {self.what}"


def seal(folder: Path, manifest: Mapping[str, Any]) -> Path:
    """Finish a survey: make every table and array last, list them under "files", and write result.json last of all.

    Its last key, "digest", is the SHA-256 of result.json with 64 zeros in its place.

    Args:
        folder: of the survey, with all its files.
        manifest: of the survey, as plain values.

    Raises:
        OutputError: the disk is full, or the folder cannot be written.
    """
    entries = [_entry(folder, path) for path in sealable(folder)]
    text = json.dumps({**manifest, "files": entries, "digest": _BLANK}, indent=1, allow_nan=False) + "\n"
    start, _, end = text.rpartition(_BLANK)
    return files.write(folder / RESULT, start + files.sha256(text.encode()) + end)


def sealable(folder: Path) -> list[Path]:
    """The tables and arrays in a folder, sorted: what `seal` takes for the survey's."""
    return sorted(path for path in _contents(folder) if path.suffix in {".parquet", ".npy"})


def unseal(folder: Path) -> dict[str, Any]:
    """The manifest of a finished survey, every byte of which is as it was written.

    Raises:
        RunError: the folder holds no survey, one that is not finished, or a damaged result.json.
    """
    try:
        content = (folder / RESULT).read_bytes()
    except OSError as error:
        raise _absent(folder) from error
    found = _SEAL.search(content)
    if found is None:
        raise _unsealed(folder, content)
    blank = content[: found.start(1)] + _BLANK.encode() + content[found.end(1) :]
    if files.sha256(blank) != found[1].decode():
        raise RunError(f"{folder / RESULT} is damaged: its checksum differs. {_REMEDY}")
    manifest: dict[str, Any] = json.loads(content)
    return manifest


def verify(folder: Path, *, full: bool = True) -> tuple[Damage, ...]:
    """Every file of a survey that is missing, or not as it was written.

    Args:
        folder: of a finished survey.
        full: read every byte; else compare sizes alone.

    Raises:
        RunError: see `unseal`; without its list no other file can be judged.
    """
    judged = ((entry["path"], flaw(folder, entry, full=full)) for entry in unseal(folder)["files"])
    return tuple(Damage(path, what) for path, what in judged if what)


def flaw(folder: Path, entry: Mapping[str, Any], *, full: bool) -> str:
    """What is wrong with a file, as the end of a line that begins with its path; "" for nothing.

    A file is hashed once in a process, and again where its times, size or place on the disk have changed.
    """
    path = folder / entry["path"]
    try:
        facts = path.stat()
        if facts.st_size != entry["bytes"]:
            return f"has {facts.st_size:,} bytes; {entry['bytes']:,} were written"
        stamp = (facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)
        if full and _hash(path.absolute(), stamp) != entry["sha256"]:
            return "has other content than was written"
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read: {(error.strerror or str(error)).lower()}"
    return ""


def strangers(folder: Path) -> tuple[str, ...]:
    """Files in the folder of a finished survey that it did not write; they do no harm, and what is in cache/ is known.

    Raises:
        RunError: see `unseal`.
    """
    known = {RESULT, *(entry["path"] for entry in unseal(folder)["files"])}
    return tuple(sorted({path.relative_to(folder).as_posix() for path in _contents(folder)} - known))


_BLANK = "0" * 64
_SEAL = re.compile(rb'"digest": "([0-9a-f]{64})"\n}\n\Z')
_REMEDY = "Copy the run again, or make it again with phosphene survey into a new folder"


@functools.lru_cache(maxsize=4096)
def _hash(path: Path, _stamp: tuple[int, ...]) -> str:
    return files.sha256(path)


def _contents(folder: Path) -> Iterator[Path]:
    others = {folder / WORK, folder / CACHE}
    return (each for each in folder.rglob("*") if each.is_file() and others.isdisjoint(each.parents))


def _entry(folder: Path, path: Path) -> dict[str, Any]:
    files.sync(path)
    name = {"path": path.relative_to(folder).as_posix()}
    if path.suffix == ".parquet":
        shape = {"kind": "table", "rows": count_rows(path)}
    else:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        shape = {"kind": "state", "rows": len(array), "shape": list(array.shape), "dtype": str(array.dtype)}
    return {**name, **shape, "bytes": path.stat().st_size, "sha256": files.sha256(path)}


def _absent(folder: Path) -> RunError:
    """Why there is no result.json."""
    if not folder.is_dir():
        return RunError(f"there is no folder {folder}; phosphene survey PHOTOS -o {folder} makes a survey there")
    if any((folder / each).exists() for each in (WORK, PLAN)):
        found = f"the survey in {folder} is not finished"
        return RunError(f"{found}; run the same phosphene survey command again to finish it")
    if (folder / "units.parquet").exists():
        return RunError(f"{folder / RESULT} is missing, without which no file can be trusted. {_REMEDY}")
    return RunError(f"{folder} holds no survey (no {RESULT}); phosphene survey PHOTOS -o FOLDER makes one")


def _unsealed(folder: Path, content: bytes) -> RunError:
    """What a result.json without a digest is."""
    try:
        verb = json.loads(content)["verb"]
    except (ValueError, KeyError, TypeError):
        verb = "survey"
    if verb == "survey":
        return RunError(f"{folder / RESULT} is damaged: its checksum is gone. {_REMEDY}")
    return RunError(f"{folder} holds the result of phosphene {verb}, no survey; give the folder of a survey")
