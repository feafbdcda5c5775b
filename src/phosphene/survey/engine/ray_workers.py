"""Processes of a Ray cluster: what each computes, and how work is assigned to them."""

from __future__ import annotations

import dataclasses
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version
from typing import Any

import torch

from phosphene.core.errors import RunError
from phosphene.core.networks.network import Network
from phosphene.survey.accumulators.accumulator import BatchStatistics
from phosphene.survey.engine.batch_sink import CheckpointSink
from phosphene.survey.engine.fold import Batch, Fold, States
from phosphene.survey.engine.plan import SurveyPlan
from phosphene.survey.engine.threads import run_threads
from phosphene.survey.sources.image_list import ImageList

MAX_DEATHS = 3
"""Workers that may die while they compute the same images."""


def versions() -> str:
    """What the bits of a survey depend on besides the processor."""
    return f"phosphene {version('phosphene')} on torch {torch.__version__}"


class Worker:
    """One process: it holds the network, and computes one share of the batches after the other.

    Args:
        work: the network, the images and the plan.
    """

    def __init__(self, work: tuple[Network, ImageList, SurveyPlan]) -> None:
        self.network, self.images, self.plan = work

    def versions(self) -> str:
        """The versions in this process; see the function of this name."""
        return versions()

    def compute(self, share: Sequence[int], *states: States) -> tuple[States, list[Batch]]:
        """Compute a share, and merge the states of other shares into its own."""
        sink = ShareSink(self.plan)
        run_threads([self.network], self.images, self.plan, share, sink=sink)
        for other in states:
            sink.fold.merge(other)
        return sink.fold.compact(), sink.batches


class ShareSink:
    """The sink of one share: its states, and its batches without their pixels."""

    def __init__(self, plan: SurveyPlan) -> None:
        self.fold, self.stop = Fold(plan), threading.Event()
        self.batches: list[Batch] = []

    def add(self, batch: Batch, statistics: Iterable[BatchStatistics]) -> None:
        """Add a batch and its statistics; they come from one thread."""
        self.fold.add(statistics)
        self.batches.append(dataclasses.replace(batch, images=torch.zeros(0)))

    def save(self) -> None:
        """Nothing: an unfinished share is computed again."""


@dataclasses.dataclass(frozen=True, eq=False)
class PartialResult:
    """The result of some shares.

    Args:
        states: reference to the compact states, which are stored in the cluster.
        batches: their rows and facts.
        shares: how many.
    """

    states: Any
    batches: tuple[Batch, ...]
    shares: int = 1


@dataclasses.dataclass(frozen=True, eq=False)
class Task:
    """What a worker is computing: a share, or the merge of partial results."""

    worker: Any
    share: tuple[int, ...]
    parts: tuple[PartialResult, ...]
    states: Any


