"""The seal of a run: result.json lists every file with its SHA-256, and holds the SHA-256 of itself."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from phosphene.core import files
from phosphene.core.errors import RunError
from phosphene.core.folder import HIDDEN
from phosphene.survey.store.table import count_rows

RESULT = "result.json"
STATE = f"{HIDDEN}/state"
PLAN = f"{STATE}/plan.json"
"""What a survey keeps in its folder until it is finished."""
CACHE = f"{HIDDEN}/cache"
"""What was computed from a run and can be computed again."""


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


def seal(folder: Path, manifest: Mapping[str, Any], names: Iterable[str]) -> dict[str, str]:
    """Finish a survey: sync every table and array to the disk, list them under "files", and write result.json last.

    Its last key, "digest", is the SHA-256 of result.json with 64 zeros in its place.

    Args:
        folder: of the survey.
        manifest: of the survey, as plain values.
        names: relative paths of all its files.

    Returns:
        Relative path → SHA-256, also of result.json.

    Raises:
        RunError: a file is missing.
        OutputError: the disk is full, or the folder cannot be written.
    """
    if missing := [name for name in names if not (folder / name).is_file()]:
        raise RunError(f"{folder / missing[0]} was deleted while the survey ran; run it again into a new folder")
    entries = [_entry(folder, folder / name) for name in sorted(names)]
    text = json.dumps({**manifest, "files": entries, "digest": _BLANK}, indent=1, allow_nan=False) + "\n"
    start, _, end = text.rpartition(_BLANK)
    sealed = start + files.sha256(text.encode()) + end
    files.write(folder / RESULT, sealed)
    return {**{entry["path"]: entry["sha256"] for entry in entries}, RESULT: files.sha256(sealed.encode())}


def unseal(folder: Path) -> dict[str, Any]:
    """The manifest of a finished survey, whose checksum agrees.

    Raises:
        RunError: the folder holds no survey, one that is not finished, or a damaged result.json.
    """
    try:
        content = (folder / RESULT).read_bytes()
    except OSError as error:
        raise _absent(folder) from error
    digest = _SEAL.search(content)
    if digest is None:
        raise _unsealed(folder, content)
    blank = content[: digest.start(1)] + _BLANK.encode() + content[digest.end(1) :]
    if files.sha256(blank) != digest[1].decode():
        raise RunError(f"{folder / RESULT} is damaged: its checksum differs. {_REMEDY}")
    manifest: dict[str, Any] = json.loads(content)
    return manifest


def verify(folder: Path, *, full: bool = True) -> tuple[Damage, ...]:
    """Every file of a survey that is missing, or not as it was written.

    Args:
        folder: of a finished survey.
        full: read every byte; else compare sizes alone.

    Raises:
        RunError: see `unseal`; without its list no other file can be checked.
    """
    checked = ((entry["path"], damage_of(folder, entry, full=full)) for entry in unseal(folder)["files"])
    return tuple(Damage(path, what) for path, what in checked if what)


def damage_of(folder: Path, entry: Mapping[str, Any], *, full: bool) -> str:
    """What is wrong with a file, as the end of a line that begins with its path; "" for nothing.

    A file is hashed once in a process, and again when its times, size or inode have changed.
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


def foreign_files(folder: Path) -> tuple[str, ...]:
    """Files in the folder of a finished survey that it did not write; they do no harm.

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
    return (path for path in folder.rglob("*") if path.is_file() and folder / HIDDEN not in path.parents)


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
    if (folder / STATE).exists():
        return RunError(
            f"the survey in {folder} is not finished; run the same phosphene survey command again to finish it"
        )
    if (folder / "units.parquet").exists():
        return RunError(f"{folder / RESULT} is missing, without which no file can be trusted. {_REMEDY}")
    return RunError(f"{folder} holds no survey (no {RESULT}); phosphene survey PHOTOS -o FOLDER makes one")


def _unsealed(folder: Path, content: bytes) -> RunError:
    """What is wrong with a result.json without a digest."""
    try:
        verb = json.loads(content)["verb"]
    except (ValueError, KeyError, TypeError):
        verb = "survey"
    if verb == "survey":
        return RunError(f"{folder / RESULT} is damaged: its checksum is gone. {_REMEDY}")
    return RunError(f"{folder} holds the result of phosphene {verb}, no survey; give the folder of a survey")
