"""A survey that is not finished: what a kill at any moment leaves behind, and how to go on from it."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Container, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from numpy.lib.format import open_memmap
from safetensors.torch import load, save
from torch import Tensor

from phosphene.core import files
from phosphene.core.errors import RunError
from phosphene.survey.accumulators.accumulator import State
from phosphene.survey.engine.fold import FACTS, Batch, Fold
from phosphene.survey.store.seal import PLAN, RESULT, WORK, sealable

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


@dataclasses.dataclass
class Work:
    """The folder of a survey while it runs.

    Rows of images lie in memory-mapped files, written in place: a row written twice is the same row. The states lie in
    one file, replaced whole now and then, with the list of the batches that they hold; a batch that came after is done
    again.

    Args:
        folder: of the run.
        plan: what the survey does, as plain values; a folder belongs to one plan.
        arrays: file → a row for each image.
        done: whether each batch is in the saved states.
        failures: number of an image → why it could not be read.
        remarks: what was chosen on the way, for the manifest.
        lock: descriptor of the file that keeps other processes out.
    """

    folder: Path
    plan: Mapping[str, Any]
    arrays: dict[str, npt.NDArray[Any]]
    done: npt.NDArray[np.bool_]
    failures: dict[int, str]
    remarks: tuple[str, ...] = ()
    lock: int | None = None

    @classmethod
    def begin(
        cls, folder: Path, plan: Mapping[str, Any], rows: Mapping[str, tuple[tuple[int, ...], str]], batches: int
    ) -> Self:
        """The work in a folder, begun or found there.

        Raises:
            RunError: the folder holds another survey, one that is damaged or runs just now, or tables of others.
            OutputError: the disk is full, or the folder cannot be written.
        """
        shapes = {**rows, "work/facts": ((), FACTS)}
        if not (folder / PLAN).exists():
            _unused(folder, {f"{name}.npy" for name in shapes})
        work = cls(folder, plan, {}, np.zeros(batches, bool), {}, lock=_lock(folder))
        try:
            with files.writing(folder):
                work._open(shapes)
        except BaseException:
            work.close()
            raise
        return work

    def _open(self, shapes: Mapping[str, tuple[tuple[int, ...], Any]]) -> None:
        path = self.folder / PLAN
        if (self.folder / RESULT).exists():  # while this process waited to be let in
            raise RunError(f"another process has just finished the survey in {self.folder}; run the same command again")
        fresh = not path.exists()
        if fresh:
            self._state.unlink(missing_ok=True)
        else:
            before = _before(path)
            same(self.folder, before, self.plan)
            self.remarks += tuple(
                f"begun with {each} {before.get(each)}, finished with {self.plan.get(each)}: last bits may differ"
                for each in _BITS
                if before.get(each) != self.plan.get(each)
            )
        for each in (self.folder, self._state.parent, self.folder / "similar"):
            for left in files.abandoned(each):
                left.unlink()
        for name, shape in shapes.items():
            self.arrays[name] = _array(self.folder, name, self.plan["images"], *shape, fresh=fresh)
        if fresh:
            files.write_json(path, dict(self.plan))

    @property
    def _state(self) -> Path:
        return self.folder / WORK / "state"

    def restore(self, fold: Fold) -> None:
        """Put the saved states into a fold; where the file is damaged all is done again, with a remark."""
        if not self._state.exists():
            return
        content = self._state.read_bytes()
        seal, payload = content[:_SEAL], content[_SEAL:]
        if files.sha256(payload).encode() != seal:
            self.remarks += (f"{self._state} was damaged, so all images were looked at again",)
            return
        tensors = load(payload)
        notes = json.loads(tensors.pop("notes").numpy().tobytes())
        self.done[:] = tensors.pop("done").numpy()
        self.failures = {int(number): why for number, why in notes.items()}
        fold.merge(_unflat(tensors))

    def keep(self, batch: Batch) -> None:
        """Write the rows of a batch, and take it down as done."""
        lost = list(batch.failures)
        for array in self.arrays.values():  # which may have been readable before an interrupt
            array[lost] = _blank(array.dtype)
        for name, values in batch.rows.items():
            self.arrays[name][batch.numbers] = values
        for number, fact in batch.facts.items():
            self.arrays["work/facts"][number] = fact
        self.failures |= batch.failures
        self.done[batch.index] = True

    def save(self, fold: Fold) -> None:
        """Replace the saved states; the rows are on the disk before."""
        with files.writing(self.folder):
            for array in self.arrays.values():
                array.flush()  # type: ignore[attr-defined]  # of a memmap
        notes = json.dumps({str(number): self.failures[number] for number in sorted(self.failures)}).encode()
        tensors = {**_flat(fold.settled()), "done": torch.from_numpy(self.done)}
        tensors["notes"] = torch.frombuffer(bytearray(notes), dtype=torch.uint8)
        payload = save(tensors)
        files.write(self._state, files.sha256(payload).encode() + payload)

    def close(self) -> None:
        """Let another process have the folder."""
        if self.lock is not None:
            os.close(self.lock)
            self.lock = None


def clear(folder: Path) -> None:
    """Remove what only an unfinished survey needs, as far as this may be."""
    shutil.rmtree(folder / WORK, ignore_errors=True)
    with suppress(OSError):
        (folder / PLAN).unlink(missing_ok=True)


def _unused(folder: Path, own: Container[str]) -> None:
    """A survey that begins in a folder writes over no file of others, nor takes one for its own."""
    for each in sealable(folder):
        name = each.relative_to(folder).as_posix()
        if name not in own:
            raise RunError(
                f"{folder} holds {name}, which is of no survey here; choose another folder with -o, or move it"
            )


def _array(  # noqa: PLR0917
    folder: Path, name: str, rows: int, shape: tuple[int, ...], kind: Any, *, fresh: bool
) -> npt.NDArray[Any]:
    """A memory-mapped file of rows; rows of floats are NaN until they are written."""
    path = folder / f"{name}.npy"
    if fresh:
        array = open_memmap(path, mode="w+", dtype=np.dtype(kind), shape=(rows, *shape))
        files.reserve(path)
        if array.dtype.kind == "f":
            array[:] = np.nan
        return array
    try:
        open_memmap(path, mode="r")  # which does not lengthen a file that was cut
        array = open_memmap(path, mode="r+")
        if array.shape != (rows, *shape) or array.dtype != np.dtype(kind):
            raise ValueError(f"it holds {array.dtype} {array.shape}")  # noqa: TRY301  one line says either
    except (OSError, ValueError) as error:
        raise RunError(f"{path} is damaged: {error}. Delete {folder} and run the survey again") from error
    return array


def _blank(kind: np.dtype[Any]) -> Any:
    """A row of nothing."""
    return np.nan if kind.kind == "f" else np.zeros((), kind)


def same(folder: Path, before: Mapping[str, Any], plan: Mapping[str, Any]) -> None:
    """A folder belongs to one plan.

    Raises:
        RunError: it holds another survey; the line says what differs.
    """
    for key in _IDENTITY:
        if before.get(key) != plan[key]:
            found, asked = (str(each.get(key))[:120] for each in (before, plan))
            raise RunError(
                f"{folder} holds a survey of other {key} ({found}; asked for {asked}). Choose another folder with -o, "
                "or delete this one"
            )


def _before(path: Path) -> dict[str, Any]:
    try:
        plan: dict[str, Any] = json.loads(path.read_text())
    except ValueError as error:
        raise RunError(f"{path} is damaged; delete {path.parent} and run the survey again") from error
    return plan


def _lock(folder: Path) -> int:
    """Hold the folder; systems without locks go without."""
    with files.writing(folder):
        (folder / WORK).mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / WORK / "lock", os.O_RDWR | os.O_CREAT, 0o644)
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


def _flat(states: Mapping[tuple[str, str], State]) -> dict[str, Tensor]:
    return {
        "\t".join((*key, name)): tensor.contiguous() for key, state in states.items() for name, tensor in state.items()
    }


def _unflat(tensors: Mapping[str, Tensor]) -> dict[tuple[str, str], State]:
    states: dict[tuple[str, str], State] = {}
    for key, tensor in tensors.items():
        layer, accumulator, name = key.split("\t")
        states.setdefault((layer, accumulator), {})[name] = tensor
    return states


_SEAL = 64
_IDENTITY = ("images", "digest", "model", "preprocess", "layers", "accumulators", "labels", "seed", "batch")
_BITS = ("torch", "device")
