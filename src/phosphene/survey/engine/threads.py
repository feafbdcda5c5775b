"""The work of a survey, in threads of this process."""

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
from phosphene.survey.engine.fold import Batch, Plan, decode
from phosphene.survey.engine.progress import Taker, wait
from phosphene.survey.sources.image_list import Roll


def work_here(networks: Sequence[Network], images: Roll, plan: Plan, todo: Sequence[int], *, taker: Taker) -> None:
    """Do some batches of a plan with threads of this process, one for each network, all of them twins.

    Each thread computes on one core, since the bits of a sum depend on how many share it; while it computes, the next
    batch is decoded.
    """
    numbers, label_of = plan.batches(), labels_of(images)
    queue, taking = iter(todo), threading.Lock()

    def work(mine: Network, pool: ThreadPoolExecutor) -> None:
        torch.set_num_threads(1)

        def fetch() -> Future[Batch] | None:
            with taking:
                index = next(queue, None)
            return None if index is None else pool.submit(decode, mine, images, index, numbers[index])

        coming = fetch()
        while coming is not None and not taker.stop.is_set():
            batch, coming = coming.result(), fetch()
            heard = taker.fold.listen(mine, batch, label_of)
            taker.add(batch, heard)

    with (
        _threads_restored(),
        ThreadPoolExecutor(len(networks)) as computing,
        ThreadPoolExecutor(len(networks)) as decoding,
    ):
        wait([computing.submit(work, each, decoding) for each in networks], taker)


def labels_of(images: Roll) -> npt.NDArray[np.int64]:
    """The place of each image's label among the labels; -1 for none."""
    place = {label: number for number, label in enumerate(images.labels)}
    return np.array([place.get(label, -1) for label in images.classes], np.int64)


def cores(network: Network) -> int:
    """One worker for each core that this process may use; a GPU wants one."""
    if network.device.type != "cpu":
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def twins(network: Network, workers: int) -> tuple[list[Network], str]:
    """The network for so many threads; for one, and why, where it cannot be copied."""
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