@dataclasses.dataclass
class RayWorkers:
    """Workers of a cluster, managed by one thread.

    States stay in the cluster, where results of equally many shares are merged in pairs; this process receives one
    state for a round of all workers. Only then are its batches recorded as done, so none is counted twice: what is
    lost before is computed again.

    Args:
        ray: the module.
        start_worker: starts a worker.
        size: how many workers.
        shares: to be computed, as indices of batches.
        sink: receives the results.
        sources: names the images of a batch.
    """

    ray: Any
    start_worker: Callable[[], Any]
    size: int
    shares: deque[tuple[int, ...]]
    sink: CheckpointSink
    sources: Callable[[int], str]

    def __post_init__(self) -> None:
        self.starting: dict[Any, Any] = {}
        self.idle: list[Any] = []
        self.tasks: dict[Any, Task] = {}
        self.parts: list[PartialResult] = []
        self.deaths: Counter[int] = Counter()
        errors = self.ray.exceptions
        self.lost = (errors.RayActorError, errors.ObjectLostError, errors.OutOfMemoryError, errors.NodeDiedError)

    def run(self) -> None:
        """Assign work until all shares are done, or the sink stops.

        Raises:
            RunError: a worker cannot start, or too many workers died of the same images.
        """
        try:
            for _ in range(self.size):
                self._start()
            while (self.shares or self.tasks or self.parts) and not self.sink.stop.is_set():
                while self.idle and (work := self._next()):
                    self._assign(*work)
                self._receive([part for part in self.parts if part.shares >= self.size or not self.shares])
                calls = [*self.starting, *self.tasks]
                for call in self.ray.wait(calls, timeout=_POLL)[0] if calls else ():
                    (self._started if call in self.starting else self._finished)(call)
            self._receive(list(self.parts))
        finally:
            for worker in (*self.starting.values(), *self.idle, *(task.worker for task in self.tasks.values())):
                self.ray.kill(worker)

    def _start(self) -> None:
        worker = self.start_worker()
        self.starting[worker.versions.remote()] = worker

    def _started(self, call: Any) -> None:
        """A worker has started, or failed to."""
        worker = self.starting.pop(call)
        try:
            installed = self.ray.get(call)
        except self.lost as error:
            if getattr(error, "actor_init_failed", False) or self._too_many_deaths(_START):
                raise RunError(
                    f"a worker could not start: {last_line(error)}; every machine of the cluster needs phosphene[ray], "
                    "and what the network is made of"
                ) from error
            self._start()
            return
        if installed != versions():
            self.ray.kill(worker)
            raise RunError(f"a worker has {installed}, and here is {versions()}; install the same on every machine")
        self.deaths.pop(_START, None)
        self.idle.append(worker)

    def _next(self) -> tuple[tuple[int, ...], tuple[PartialResult, ...]] | None:
        """The next work: the merge of two results of equally many shares, or a share."""
        single: dict[int, PartialResult] = {}
        for part in self.parts:
            if part.shares in single and part.shares < self.size:
                return (), (single[part.shares], part)
            single[part.shares] = part
        return (self.shares.popleft(), ()) if self.shares else None

    def _assign(self, share: tuple[int, ...], parts: tuple[PartialResult, ...]) -> None:
        worker = self.idle.pop()
        for part in parts:
            self.parts.remove(part)
        states, batches = worker.compute.options(num_returns=2).remote(share, *(part.states for part in parts))
        self.tasks[batches] = Task(worker, share, parts, states)

    def _finished(self, call: Any) -> None:
        """A task has finished, or its worker died."""
        task = self.tasks.pop(call)
        try:
            batches = self.ray.get(call)
        except self.lost:
            self._replace_worker(task)
        except self.ray.exceptions.RayTaskError as error:
            raise error.cause from error
        else:
            self.idle.append(task.worker)
            merged = tuple(batch for part in task.parts for batch in part.batches)
            shares = sum(part.shares for part in task.parts) or 1
            self.parts.append(PartialResult(task.states, (*batches, *merged), shares))

    def _replace_worker(self, task: Task) -> None:
        """Replace a worker that died. Its share is computed again, after two deaths in single batches."""
        self.ray.kill(task.worker)
        self._start()
        self._receive(list(task.parts))
        fatal = [index for index in task.share if self._too_many_deaths(index)]
        if fatal:
            self._receive(list(self.parts))
            raise RunError(
                f"{MAX_DEATHS} workers died, one after the other, of these images: "
                f"{', '.join(map(self.sources, fatal))}. Survey them alone and without Ray to see why"
            )
        if any(self.deaths[index] > 1 for index in task.share):
            self.shares.extendleft((index,) for index in task.share)
        elif task.share:
            self.shares.appendleft(task.share)

    def _too_many_deaths(self, index: int) -> bool:
        self.deaths[index] += 1
        return self.deaths[index] >= MAX_DEATHS

    def _receive(self, parts: list[PartialResult]) -> None:
        """Merge results into the states here; batches whose states were lost with their machine are computed again."""
        for part in parts:
            try:
                states = self.ray.get(part.states)
            except self.lost:
                self.shares.append(tuple(batch.index for batch in part.batches))
            else:
                self.sink.merge(states, part.batches)
        self.parts = [part for part in self.parts if part not in parts]


def last_line(error: BaseException) -> str:
    """The last line of an error of Ray: the error itself, below its traceback."""
    return str(error).strip().rpartition("\n")[2].strip().rstrip(".")


_START = -1  # counts deaths of workers before their first task
_POLL = 0.5  # seconds after which it is checked whether the sink stops
