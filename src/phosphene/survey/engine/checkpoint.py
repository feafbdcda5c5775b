"""The folder of an unfinished survey: what is on the disk when the process is killed, and how to resume from it."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from numpy.lib.format import open_memmap
from safetensors.torch import load, save
from torch import Tensor

from phosphene.core import files
from phosphene.core.errors import FolderError, RunError
from phosphene.core.folder import HIDDEN, OutputFolder
from phosphene.survey.accumulators.accumulator import Accumulator, AccumulatorState
from phosphene.survey.engine.fold import FACTS, Batch, Fold
from phosphene.survey.store.seal import PLAN, RESULT, STATE

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


@dataclasses.dataclass
class SurveyCheckpoint:
    """The folder of a survey while it runs.

    Rows of images are in memory-mapped files, written in place: a row written twice is the same row. The states are in
    one file, replaced whole now and then, with the list of the batches in them; later batches are computed again.

    Args:
        output: the folder, and which files in it are ours.
        plan: as plain values; a folder holds one plan.
        arrays: file → a row for each image.
        facts: a record for each image.
        done: whether each batch is in the saved states.
        failures: number of an image → why it could not be read.
        notes: choices that were made, for the manifest.
        lock: descriptor of the file that keeps other processes out.
    """

    output: OutputFolder
    plan: Mapping[str, Any]
    arrays: dict[str, npt.NDArray[Any]]
    facts: npt.NDArray[Any]
    done: npt.NDArray[np.bool_]
    failures: dict[int, str]
    notes: tuple[str, ...] = ()
    lock: int | None = None

    @classmethod
    def begin(
        cls, folder: Path, plan: Mapping[str, Any], rows: Mapping[str, tuple[tuple[int, ...], str]], batches: int
    ) -> Self:
        """The checkpoint in a folder, a new one or the one that is there.

        Raises:
            FolderError: the folder holds files that are not of a survey.
            RunError: the folder holds another survey, one that is damaged, or one that is running.
            OutputError: the disk is full, or the folder cannot be written.
        """
        own_folder(folder).claim()
        lock = _lock(folder)
        try:
            # Read again: another process may have written to the folder until the lock was acquired.
            checkpoint = cls(own_folder(folder), plan, {}, np.zeros(0, FACTS), np.zeros(batches, bool), {}, lock=lock)
            with files.writing(folder):
                checkpoint._open(rows)
        except BaseException:
            os.close(lock)
            raise
        return checkpoint

    @property
    def folder(self) -> Path:
        """The folder of the run."""
        return self.output.path

    def _open(self, rows: Mapping[str, tuple[tuple[int, ...], str]]) -> None:
        path = self.folder / PLAN
        if (self.folder / RESULT).exists():
            raise RunError(f"another process has just finished the survey in {self.folder}; run the same command again")
        new = not path.exists()
        if new:
            self.output.claim(*(f"{name}.npy" for name in rows))
            self._states.unlink(missing_ok=True)
        else:
            before = _read_plan(path)
            require_same(self.folder, before, self.plan)
            self.notes += tuple(
                f"begun with {key} {before.get(key)}, finished with {self.plan.get(key)}: last bits may differ"
                for key in _BITS
                if before.get(key) != self.plan.get(key)
            )
        for folder in (self.folder, self.output.state):
            for temporary in files.abandoned(folder):
                temporary.unlink()
        images = self.plan["images"]
        for name, (shape, kind) in rows.items():
            self.arrays[name] = self._array(self.folder / f"{name}.npy", (images, *shape), kind, new=new)
        self.facts = self._array(self.output.state / "facts.npy", (images,), FACTS, new=new)
        if new:
            files.write_json(path, dict(self.plan))

    def _array(self, path: Path, shape: tuple[int, ...], kind: Any, *, new: bool) -> npt.NDArray[Any]:
        """A memory-mapped file of rows; rows of floats are NaN until they are written."""
        if new:
            array = open_memmap(path, mode="w+", dtype=np.dtype(kind), shape=shape)
            files.reserve(path)
            if array.dtype.kind == "f":
                array[:] = np.nan
            return array
        try:
            open_memmap(path, mode="r")  # which does not lengthen a file that was cut
            array = open_memmap(path, mode="r+")
            if array.shape != shape or array.dtype != np.dtype(kind):
                raise ValueError(f"it holds {array.dtype} {array.shape}")  # noqa: TRY301  one line says either
        except (OSError, ValueError) as error:
            raise RunError(f"{path} is damaged: {error}. Delete {self.folder} and run the survey again") from error
        return array

    @property
    def _states(self) -> Path:
        return self.output.state / "states"

    def restore(self, fold: Fold) -> None:
        """Merge the saved states into a fold; where their file is damaged, all images are read again, with a note."""
        if not self._states.exists():
            return
        content = self._states.read_bytes()
        digest, payload = content[:_DIGEST], content[_DIGEST:]
        if files.sha256(payload).encode() != digest:
            self.notes += (f"{self._states} was damaged, so all images were read again",)
            return
        tensors = load(payload)
        failures = json.loads(tensors.pop("failures").numpy().tobytes())
        self.done[:] = tensors.pop("done").numpy()
        self.failures = {int(number): why for number, why in failures.items()}
        fold.merge(_nested(tensors))

    def add(self, batch: Batch) -> None:
        """Write the rows of a batch, and record it as done."""
        failed = list(batch.failures)
        for array in self.arrays.values():  # an image may have been readable before an interruption
            array[failed] = _blank(array.dtype)
        for name, values in batch.rows.items():
            self.arrays[name][batch.numbers] = values
        for number, fact in batch.facts.items():
            self.facts[number] = fact
        self.failures |= batch.failures
        self.done[batch.index] = True

    def save(self, fold: Fold) -> None:
        """Replace the saved states, after the rows are on the disk."""
        with files.writing(self.folder):
            for array in (*self.arrays.values(), self.facts):
                array.flush()  # type: ignore[attr-defined]  # of a memmap
        failures = json.dumps({str(number): self.failures[number] for number in sorted(self.failures)}).encode()
        tensors = {**_flat(fold.compact()), "done": torch.from_numpy(self.done)}
        tensors["failures"] = torch.frombuffer(bytearray(failures), dtype=torch.uint8)
        payload = save(tensors)
        files.write(self._states, files.sha256(payload).encode() + payload)

    def close(self) -> None:
        """Release the folder for other processes."""
        if self.lock is not None:
            os.close(self.lock)
            self.lock = None


def own_folder(folder: Path) -> OutputFolder:
    """The folder of a survey: absent, empty, or marked as that of a survey.

    Raises:
        FolderError: it holds files and no survey, or the result of another verb.
    """
    output = OutputFolder(folder, "survey")
    if not (folder / HIDDEN).exists() and folder.is_dir():
        names = sorted(path.name for path in folder.iterdir())
        if names:
            raise FolderError(
                f"{folder} holds {names[0]}, and no survey; choose another folder with -o, or an empty one"
            )
    return output


def clear(folder: Path) -> None:
    """Delete what only an unfinished survey needs, as far as the system allows."""
    shutil.rmtree(folder / STATE, ignore_errors=True)


def require_same(folder: Path, before: Mapping[str, Any], plan: Mapping[str, Any]) -> None:
    """A folder holds one plan.

    Raises:
        RunError: it holds another survey; the line says what differs.
    """
    missing = [name for name in _names(before) if name not in Accumulator.table]
    if missing:
        raise RunError(
            f"{folder} holds a survey with the accumulator {missing[0]!r}, which is not known here; load the file that "
            "defines it with --plugin"
        )
    for key in _IDENTITY:
        if before.get(key) != plan[key]:
            stored, asked = (str(values.get(key))[:120] for values in (before, plan))
            raise RunError(
                f"{folder} holds a survey of other {key} ({stored}; asked for {asked}). Choose another folder with -o, "
                "or delete this one"
            )


def _names(plan: Mapping[str, Any]) -> Iterable[str]:
    """The names of the accumulators of a plan."""
    stored = plan.get("accumulators")
    return [str(entry.get("name")) for entry in stored if isinstance(entry, dict)] if isinstance(stored, list) else []


def _blank(kind: np.dtype[Any]) -> Any:
    """The value of a row that is not written."""
    return np.nan if kind.kind == "f" else np.zeros((), kind)


def _read_plan(path: Path) -> dict[str, Any]:
    try:
        plan = json.loads(path.read_text())
    except ValueError:
        plan = None
    if not isinstance(plan, dict):
        raise RunError(f"{path} is damaged; delete {path.parents[2]} and run the survey again")
    return plan


def _lock(folder: Path) -> int:
    """Lock the folder against other processes; systems without locks do without."""
    with files.writing(folder):
        (folder / STATE).mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / STATE / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    if fcntl is None:
        return descriptor
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise RunError(
            f"another survey is running in {folder}; wait for it, or choose another folder with -o"
        ) from error
    except OSError as error:
        os.close(descriptor)
        raise RunError(
            f"{folder} cannot be locked ({error.strerror}); choose a folder on another disk with -o"
        ) from error
    return descriptor


def _flat(states: Mapping[tuple[str, str], AccumulatorState]) -> dict[str, Tensor]:
    return {
        "\t".join((*key, name)): tensor.contiguous() for key, state in states.items() for name, tensor in state.items()
    }


def _nested(tensors: Mapping[str, Tensor]) -> dict[tuple[str, str], AccumulatorState]:
    states: dict[tuple[str, str], AccumulatorState] = {}
    for key, tensor in tensors.items():
        layer, accumulator, name = key.split("\t")
        states.setdefault((layer, accumulator), {})[name] = tensor
    return states


_DIGEST = 64
_IDENTITY = ("images", "digest", "model", "preprocess", "layers", "accumulators", "labels", "seed", "batch")
_BITS = ("torch", "device")
