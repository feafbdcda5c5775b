"""The same bytes, whichever workers and results are lost; the cluster is simulated, and loses many."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import nets
from phosphene.core.errors import RunError
from phosphene.core.networks.network import Network
from phosphene.survey.engine import ray_workers
from phosphene.survey.engine.batch_sink import CheckpointSink
from phosphene.survey.engine.plan import SurveyPlan
from phosphene.survey.engine.ray_workers import RayWorkers, Worker
from phosphene.survey.engine.survey import survey
from phosphene.survey.sources.image_list import ImageList
from phosphene.survey.store.run import Run
from survey.photographs import photographs


class ActorError(Exception):
    """A worker died; `actor_init_failed` as Ray has it."""

    actor_init_failed = False


class LostError(Exception):
    """The result of a worker was lost with its machine."""


class TaskError(Exception):
    """What a worker raised."""


@dataclasses.dataclass(frozen=True, eq=False)
class Ref:
    value: Any


class Cluster:
    """Has the functions of Ray, computes at once, and loses workers and results with some probability."""

    exceptions = SimpleNamespace(
        RayActorError=ActorError,
        ObjectLostError=LostError,
        OutOfMemoryError=MemoryError,
        NodeDiedError=OSError,
        RayTaskError=TaskError,
    )

    def __init__(self, seed: int, deaths: float, losses: float) -> None:
        self.random, self.deaths, self.losses = np.random.default_rng(seed), deaths, losses
        self.started = 0

    def wait(self, calls: Sequence[Ref], timeout: float) -> tuple[list[Ref], list[Ref]]:
        assert calls, "Ray refuses to wait for nothing"
        chosen = calls[self.random.integers(len(calls))]
        return [chosen], [call for call in calls if call is not chosen]

    def get(self, ref: Ref) -> Any:
        if isinstance(ref.value, Exception):
            raise ref.value
        return ref.value

    def kill(self, worker: Any) -> None:
        """All are gone at the end."""

    def start(self, work: tuple[Network, ImageList, SurveyPlan]) -> Any:
        self.started += 1
        worker = Worker(work)

        def compute(share: tuple[int, ...], *parts: Ref) -> tuple[Ref, Ref]:
            if any(isinstance(part.value, LostError) for part in parts):
                return Ref(None), Ref(LostError())
            if self.random.random() < self.deaths:
                return Ref(None), Ref(ActorError())
            states, batches = worker.compute(share, *(part.value for part in parts))
            return Ref(LostError() if self.random.random() < self.losses else states), Ref(batches)

        remote = SimpleNamespace(remote=compute)
        return SimpleNamespace(
            versions=SimpleNamespace(remote=lambda: Ref(self.version())),
            compute=SimpleNamespace(options=lambda num_returns: remote),
        )

    def version(self) -> Any:
        return ActorError() if self.random.random() < self.deaths else ray_workers.versions()


@dataclasses.dataclass
class Simulated:
    """Stands for a `RayCluster`."""

    cluster: Cluster
    size: int = 3

    def run(
        self, network: Network, images: ImageList, plan: SurveyPlan, todo: Sequence[int], *, sink: CheckpointSink
    ) -> None:
        shares = deque((index,) for index in todo)
        start = lambda: self.cluster.start((network, images, plan))  # noqa: E731
        RayWorkers(self.cluster, start, self.size, shares, sink, str).run()
        assert sink.checkpoint.done.all()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photographs(tmp_path_factory.mktemp("photos"), 40, broken=(7,))


@pytest.fixture(scope="module")
def here(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return survey(nets.build("gap"), folder, tmp_path_factory.mktemp("here") / "run", k=3, workers=1)


def digests(run: Run) -> dict[str, str]:
    return {entry["path"]: entry["sha256"] for entry in run.record["files"]}


@pytest.mark.parametrize("seed", range(6))
def test_losses_change_nothing(
    seed: int, folder: Path, here: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_workers, "MAX_DEATHS", 100)
    cluster = Cluster(seed, deaths=0.2, losses=0.3)
    run = survey(nets.build("gap"), folder, tmp_path / "run", k=3, ray=Simulated(cluster))
    assert digests(run) == digests(here)
    assert cluster.started > 3


def test_a_survey_that_always_loses_its_workers_ends(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="a worker could not start"):
        survey(nets.build("gap"), folder, tmp_path / "run", k=3, ray=Simulated(Cluster(0, deaths=1, losses=0)))


def test_a_worker_of_another_version_is_refused(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Cluster, "version", lambda _: "phosphene 0.0.1 on torch 1.0")
    with pytest.raises(RunError, match=r"a worker has phosphene 0.0.1 on torch 1.0, and here is phosphene .* same"):
        survey(nets.build("gap"), folder, tmp_path / "run", k=3, ray=Simulated(Cluster(0, deaths=0, losses=0)))
