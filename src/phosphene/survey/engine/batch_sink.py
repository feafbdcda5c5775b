"""Where finished batches go: into the states, and from time to time onto the disk."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, as_completed
from typing import Protocol

from phosphene.core.progress import Progress, Watch
from phosphene.survey.accumulators.accumulator import AccumulatorState, BatchStatistics
from phosphene.survey.engine.checkpoint import SurveyCheckpoint
from phosphene.survey.engine.fold import Batch, Fold


class BatchSink(Protocol):
    """Takes batches from several threads, until it sets `stop`."""

    fold: Fold
    stop: threading.Event

    def add(self, batch: Batch, statistics: Iterable[BatchStatistics]) -> None:
        """Add a batch and its statistics."""

    def save(self) -> None:
        """Save what was added."""


class CheckpointSink:
    """The sink of a survey: adds batches to the states and the checkpoint, and saves now and then. Thread-safe."""

    def __init__(
        self, checkpoint: SurveyCheckpoint, fold: Fold, images: int, *, save_every: float, watch: Watch | None
    ) -> None:
        self.checkpoint, self.fold, self.images = checkpoint, fold, images
        self.save_every, self.watch = save_every, watch
        self.lock, self.saved = threading.Lock(), time.monotonic()
        self.stop = threading.Event()

    @property
    def done(self) -> int:
        """How many images are done."""
        return min(int(self.checkpoint.done.sum()) * self.fold.plan.batch, self.images)

    def add(self, batch: Batch, statistics: Iterable[BatchStatistics]) -> None:
        """Add a batch and its statistics."""
        with self.lock:
            if self.fold.inconsistent:  # another thread failed, and raises its error
                return
            self.checkpoint.add(batch)
            self.fold.add(statistics)
            self._report()

    def merge(self, states: Mapping[tuple[str, str], AccumulatorState], batches: Iterable[Batch]) -> None:
        """Add batches that were reduced elsewhere, and their compact states."""
        with self.lock:
            try:
                self.fold.merge(states)
                for batch in batches:
                    self.checkpoint.add(batch)
            except BaseException:
                self.fold.inconsistent = True  # the states hold batches that are not recorded as done
                raise
            self._report()

    def save(self) -> None:
        """Save now; where an update failed, the states that were saved before stay."""
        with self.lock:
            if not self.fold.inconsistent:
                self.checkpoint.save(self.fold)

    def _report(self) -> None:
        """Save when it is time, and report progress."""
        if time.monotonic() - self.saved > self.save_every:
            self.checkpoint.save(self.fold)
            self.saved = time.monotonic()
        if self.watch is not None:
            failed = len(self.checkpoint.failures)
            if self.watch(Progress(self.done, self.images, f"survey, {failed} failed" if failed else "survey")):
                self.stop.set()


def wait_for(futures: Sequence[Future[None]], sink: BatchSink) -> None:
    """Wait for threads. Where one fails, or the user interrupts, the others finish their batch, and all is saved."""
    try:
        for future in as_completed(futures):
            future.result()
    except BaseException:
        sink.stop.set()
        for future in futures:
            future.exception()
        sink.save()
        raise
