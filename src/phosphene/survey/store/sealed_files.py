"""The files of a finished survey, each checked against its hash before it is read."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from phosphene.core.errors import RunError
from phosphene.core.result import File
from phosphene.core.table import Table
from phosphene.survey.store import seal
from phosphene.survey.store.duckdb import remedy
from phosphene.survey.store.table import Value, read_table


class SealedFiles:
    """The tables and arrays that result.json lists.

    Args:
        folder: of the survey.
        entries: those of result.json under "files".
    """

    def __init__(self, folder: Path, entries: list[Mapping[str, Any]]) -> None:
        self.folder, self._entries = folder, {str(entry["path"]): entry for entry in entries}

    def names(self, suffix: str) -> tuple[str, ...]:
        """The paths with a suffix, without it."""
        return tuple(path.removesuffix(suffix) for path in self._entries if path.endswith(suffix))

    def path(self, name: str) -> Path:
        """The path of a file whose content is what was written.

        Raises:
            RunError: the survey wrote no such file, or it is damaged.
        """
        if name not in self._entries:
            raise RunError(
                f"the survey in {self.folder} kept no {name}. Run it again with the accumulator that writes it (--keep)"
            )
        if what := seal.damage_of(self.folder, self._entries[name], full=True):
            raise RunError(f"{self.folder / name} {what}. {remedy(self.folder)}")
        return self.folder / name

    def table(self, name: str, where: Mapping[str, Value], order: tuple[str, ...] = ()) -> Table:
        """A table; see `phosphene.survey.store.table.read_table`."""
        return read_table(self.path(f"{name}.parquet"), where=where, order=order)

    def array(self, name: str) -> npt.NDArray[Any]:
        """An array, mapped from the disk."""
        array: npt.NDArray[Any] = np.load(self.path(f"{name}.npy"), mmap_mode="r", allow_pickle=False)
        return array

    def copies(self) -> Iterator[File]:
        """Every file, to be copied."""
        for path, entry in self._entries.items():
            facts = {key: value for key, value in entry.items() if key not in {"path", "kind"}}
            yield File(path, entry["kind"], functools.partial(shutil.copyfile, self.path(path)), facts)
