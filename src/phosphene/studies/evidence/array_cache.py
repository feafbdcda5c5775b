"""A cache of arrays on disk, by the SHA-256 of everything they are computed from."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from phosphene.core import files

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclasses.dataclass(frozen=True)
class ArrayCache:
    """A folder of arrays, each file with a checksum; a damaged file counts as missing. It can be deleted at any time.

    A file is the SHA-256 of an .npz, followed by the .npz.

    Args:
        folder: created by the first write.
    """

    folder: Path

    @staticmethod
    def key(*parts: object) -> str:
        """The key of plain values.

        >>> ArrayCache.key("blocks.4", 17) == ArrayCache.key("blocks.4", 17) != ArrayCache.key("blocks.41", 7)
        True
        """
        return files.sha256(json.dumps(parts).encode())

    def read(self, key: str) -> Arrays | None:
        """The arrays under a key; None where there are none, or where the checksum does not match."""
        try:
            content = self._path(key).read_bytes()
        except OSError:
            return None
        digest, body = content[:_DIGEST], content[_DIGEST:]
        if files.sha256(body).encode() != digest:
            return None
        with np.load(io.BytesIO(body), allow_pickle=False) as arrays:
            return dict(arrays)

    def write(self, key: str, arrays: Arrays) -> None:
        """Store arrays under a key.

        Raises:
            OutputError: the disk is full, or the folder cannot be written.
        """
        assert not any(array.dtype.hasobject for array in arrays.values()), "objects would need pickle"
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]  # its allow_pickle came with numpy 2.1
        body = buffer.getvalue()
        files.write(self._path(key), files.sha256(body).encode() + body)

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / key[2:]


_DIGEST = 64  # hexadecimal digits of a SHA-256
