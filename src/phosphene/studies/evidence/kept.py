"""Arrays that are costly to make, kept by the content they were made from; a damaged file is made again."""

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
class Kept:
    """A folder of arrays by the SHA-256 of everything that they depend on; deleting it costs time alone.

    A file is the SHA-256 of an .npz, followed by the .npz.

    Args:
        folder: made when something is kept.
    """

    folder: Path

    @staticmethod
    def key(*parts: object) -> str:
        """The name of what plain values lead to.

        >>> Kept.key("blocks.4", 17) == Kept.key("blocks.4", 17) != Kept.key("blocks.41", 7)
        True
        """
        return files.sha256(json.dumps(parts).encode())

    def find(self, key: str) -> Arrays | None:
        """What was kept under a key; None where nothing was, or where a bit of it is no longer as it was written."""
        try:
            content = self._path(key).read_bytes()
        except OSError:
            return None
        digest, body = content[:_DIGEST], content[_DIGEST:]
        if files.sha256(body).encode() != digest:
            return None
        with np.load(io.BytesIO(body), allow_pickle=False) as arrays:
            return dict(arrays)

    def keep(self, key: str, arrays: Arrays) -> None:
        """Keep arrays under a key.

        Raises:
            OutputError: the disk is full, or the folder cannot be written.
        """
        assert not any(each.dtype.hasobject for each in arrays.values()), "objects would need pickle"
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]  # its allow_pickle came with numpy 2.1
        body = buffer.getvalue()
        files.write(self._path(key), files.sha256(body).encode() + body)

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / key[2:]


_DIGEST = 64
