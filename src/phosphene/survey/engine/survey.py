"""The one pass: every image once through the network, everything worth knowing of every unit folded on the way."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from phosphene.core.errors import LayerError, OptionError
from phosphene.core.networks.layer_patterns import match_layers
from phosphene.core.networks.network import Network
from phosphene.core.result import Cost
from phosphene.survey.accumulators.accumulator import Accumulator, Site
from phosphene.survey.accumulators.embedding import Embeddings
from phosphene.survey.accumulators.histogram import Histogram, Samples
from phosphene.survey.accumulators.selectivity import ClassSelectivity
from phosphene.survey.accumulators.statistics import DeadUnits, Moments, Sparsity
from phosphene.survey.accumulators.top import TopPatches
from phosphene.survey.engine.checkpoint import Work, clear, same
from phosphene.survey.engine.finish import finish
from phosphene.survey.engine.fold import TOGETHER, Fold, Plan
from phosphene.survey.engine.progress import Progress
from phosphene.survey.engine.progress import Watch as Watch
from phosphene.survey.engine.threads import cores, twins, work_here
from phosphene.survey.sources.image_list import Roll, roll
from phosphene.survey.store.run import Run
from phosphene.survey.store.seal import RESULT

BATCH = 4
"""Images in a pass: measured to be the fastest on a CPU, and fixed, since it moves the last bits of activations."""

MOST = 2**15 // TOGETHER - 1
"""Images in a pass at most, so that sums fit their integers; see `phosphene.survey.accumulators.sums`."""

EVERY = 20.0
"""Seconds between two saves of the states: what a kill costs at most, and a batch more."""


def survey(
    network: Network,
    source: Any,
    folder: str | Path,
    accumulators: Sequence[Accumulator] | None = None,
    *,
    layers: str | Iterable[str] = (),
    k: int = 64,
    limit: int | None = None,
    labels: Literal["auto", "none"] = "auto",
    seed: int = 0,
    batch: int = BATCH,
    workers: int | None = None,
    every: float = EVERY,
    watch: Watch | None = None,
    remote: Any = None,
) -> Run:
    """Show every image to the network once, and keep what every unit looks for, in memory that does not grow.

    The same images, network, options and seed give the same bytes, whether the survey was interrupted or not and
    however many workers share it: each works on one thread, batches are fixed by the seed, and folding is exact. Run
    again on the same folder, it goes on where it was.

    Args:
        network: whose units.
        source: images: a folder, a pattern, a CSV of paths and labels, tar or zip shards, or several; see `roll`.
        folder: for the run.
        accumulators: what to keep; patches, statistics, histograms, classes and embeddings by default.
        layers: names or patterns, see `match_layers`; every block output and the logits by default.
        k: patches of each unit, where `accumulators` are not given.
        limit: this many images alone, drawn by the seed.
        labels: "auto", or "none" to ignore those that the source gives.
        seed: of the order of the images, and of the sample that `limit` draws.
        batch: images in a pass.
        workers: threads, each with a module of its own on the same weights; as many as there are cores by default.
        every: seconds between two saves.
        watch: is told of progress.
        remote: where else to work, see `phosphene.survey.engine.ray_cluster`; None for here.

    Returns:
        The run; `manifest["errors"]` names the images that could not be read.

    Raises:
        ImageError: the source holds no image.
        LayerError: no such layer.
        RunError: the folder holds another survey, or one that is running.
        OutputError: the disk is full.
    """
    start, folder = time.perf_counter(), Path(folder)
    if workers is not None and workers < 1:
        raise OptionError(f"workers is {workers}; give at least 1, or leave it out for one on each core")
    images = source if isinstance(source, Roll) else roll(source, labels=labels, limit=limit, seed=seed)
    plan = plan_of(network, images, accumulators or default(network, k), layers=layers, seed=seed, batch=batch)
    if (folder / RESULT).exists():
        run = Run.open(folder)
        same(folder, run.manifest["survey"], described(network, images, plan))
        clear(folder)  # a kill may have come before it
        return run
    with ours(folder, network, images, plan) as (work, fold):
        todo = np.flatnonzero(~work.done).tolist()
        progress = Progress(work, fold, len(images), every=every, watch=watch)
        if remote is not None:
            remote.run(network, images, plan, todo, progress=progress)
        else:
            threads, remark = twins(network, min(workers or cores(network), max(1, len(todo))))
            work.remarks += (remark,) if remark else ()
            work_here(threads, images, plan, todo, taker=progress)
        work.save(fold)
        cost = Cost(forwards=len(images), seconds=time.perf_counter() - start)
        finish(work, fold, network, images, cost=cost)
    return Run.open(folder)


def default(network: Network, k: int = 64) -> tuple[Accumulator, ...]:
    """What a survey keeps unless told otherwise; embeddings only where some layer comes before the logits."""
    found: tuple[Accumulator, ...] = (TopPatches(k), Moments(), Sparsity(), DeadUnits(), Histogram(), Samples())
    found = (*found, ClassSelectivity())
    try:
        Embeddings().layers(network, ())
    except LayerError:
        return found
    return (*found, Embeddings())


def plan_of(
    network: Network,
    images: Roll,
    accumulators: Sequence[Accumulator],
    *,
    layers: str | Iterable[str] = (),
    seed: int = 0,
    batch: int = BATCH,
) -> Plan:
    """What a survey will do.

    Raises:
        OptionError: an accumulator twice, or a batch of nothing.
        LayerError: no such layer, or one that gives neither vectors nor maps.
    """
    names = [str(each.name) for each in accumulators]
    if len(set(names)) < len(names):
        raise OptionError(f"the accumulators are {', '.join(names)}; give each once")
    if not 1 <= batch <= MOST:
        raise OptionError(f"batch is {batch}; give 1 … {MOST}")
    chosen = match_layers(network, [layers] if isinstance(layers, str) else layers)
    listeners: dict[str, tuple[Accumulator, ...]] = {}
    for each in accumulators:
        for layer in each.layers(network, chosen):
            listeners[layer] = (*listeners.get(layer, ()), each)
    shapes, labels = {layer: _shape(network, layer) for layer in listeners}, images.labels
    if not labels and "logits" in listeners:
        labels = tuple(map(network.label, range(network.classes)))
    sites = {layer: Site(layer, channels, grid, labels) for layer, (channels, grid) in shapes.items()}
    return Plan(sites, listeners, len(images), labels, bool(images.labels), seed, batch)


def _shape(network: Network, layer: str) -> tuple[int, tuple[int, int]]:
    """Channels and grid."""
    match network.shape(layer):
        case (channels,):
            return channels, (1, 1)
        case (channels, rows, columns):
            return channels, (rows, columns)
        case shape:
            raise LayerError(
                f"{layer} of {network.name} gives {shape} for an image; a survey wants (C,) or (C, H, W). Choose other "
                "layers, or wrap the network"
            )


@contextmanager
def ours(folder: Path, network: Network, images: Roll, plan: Plan) -> Iterator[tuple[Work, Fold]]:
    """The folder, for this process alone, and the fold of what was done before."""
    fold = Fold(plan)
    work = Work.begin(folder, described(network, images, plan), fold.arrays(), -(-plan.images // plan.batch))
    try:
        work.restore(fold)
        yield work, fold
    finally:
        work.close()


def described(network: Network, images: Roll, plan: Plan) -> dict[str, Any]:
    """The plan as plain values: what makes this survey this survey, and what it ran on."""
    return {
        "images": plan.images,
        "digest": images.digest,
        "model": {"name": network.name, "sha256": network.sha256 or _weights(network)},
        "preprocess": str(network.preprocess),
        "layers": list(plan.sites),
        "accumulators": [dict(each.manifest()) for each in dict.fromkeys(a for _, a in plan.pairs())],
        "labels": len(images.labels),
        "seed": plan.seed,
        "batch": plan.batch,
        "torch": torch.__version__,
        "device": network.device.type,
    }


def _weights(network: Network) -> str:
    """SHA-256 of the weights of a network that come from no file: once it has learned more it is another one."""
    digest = hashlib.sha256()
    for name, each in (*network.module.named_parameters(), *network.module.named_buffers()):
        digest.update(f"{name} {each.dtype} {tuple(each.shape)}".encode())
        digest.update(each.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
