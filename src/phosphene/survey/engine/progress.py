"""Where finished batches go: into a fold, and from time to time onto the disk."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, as_completed
from typing import Protocol

from phosphene.survey.accumulators.accumulator import Seen, State
from phosphene.survey.engine.checkpoint import Work
from phosphene.survey.engine.fold import Batch, Fold

Watch = Callable[[int, int, int], None]
"""(images done, images in all, failures so far)"""


class Taker(Protocol):
    """Takes in batches from several threads, until it wants no more."""

    fold: Fold
    stop: threading.Event

    def add(self, batch: Batch, heard: Iterable[Seen]) -> None:
        """Take in a batch, and what was heard of it."""

    def save(self) -> None:
        """Make what was taken in last."""


class Progress:
    """The taker of a survey: into the fold and the work, saved now and then. One thread at a time is let in."""

    def __init__(self, work: Work, fold: Fold, images: int, *, every: float, watch: Watch | None) -> None:
        self.work, self.fold, self.every, self.watch, self.images = work, fold, every, watch, images
        self.lock, self.saved = threading.Lock(), time.monotonic()
        self.stop = threading.Event()

    def add(self, batch: Batch, heard: Iterable[Seen]) -> None:
        """Take in a batch, and what was heard of it."""
        with self.lock:
            if self.fold.torn:  # by another thread, which says why
                return
            self.work.keep(batch)
            self.fold.add(heard)
            self._tell()

    def merge(self, states: Mapping[tuple[str, str], State], batches: Iterable[Batch]) -> None:
        """Take in batches that were folded elsewhere, and the settled states that they came to."""
        with self.lock:
            try:
                self.fold.merge(states)
                for batch in batches:
                    self.work.keep(batch)
            except BaseException:
                self.fold.torn = True  # the states hold batches that are not taken down as done
                raise
            self._tell()

    def save(self) -> None:
        """Save, whether it is time or not; where folding failed, what was saved before stays."""
        with self.lock:
            if not self.fold.torn:
                self.work.save(self.fold)

    def _tell(self) -> None:
        """Save if it is time, and say how far it is."""
        if time.monotonic() - self.saved > self.every:
            self.work.save(self.fold)
            self.saved = time.monotonic()
        if self.watch is not None:
            batch = self.work.plan["batch"]
            self.watch(min(int(self.work.done.sum()) * batch, self.images), self.images, len(self.work.failures))


def wait(running: Sequence[Future[None]], taker: Taker) -> None:
    """Wait for threads. Where one fails, or the user interrupts, the others end what they are at, and it is saved."""
    try:
        for each in as_completed(running):
            each.result()
    except BaseException:
        taker.stop.set()
        for each in running:
            each.exception()
        taker.save()
        raise
