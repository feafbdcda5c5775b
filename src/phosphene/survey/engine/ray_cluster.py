"""A survey shared by the processes of a Ray cluster, on this machine or on many."""

from __future__ import annotations

import dataclasses
import logging
import os
import signal
import socket
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.metadata import packages_distributions
from typing import Any

from phosphene.core.errors import OptionError, RunError
from phosphene.core.networks.network import Network
from phosphene.survey.engine.batch_sink import CheckpointSink, wait_for
from phosphene.survey.engine.plan import SurveyPlan
from phosphene.survey.engine.ray_workers import RayWorkers, Worker, last_line
from phosphene.survey.sources.image_list import ImageList

SHARE = 64
"""Batches that a worker computes before its states are merged: measured, so that merging costs little."""


@dataclasses.dataclass(frozen=True)
class RayCluster:
    """A Ray cluster whose processes compute the batches of a survey: `survey(…, ray=RayCluster("local", workers=2))`.

    Each process holds the network and computes batches with the same functions on one thread, and sums are exact: the
    run has the bytes of one made here, as far as the processors do the same arithmetic. Workers read the images
    themselves, so a path must name the same file on every machine.

    Args:
        address: "local" for processes of this machine alone, or that of a running cluster, such as "head:6379".
        workers: how many; one for each core of the cluster by default, or each GPU where the network lies on one.
        share: batches that a worker computes at a time, and that are computed again if it dies.

    Raises:
        OptionError: Ray is not installed, there would be no worker, or the address is malformed.
    """

    address: str
    workers: int | None = None
    share: int = SHARE

    def __post_init__(self) -> None:
        _ray()
        if self.share < 1 or (self.workers is not None and self.workers < 1):
            raise OptionError(f"{self.workers} workers with shares of {self.share} batches; give at least 1 of each")
        if self.address != _LOCAL and not self.address.rpartition(":")[2].isdecimal():
            raise OptionError(f"{self.address!r} is no address of a Ray cluster; write HOST:PORT, or {_LOCAL}")

    def run(
        self, network: Network, images: ImageList, plan: SurveyPlan, todo: Sequence[int], *, sink: CheckpointSink
    ) -> None:
        """Compute some batches of a plan.

        Raises:
            OptionError: the cluster has no core for it.
            RunError: the cluster cannot be reached, or fails, or workers die of the same images.
        """
        if not todo:
            return
        with self.connected() as ray, ThreadPoolExecutor(1) as thread:
            try:
                workers = self._workers(ray, (network, images, plan), todo, sink)
                # In a thread of its own, so that no interrupt comes in the middle of a merge.
                wait_for([thread.submit(workers.run)], sink)
            except ray.exceptions.RayError as error:
                raise RunError(
                    f"the Ray cluster failed: {last_line(error)}. The same command goes on from here"
                ) from error
        assert sink.checkpoint.done.all() or sink.stop.is_set(), "a share was forgotten"

    @contextmanager
    def connected(self) -> Iterator[Any]:
        """Ray, connected to the cluster. An existing connection is used, and left open.

        Several surveys inside one connection start faster.

        Raises:
            RunError: no cluster answers.
        """
        ray = _ray()
        if self.address != _LOCAL:
            self._require_answer()
        if ray.is_initialized():
            yield ray
            return
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
        with tempfile.TemporaryDirectory(prefix="phosphene-ray-", dir=_SHORT, ignore_cleanup_errors=True) as folder:
            if self.address == _LOCAL:
                options |= {"num_cpus": self.workers, "include_dashboard": False, "_temp_dir": folder}
            try:
                self._start(ray, options)
                yield ray
            finally:
                ray.shutdown()

    def _start(self, ray: Any, options: Mapping[str, Any]) -> None:
        before = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(address=self.address, **options)
        except (ConnectionError, RuntimeError) as error:
            raise RunError(f"Ray does not start at {self.address}: {' '.join(str(error).split())}") from error
        finally:
            # Ray replaces the handler of SIGTERM, which belongs to the process.
            if threading.current_thread() is threading.main_thread() and before is not None:
                signal.signal(signal.SIGTERM, before)

    def _require_answer(self) -> None:
        """Refuse an address that does not answer within seconds; Ray itself tries for more than five minutes."""
        host, _, port = self.address.rpartition(":")
        try:
            socket.create_connection((host, int(port)), _TIMEOUT).close()
        except OSError as error:
            raise RunError(
                f"no Ray cluster answers at {self.address} ({error.strerror or error}); start it with "
                f"ray start --head, or work on this machine with {_LOCAL}"
            ) from error

    def _workers(
        self, ray: Any, work: tuple[Network, ImageList, SurveyPlan], todo: Sequence[int], sink: CheckpointSink
    ) -> RayWorkers:
        network, images, plan = work
        kind = "GPU" if network.device.type == "cuda" else "CPU"
        workers = min(self.workers or int(ray.cluster_resources().get(kind, 0)), len(todo))
        if not workers:
            raise OptionError(f"the Ray cluster at {self.address} has no {kind}; add one, or move the network")
        rounds = -(-len(todo) // (workers * self.share))
        size = -(-len(todo) // (workers * rounds))
        shares = deque(tuple(todo[start : start + size]) for start in range(0, len(todo), size))
        with _own_modules_by_value(ray):
            sent = ray.put(work)
        remote = ray.remote(Worker).options(num_cpus=1, num_gpus=int(kind == "GPU"))
        numbers = plan.batches()

        def sources(index: int) -> str:
            return ", ".join(images.sources[number] for number in numbers[index])

        return RayWorkers(ray, lambda: remote.remote(sent), workers, shares, sink, sources)


def _ray() -> Any:
    """Ray, configured before its import not to report usage, nor to print deaths of workers that are replaced."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", _REPLACED)
    try:
        import ray  # noqa: PLC0415  an extra, and slow to import
    except ImportError as error:
        raise OptionError("more than one machine takes Ray: pip install 'phosphene[ray]'") from error
    return ray


@contextmanager
def _own_modules_by_value(ray: Any) -> Iterator[None]:
    """Send modules of the user's own files with the network; installed ones are expected on every machine."""
    installed = {*sys.stdlib_module_names, *packages_distributions(), "phosphene", "__main__", "__mp_main__"}
    own = [
        module
        for name, module in list(sys.modules.items())
        if name.partition(".")[0] not in installed and str(getattr(module, "__file__", "")).endswith(".py")
    ]
    for module in own:
        ray.cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in own:
            ray.cloudpickle.unregister_pickle_by_value(module)


_LOCAL = "local"
_REPLACED = "A worker died or was killed|Raylet is terminated|has been marked dead"
_TIMEOUT = 10.0  # seconds for a cluster to answer
_SHORT = "/tmp" if os.name == "posix" else None  # noqa: S108  a path of a socket may have 100 characters
