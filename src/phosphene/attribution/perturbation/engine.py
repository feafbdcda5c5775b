"""Runs many perturbed copies of an image through a network, in batches; the one place that decides how."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from phosphene.attribution.perturbation.copies import PerturbedCopies
from phosphene.core.networks.fuse import fused
from phosphene.core.networks.network import Activations, Images, Network
from phosphene.core.result import Cost

# Images per batch. On two CPU cores 4 is best or within the spread of the best for efficientnet-lite0, resnet50 and
# vgg16 (benchmarks/occlusion.py --batches); 1 and 16 cost up to half as much again, or more. Fixed, not measured at
# run time: same seed, same bytes. The number for a GPU is a guess that keeps it busy within a few GB.
CPU_BATCH = 4
GPU_BATCH = 64

SETUP_PASSES = 3
"""Forward passes that a new engine takes: to find what can be fused, and to compare the network with its copy."""


class Engine:
    """Runs perturbed copies in small batches, without gradients, on a faster copy of the network.

    That copy is made by `fused`, and agrees with the network in everything that is read. Cost, once: a copy of the
    convolutions, SETUP_PASSES forward passes. Engines are made by `Engines`.

    Args:
        network: never changed.
        reads: activations that will be read.
        batch: images per batch; by default CPU_BATCH or GPU_BATCH.
    """

    def __init__(self, network: Network, reads: Iterable[str] = ("logits",), *, batch: int | None = None) -> None:
        self.reads = frozenset(reads)
        self.network = fused(network, self.reads)
        self.batch = batch or (CPU_BATCH if network.device.type == "cpu" else GPU_BATCH)

    @torch.no_grad()
    def run(
        self,
        image: Images,
        copies: PerturbedCopies,
        reads: Iterable[str],
        read: Callable[[Activations], Tensor],
        *,
        watch: Callable[[int, int], None] | None = None,
    ) -> Tensor:
        """Values read from each copy, (P, …). Cost: len(copies) forward passes.

        Args:
            image: (1, 3, H, W), on the device of the network.
            copies: how the image is perturbed.
            reads: names of the activations that `read` reads; the pass stops after the last of them.
            read: activations → (n, …), such as an objective.
            watch: called after each batch with the number of copies done, and of all.
        """
        reads, total, values = frozenset(reads), len(copies), []
        assert reads <= self.reads | {"input"}, f"this engine cannot read {reads - self.reads}"
        for start in range(0, total, self.batch):
            part = slice(start, min(start + self.batch, total))
            values.append(read(self.network.tap(copies.apply(image, part), reads)))
            if watch is not None:
                watch(part.stop, total)
        return torch.cat(values)


class Engines:
    """The engines of one network for one piece of work: one for each set of activations, made when first used.

    Keep them no longer than that work: weights may change in ways that nothing records, such as `.data`.

    Args:
        network: never changed.
        batch: images per batch; by default CPU_BATCH or GPU_BATCH.

    >>> engines = Engines(tiny)
    >>> engines.get(["logits"])[1].forwards, engines.get(["logits"])[1].forwards
    (3, 0)
    """

    def __init__(self, network: Network, *, batch: int | None = None) -> None:
        self.network, self.batch = network, batch
        self._engines: dict[frozenset[str], Engine] = {}

    def get(self, reads: Iterable[str]) -> tuple[Engine, Cost]:
        """The engine that reads these activations, and the passes that making it took: none from the second call on."""
        reads = frozenset(reads) - {"input"}
        if reads in self._engines:
            return self._engines[reads], Cost()
        self._engines[reads] = Engine(self.network, reads, batch=self.batch)
        return self._engines[reads], Cost(forwards=SETUP_PASSES)
