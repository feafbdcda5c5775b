"""Shards: tar and zip files of pictures, read at random and never unpacked to disk."""

from __future__ import annotations

import json
import os
import stat
import struct
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NamedTuple

from phosphene.core.errors import ImageError
from phosphene.core.images.image import SUFFIXES, Limits

SHARDS = (".tar", ".zip")
"""Suffixes of what `Shard.open` reads."""

LABELS = ("label", "class", "name", "target")
"""Keys of a JSON member, and columns of a table, that hold a label; the first one present is read."""


class Member(NamedTuple):
    """Where a picture lies in its shard.

    Args:
        offset: of its bytes in a tar, of its local header in a zip.
        packed: how many bytes are stored.
        size: how many they are unpacked.
        crc: CRC-32 of the unpacked bytes; -1 in a tar, which has none.
    """

    offset: int
    packed: int
    size: int
    crc: int

    def read(self, file: BinaryIO, most: int = Limits().file_bytes) -> bytes:
        """The unpacked bytes; never more than the shard's table says, nor than allowed.

        Args:
            file: the shard, opened in binary mode.
            most: bytes that a member may hold.

        Raises:
            ImageError: too large, encrypted, of an unknown packing, or damaged; without the name.
        """
        if self.size > most:
            raise ImageError(f"is larger than the {most / 2**20:g} MiB allowed; shrink it")
        method = self._seek(file)
        data = file.read(min(self.packed, most))
        if method == zipfile.ZIP_DEFLATED:
            try:
                data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, self.size + 1)
            except zlib.error as error:
                raise ImageError("is damaged in its shard; copy the shard again") from error
        if len(data) != self.size or (self.crc >= 0 and zlib.crc32(data) != self.crc):
            raise ImageError("is damaged in its shard; copy the shard again")
        return data

    def _seek(self, file: BinaryIO) -> int:
        """Seek to the first byte; returns the method of compression, in the numbers of zip."""
        file.seek(self.offset)
        if self.crc < 0:
            return zipfile.ZIP_STORED
        header = file.read(_LOCAL.size)
        magic, flags, method, name, extra = _LOCAL.unpack(header.ljust(_LOCAL.size))
        if magic != b"PK\3\4":
            raise ImageError("is not where its shard says; copy the shard again")
        if flags & _ENCRYPTED:
            raise ImageError("is encrypted; unpack the shard with its password, and give the folder")
        if method not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
            raise ImageError(f"is packed by method {method} of zip; pack it again, stored or deflated")
        file.seek(name + extra, os.SEEK_CUR)
        return int(method)


FILE = Member(-1, -1, -1, -1)
"""The place of a picture that is a file of its own."""


@dataclass(frozen=True)
class Shard:
    """What a tar or zip file holds, in its own order.

    Pictures are the regular files with the suffix of a picture, hidden ones left out; of two with one name the later
    counts, as when unpacking. A name is never a path on the disk: "/etc/a.png" and "../a.png" are plain members.

    Args:
        members: the pictures, by name.
        labels: the names of those that have one. As in a WebDataset, the label of 0001.jpg is in 0001.cls, else in
            0001.json under one of `LABELS`, else in 0001.txt beside it.
        damage: what is wrong with the file, as the ends of lines that begin with its name.
    """

    members: Mapping[str, Member]
    labels: Mapping[str, str]
    damage: tuple[str, ...]

    @classmethod
    def open(cls, path: Path) -> Shard:
        """Read what a shard holds; of a damaged one, what is before the damage.

        Raises:
            OSError: there is no such file, or it may not be read.
        """
        members: dict[str, Member] = {}
        texts: dict[tuple[str, str], str] = {}
        damage, unread = [], []
        with path.open("rb") as file:
            try:
                for name, member in (_zip if path.suffix.lower() == ".zip" else _tar)(file):
                    key, suffix = _key(name)
                    if name.lower().endswith(SUFFIXES) and not _hidden(name):
                        members[name] = member
                    elif suffix in _SIDECARS:
                        try:
                            texts[key, suffix] = _SIDECARS[suffix](member.read(file, _LABEL_BYTES))
                        except (ImageError, ValueError, RecursionError):
                            unread.append(name)
            except ImageError as error:
                damage.append(f"{error} ({len(members)} pictures before that count)")
        if unread:
            damage.append(f"holds {len(unread)} labels that cannot be read, such as {unread[0]!a}; write them again")
        return cls(members, dict(_labels(members, texts)), tuple(damage))

    @classmethod
    def recall(cls, path: Path) -> Shard:
        """The same as `open`, cached for a few shards until their files change.

        Raises:
            OSError: see `open`.
        """
        status = path.stat()
        return _remembered(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=4)
