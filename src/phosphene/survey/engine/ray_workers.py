"""Workers of a cluster: what each does, and how they are led."""

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
from phosphene.survey.accumulators.accumulator import Seen, State
from phosphene.survey.engine.fold import Batch, Fold, Plan
from phosphene.survey.engine.progress import Progress
from phosphene.survey.engine.threads import work_here
from phosphene.survey.sources.image_list import Roll

States = dict[tuple[str, str], State]
"""Settled states, by layer and accumulator."""

DEATHS = 3
"""Workers that may die of the same images."""


def versions() -> str:
    """What the bits of a survey depend on besides the processor."""
    return f"phosphene {version('phosphene')} on torch {torch.__version__}"


class Worker:
    """One process: it holds the network, and does one share after the other.

    Args:
        work: the network, the images and the plan.
    """

    def __init__(self, work: tuple[Network, Roll, Plan]) -> None:
        self.network, self.images, self.plan = work

    def versions(self) -> str:
        """See the function of this name."""
        return versions()

    def look(self, share: Sequence[int], *parts: States) -> tuple[States, list[Batch]]:
        """Do a share, and merge into it what others came to."""
        done = Done(self.plan)
        work_here([self.network], self.images, self.plan, share, taker=done)
        for each in parts:
            done.fold.merge(each)
        return done.fold.settled(), done.batches


class Done:
    """The taker of a share: its batches, without their pixels."""

    def __init__(self, plan: Plan) -> None:
        self.fold, self.stop = Fold(plan), threading.Event()
        self.batches: list[Batch] = []

    def add(self, batch: Batch, heard: Iterable[Seen]) -> None:
        """Take in a batch; they come from one thread."""
        self.fold.add(heard)
        self.batches.append(dataclasses.replace(batch, images=torch.zeros(0)))

    def save(self) -> None:
        """Nothing: a share that was not finished is done again."""


@dataclasses.dataclass(frozen=True, eq=False)
class Part:
    """What some shares came to.

    Args:
        states: where in the cluster the settled states lie.
        batches: their rows and facts.
        shares: how many.
    """

    states: Any
    batches: tuple[Batch, ...]
    shares: int = 1


@dataclasses.dataclass(frozen=True, eq=False)
class Task:
    """What a worker is at: a share to do, or parts to merge."""

    worker: Any
    share: tuple[int, ...]
    parts: tuple[Part, ...]
    states: Any


@dataclasses.dataclass
class Crew:
    """Workers, led from one thread.

    States stay in the cluster, where parts of as many shares are merged in pairs; here comes one state for a round of
    all workers. Only then do its batches count as done, so none is counted twice: what is lost before is done again.

    Args:
        ray: the module.
        hire: makes a worker.
        size: how many workers.
        shares: to be done, as indices of batches.
        progress: takes what they come to.
        sources: names the images of a batch.
    """

    ray: Any
    hire: Callable[[], Any]
    size: int
    shares: deque[tuple[int, ...]]
    progress: Progress
    sources: Callable[[int], str]

    def __post_init__(self) -> None:
        self.coming: dict[Any, Any] = {}
        self.idle: list[Any] = []
        self.tasks: dict[Any, Task] = {}
        self.parts: list[Part] = []
        self.deaths: Counter[int] = Counter()
        of = self.ray.exceptions
        self.lost = (of.RayActorError, of.ObjectLostError, of.OutOfMemoryError, of.NodeDiedError)

    def lead(self) -> None:
        """Until all shares are done, or no more are wanted.

        Raises:
            RunError: a worker cannot start, or batches have killed too many.
        """
        try:
            for _ in range(self.size):
                self._hire()
            while (self.shares or self.tasks or self.parts) and not self.progress.stop.is_set():
                while self.idle and (order := self._order()):
                    self._give(*order)
                self._take([part for part in self.parts if part.shares >= self.size or not self.shares])
                calls = [*self.coming, *self.tasks]
                for each in self.ray.wait(calls, timeout=_PATIENCE)[0] if calls else ():
                    (self._welcome if each in self.coming else self._close)(each)
            self._take(list(self.parts))
        finally:
            for worker in (*self.coming.values(), *self.idle, *(task.worker for task in self.tasks.values())):
                self.ray.kill(worker)

    def _hire(self) -> None:
        worker = self.hire()
        self.coming[worker.versions.remote()] = worker

    def _welcome(self, call: Any) -> None:
        worker = self.coming.pop(call)
        try:
            found = self.ray.get(call)
        except self.lost as error:
            if getattr(error, "actor_init_failed", False) or self._fatal(_START):
                raise RunError(
                    f"a worker could not start: {last_line(error)}; every machine of the cluster needs phosphene[ray], "
                    "and what the network is made of"
                ) from error
            self._hire()
            return
        if found != versions():
            self.ray.kill(worker)
            raise RunError(f"a worker has {found}, and here is {versions()}; install the same on every machine")
        self.deaths.pop(_START, None)
        self.idle.append(worker)

    def _order(self) -> tuple[tuple[int, ...], tuple[Part, ...]] | None:
        """What to do next: merge two parts of as many shares, or do a share."""
        alone: dict[int, Part] = {}
        for part in self.parts:
            if part.shares in alone and part.shares < self.size:
                return (), (alone[part.shares], part)
            alone[part.shares] = part
        return (self.shares.popleft(), ()) if self.shares else None

    def _give(self, share: tuple[int, ...], parts: tuple[Part, ...]) -> None:
        worker = self.idle.pop()
        for each in parts:
            self.parts.remove(each)
        states, batches = worker.look.options(num_returns=2).remote(share, *(each.states for each in parts))
        self.tasks[batches] = Task(worker, share, parts, states)

    def _close(self, call: Any) -> None:
        task = self.tasks.pop(call)
        try:
            batches = self.ray.get(call)
        except self.lost:
            self._mourn(task)
        except self.ray.exceptions.RayTaskError as error:
            raise error.cause from error
        else:
            self.idle.append(task.worker)
            merged = tuple(batch for part in task.parts for batch in part.batches)
            shares = sum(part.shares for part in task.parts) or 1
            self.parts.append(Part(task.states, (*batches, *merged), shares))

    def _mourn(self, task: Task) -> None:
        """Replace a worker. Its share is done again; after two deaths batch by batch, to tell which one kills."""
        self.ray.kill(task.worker)
        self._hire()
        self._take(list(task.parts))
        fatal = [index for index in task.share if self._fatal(index)]
        if fatal:
            self._take(list(self.parts))
            raise RunError(
                f"{DEATHS} workers died, one after the other, of these images: {', '.join(map(self.sources, fatal))}. "
                "Survey them alone and without Ray to see why"
            )
        if any(self.deaths[index] > 1 for index in task.share):
            self.shares.extendleft((index,) for index in task.share)
        elif task.share:
            self.shares.appendleft(task.share)

    def _fatal(self, index: int) -> bool:
        self.deaths[index] += 1
        return self.deaths[index] >= DEATHS

    def _take(self, parts: list[Part]) -> None:
        """Fold parts in here; where the states went with their machine, their batches are done again."""
        for part in parts:
            try:
                states = self.ray.get(part.states)
            except self.lost:
                self.shares.append(tuple(batch.index for batch in part.batches))
            else:
                self.progress.merge(states, part.batches)
        self.parts = [part for part in self.parts if part not in parts]


def last_line(error: BaseException) -> str:
    """Of what Ray says: the error itself, below where it came from."""
    return str(error).strip().rpartition("\n")[2].strip().rstrip(".")


_START = -1  # what a worker may die of before it has done anything
_PATIENCE = 0.5  # seconds until it is looked whether more is wanted
