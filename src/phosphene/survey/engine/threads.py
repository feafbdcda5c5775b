"""The batches of a survey, computed by threads of this process."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import torch

from phosphene.core.errors import NetworkError
from phosphene.core.networks.network import Network
from phosphene.survey.engine.batch_sink import BatchSink, wait_for
from phosphene.survey.engine.fold import Batch, decode
from phosphene.survey.engine.plan import SurveyPlan
from phosphene.survey.sources.image_list import ImageList


def run_threads(
    networks: Sequence[Network], images: ImageList, plan: SurveyPlan, todo: Sequence[int], *, sink: BatchSink
) -> None:
    """Compute some batches of a plan with threads of this process, one for each network, all of them replicas.

    Each thread computes on one core, since the bits of a sum depend on how many cores share it; while it computes, the
    next batch is decoded.
    """
    numbers, label_of = plan.batches(), label_places(images)
    queue, queue_lock = iter(todo), threading.Lock()

    def work(network: Network, decoders: ThreadPoolExecutor) -> None:
        torch.set_num_threads(1)

        def fetch() -> Future[Batch] | None:
            with queue_lock:
                index = next(queue, None)
            return None if index is None else decoders.submit(decode, network, images, index, numbers[index])

        coming = fetch()
        while coming is not None and not sink.stop.is_set():
            batch, coming = coming.result(), fetch()
            statistics = sink.fold.read(network, batch, label_of)
            sink.add(batch, statistics)

    with (
        _threads_restored(),
        ThreadPoolExecutor(len(networks)) as workers,
        ThreadPoolExecutor(len(networks)) as decoders,
    ):
        wait_for([workers.submit(work, network, decoders) for network in networks], sink)


def label_places(images: ImageList) -> npt.NDArray[np.int64]:
    """The place of each image's label among the labels; -1 for none."""
    place = {label: number for number, label in enumerate(images.labels)}
    return np.array([place.get(label, -1) for label in images.classes], np.int64)


def default_workers(network: Network) -> int:
    """One worker for each core that this process may use; on a GPU one."""
    if network.device.type != "cpu":
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def replicas(network: Network, workers: int) -> tuple[list[Network], str]:
    """The network for so many threads; for one, with the reason, where it cannot be copied."""
    try:
        return [network, *(network.replicate() for _ in range(workers - 1))], ""
    except NetworkError as error:
        return [network], str(error)


@contextmanager
def _threads_restored() -> Iterator[None]:
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