def _remembered(path: Path, size: int, time: int) -> Shard:  # noqa: ARG001  they tell a file from its successor
    return Shard.open(path)


def _labels(members: Mapping[str, Member], texts: Mapping[tuple[str, str], str]) -> Iterator[tuple[str, str]]:
    for name in members:
        key, _ = _key(name)
        label = next(filter(None, (texts.get((key, suffix)) for suffix in _SIDECARS)), None)
        if label:
            yield name, label


def _tar(file: BinaryIO) -> Iterator[tuple[str, Member]]:
    """Names and places of the regular files of a tar."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    try:
        with tarfile.open(fileobj=file, mode="r:", encoding="utf-8") as tar:
            while info := tar.next():
                vars(tar)["members"].clear()  # or it keeps a header of a kilobyte for each member
                if info.offset_data + info.size > size:
                    break
                if info.isreg() and not info.issparse():
                    yield info.name, Member(info.offset_data, info.size, info.size, -1)
            file.seek(tar.offset)
            end = file.read(tarfile.BLOCKSIZE)
    except Exception as error:  # on damaged files tarfile raises exceptions of any type
        raise ImageError(f"is no tar, or damaged: {_said(error)}. Copy it again") from error
    if len(end) < tarfile.BLOCKSIZE:  # tarfile does not notice
        raise ImageError("is cut short; copy it again")
    if any(end):
        raise ImageError("is damaged; copy it again")


def _zip(file: BinaryIO) -> Iterator[tuple[str, Member]]:
    """Names and places of the regular files of a zip."""
    try:
        entries = zipfile.ZipFile(file).infolist()
    except Exception as error:  # as above
        raise ImageError(f"is no zip, or cut short: {_said(error)}. Copy it again") from error
    end = file.seek(0, os.SEEK_END)
    for info in entries:
        if not 0 <= info.header_offset <= info.header_offset + info.compress_size <= end:
            raise ImageError("is damaged; copy it again")
        if not info.filename.endswith("/") and not stat.S_ISLNK(info.external_attr >> 16):
            size = min(info.file_size, sys.maxsize)
            yield info.filename, Member(info.header_offset, info.compress_size, size, info.CRC)


def _key(name: str) -> tuple[str, str]:
    """A name cut at the first dot of its file name, as in WebDataset: a picture and its label share the first part."""
    folder, slash, file = name.rpartition("/")
    stem, dot, rest = file.partition(".")
    return folder + slash + stem, (dot + rest).lower()


def _hidden(name: str) -> bool:
    return any(part.startswith(".") and part != ".." for part in PurePosixPath(name).parts)


def _json(data: bytes) -> str:
    record: Any = json.loads(data)
    if not isinstance(record, dict):
        return ""
    return next((str(record[key]) for key in LABELS if isinstance(record.get(key), str | int)), "")


def _said(error: Exception) -> str:
    return "".join(filter(str.isprintable, str(error)))[:120].lower().rstrip(".") or type(error).__name__


_SIDECARS: dict[str, Callable[[bytes], str]] = {".cls": bytes.decode, ".json": _json, ".txt": bytes.decode}
_LABEL_BYTES = 2**16
_LOCAL = struct.Struct("<4s2xHH16xHH")  # of a zip's local header: magic, flags, method, lengths of name and extra
_ENCRYPTED = 1
