"""Atomic writing of files; hashes of content; file names."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import os
import re
import secrets
import unicodedata
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from phosphene.core.errors import OutputError


def write(path: str | Path, data: bytes | memoryview | str) -> Path:
    """Write a file whole or not at all, also when the process is killed or the power fails.

    Args:
        path: of the file. Missing folders are made.
        data: its content; text is stored as UTF-8.

    Raises:
        OutputError: the disk is full, or the folder cannot be written.
    """
    with aside(path) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)
    return Path(path)


@contextlib.contextmanager
def aside(path: str | Path) -> Iterator[Path]:
    """A temporary file beside the file: if the block ends without an error, it is synced and renamed to the file.

    Then the folder is synced. If the block fails, the temporary file is deleted and the old file stays.

    Args:
        path: of the file. Missing folders are made.

    Raises:
        OutputError: see `write`; an OSError of the block becomes one.
    """
    path = Path(path)
    temporary = path.with_name(f".phosphene-{secrets.token_hex(8)}.tmp")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            sync(temporary)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)


@contextlib.contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Within, an OSError becomes an OutputError that names this path.

    Args:
        path: of a file or a folder.

    Raises:
        OutputError: an OSError of the block.
    """
    try:
        yield
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {_reason(error)}") from error


def abandoned(folder: Path) -> Iterator[Path]:
    """Temporary files that `aside` left in a folder when its process was killed.

    Args:
        folder: in which nobody writes now.
    """
    return (file for file in folder.glob(".*.tmp") if re.fullmatch(r"\.phosphene-[0-9a-f]{16}\.tmp", file.name))


def reserve(path: Path) -> None:
    """Allocate the blocks of a file on the disk now: a page of a mapped file without room kills the process.

    Systems that cannot allocate (macOS, Windows) skip it.

    Args:
        path: of a file that has its size, and holes.

    Raises:
        OSError: the disk is full.
    """
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def sync(path: Path) -> None:
    """Flush the content of a file to the disk."""
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def write_json(path: str | Path, value: Any) -> Path:
    """Write plain values as JSON, keys in their own order.

    Args:
        path: of the file.
        value: dicts, lists, text and finite numbers.

    Raises:
        OutputError: see `write`.
        ValueError: a number is not finite, which JSON cannot say.
    """
    return write(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def write_array(path: str | Path, array: npt.NDArray[Any]) -> Path:
    """Write an array as .npy, which numpy.load reads without pickle.

    Args:
        path: of the file.
        array: of numbers.

    Raises:
        OutputError: see `write`.
    """
    assert not array.dtype.hasobject, "objects would need pickle"
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return write(path, buffer.getbuffer())


def sha256(content: bytes | str | Path) -> str:
    """The SHA-256, in hexadecimal, of bytes, or of the file at a path.

    Args:
        content: bytes, or a path.

    >>> sha256(b"")[:8]
    'e3b0c442'
    """
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    with Path(content).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def slug(text: str) -> str:
    """A file name of at most 80 ASCII characters that is safe in every folder.

    A text that is shortened, or loses letters of another alphabet, keeps a name of its own by 8 digits of its hash.

    Args:
        text: a label, a layer, a target.

    >>> slug("tabby, tabby cat"), slug("../blocks.4:17"), slug("œuf")
    ('tabby-tabby-cat', 'blocks.4-17', 'uf-2419fac0')
    """
    plain = "".join(letter for letter in unicodedata.normalize("NFKD", text) if not unicodedata.combining(letter))
    name = re.sub(r"[^A-Za-z0-9._+]+", "-", plain).strip("-.")
    if plain.isascii() and 0 < len(name) <= _LONGEST and name.partition(".")[0].lower() not in _RESERVED:
        return name
    digits = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{name[: _LONGEST - 9].replace('.', '-').rstrip('-')}-{digits}".lstrip("-")


def unused(stem: str, taken: set[str]) -> str:
    """A stem, or the first of stem-2, stem-3, … that is not taken; from now on it is, in whatever case.

    >>> taken = {"fish"}
    >>> unused("Fish", taken), unused("fish", taken)
    ('Fish-2', 'fish-3')
    """
    numbers = (f"{stem}-{number}" if number > 1 else stem for number in count(1))
    free = next(name for name in numbers if name.casefold() not in taken)
    taken.add(free.casefold())
    return free


def _sync_folder(folder: Path) -> None:
    """Flush the names in a folder to the disk; not needed where folders cannot be opened."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _reason(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return "the disk is full. Free some space and run the same command again"
    reason = (error.strerror or str(error)).lower()
    return f"{reason}. Choose another folder with -o"


_LONGEST = 80
_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{digit}" for port in ("com", "lpt") for digit in range(10))}
