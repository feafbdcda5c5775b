"""The survey: every image passes once through the network, and the statistics of every unit are updated on the way."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np

from phosphene.core.errors import OptionError, RunError
from phosphene.core.networks.network import Network
from phosphene.core.progress import Watch
from phosphene.core.result import Cost
from phosphene.survey.accumulators import default_accumulators, named_accumulators
from phosphene.survey.accumulators.accumulator import Accumulator
from phosphene.survey.engine.batch_sink import CheckpointSink
from phosphene.survey.engine.checkpoint import SurveyCheckpoint, clear, own_folder, require_same
from phosphene.survey.engine.finish import finish
from phosphene.survey.engine.fold import Fold
from phosphene.survey.engine.plan import BATCH, SurveyPlan
from phosphene.survey.engine.ray_cluster import RayCluster
from phosphene.survey.engine.threads import default_workers, replicas, run_threads
from phosphene.survey.sources.image_list import ImageList, list_images
from phosphene.survey.store.run import Run
from phosphene.survey.store.seal import RESULT

SAVE_EVERY = 20.0
"""Seconds between two saves of the states: a kill costs this much time and a batch at most."""


def survey(
    network: Network,
    source: Any,
    folder: str | Path,
    accumulators: Sequence[str | Accumulator] | None = None,
    *,
    keep: Sequence[str | Accumulator] = (),
    layers: str | Iterable[str] = (),
    k: int = 64,
    limit: int | None = None,
    labels: Literal["auto", "none"] = "auto",
    seed: int = 0,
    batch: int = BATCH,
    workers: int | None = None,
    save_every: float = SAVE_EVERY,
    watch: Watch | None = None,
    ray: str | RayCluster | None = None,
) -> Run:
    """Pass every image through the network once, and keep statistics of every unit, in memory that does not grow.

    The same images, network, options and seed give the same bytes, whether the survey was interrupted or not and
    however many workers share it: a worker computes on one thread, batches are fixed by the seed, and sums are exact.
    Called again on the same folder, it resumes.

    Args:
        network: to be surveyed.
        source: images: a folder, a pattern, a CSV of paths and labels, tar or zip shards, or several; see
            `phosphene.survey.sources.image_list.list_images`.
        folder: for the run; absent, empty, or that of the same survey.
        accumulators: what to compute, as registered names or with their options; by default patches, statistics,
            histograms, classes and embeddings.
        keep: accumulators besides these, such as "co-activation".
        layers: names or patterns, see `phosphene.core.networks.layer_patterns.match_layers`; every block output and the
            logits by default.
        k: patches of each unit, for accumulators that are given by name.
        limit: only so many images, a sample drawn with the seed.
        labels: "auto", or "none" to ignore those that the source has.
        seed: of the order of the images, and of the sample that `limit` draws.
        batch: images in a pass.
        workers: threads, each with a module of its own on the same weights; as many as there are cores by default.
        save_every: seconds between two saves.
        watch: is told of progress; returns true to stop.
        ray: the address of a Ray cluster whose processes do the work, "local", or a `RayCluster`; by default threads.

    Returns:
        The run; its `errors` name the images that could not be read.

    Raises:
        ImageError: the source holds no image.
        LayerError: no such layer.
        FolderError: the folder holds files, and no survey.
        RunError: the folder holds another survey, or one that is running; or `watch` stopped this one.
        OutputError: the disk is full.
    """
    start, folder = time.perf_counter(), Path(folder)
    if workers is not None and workers < 1:
        raise OptionError(f"workers is {workers}; give at least 1, or leave it out for one on each core")
    own_folder(folder)
    cluster = RayCluster(ray, workers=workers) if isinstance(ray, str) else ray
    images = source if isinstance(source, ImageList) else list_images(source, labels=labels, limit=limit, seed=seed)
    chosen = choose_accumulators(network, accumulators, keep=keep, k=k)
    plan = SurveyPlan.of(network, images, chosen, layers=layers, seed=seed, batch=batch)
    if (folder / RESULT).exists():
        run = Run(folder)
        require_same(folder, run.record["survey"], plan.describe(network, images))
        clear(folder)  # a kill may have come before it
        return run
    with resumed(folder, network, images, plan) as (checkpoint, fold):
        todo = np.flatnonzero(~checkpoint.done).tolist()
        sink = CheckpointSink(checkpoint, fold, len(images), save_every=save_every, watch=watch)
        if cluster is not None:
            cluster.run(network, images, plan, todo, sink=sink)
        else:
            networks, note = replicas(network, min(workers or default_workers(network), max(1, len(todo))))
            checkpoint.notes += (note,) if note else ()
            run_threads(networks, images, plan, todo, sink=sink)
        checkpoint.save(fold)
        if not checkpoint.done.all():
            raise RunError(f"stopped after {sink.done} of {len(images)} images; call it again on {folder} to go on")
        cost = Cost(forwards=len(images), seconds=time.perf_counter() - start)
        finish(checkpoint, fold, network, images, cost=cost)
    return Run(folder)


def choose_accumulators(
    network: Network,
    accumulators: Sequence[str | Accumulator] | None = None,
    *,
    keep: Sequence[str | Accumulator] = (),
    k: int = 64,
) -> tuple[Accumulator, ...]:
    """Accumulators, given as registered names or with their options; those of `keep` come after the others.

    Args:
        network: to be surveyed.
        accumulators: the default ones, where None.
        keep: others besides these; one that is there already is not added.
        k: patches of each unit, for accumulators that are given by name.
    """
    chosen = list(default_accumulators(network, k=k)) if accumulators is None else _made(accumulators, k)
    names = {accumulator.name for accumulator in chosen}
    return (*chosen, *(accumulator for accumulator in _made(keep, k) if accumulator.name not in names))


def _made(accumulators: Sequence[str | Accumulator], k: int) -> list[Accumulator]:
    return [
        named_accumulators([accumulator], k=k)[0] if isinstance(accumulator, str) else accumulator
        for accumulator in accumulators
    ]


@contextmanager
def resumed(
    folder: Path, network: Network, images: ImageList, plan: SurveyPlan
) -> Iterator[tuple[SurveyCheckpoint, Fold]]:
    """The folder, locked for this process, and the states that were saved there before."""
    fold = Fold(plan)
    batches = -(-plan.images // plan.batch)
    checkpoint = SurveyCheckpoint.begin(folder, plan.describe(network, images), fold.row_shapes(), batches)
    try:
        checkpoint.restore(fold)
        yield checkpoint, fold
    finally:
        checkpoint.close()
