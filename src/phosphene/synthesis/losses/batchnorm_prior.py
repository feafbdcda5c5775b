"""Batch-norm prior (DeepInversion): features of the image like those of the training images, by running statistics."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.instancenorm import _InstanceNorm

from phosphene.core.errors import OptionError
from phosphene.core.networks.connections import connections
from phosphene.core.networks.network import Activations, Network
from phosphene.core.objectives.objective import Objective


class Running(NamedTuple):
    """The running statistics of one batch norm.

    Args:
        layer: the one before it, whose output it normalizes.
        mean: (C,).
        variance: (C,).
    """

    layer: str
    mean: Tensor
    variance: Tensor


@dataclasses.dataclass(frozen=True, eq=False)
class BatchNormStatistics(Objective, name="batch-norm-statistics"):
    """Distance of the feature statistics of an image from those of the training images.

    Mean over the batch norms l, the first of which counts `first` times, of ‖μ_l(x) - μ̂_l‖₂ / ‖σ̂_l‖₂ +
    ‖σ²_l(x) - σ̂²_l‖₂ / ‖σ̂²_l‖₂: mean and variance of the input of l, over the places of the one image, and the running
    statistics of l. A photograph has about 1. Differs from the paper: there the statistics are of a batch of images of
    all classes, distances are not relative, so that wide layers count most, and no layer is left out. Cost: the
    pass goes on to the last batch norm, and a step takes 1.1 times as long, or, with those of wide maps, 2.4 times
    (efficientnet-lite0).

    Args:
        first: how many times the first batch norm counts.
        narrow: only batch norms of maps that have at most twice the channels of the narrowest of their size.
        running: of each batch norm; looked up by `bind`.

    Reference: Yin et al., CVPR 2020 (DeepInversion), equation 4.
    """

    first: float = 10.0
    narrow: bool = True
    running: tuple[Running, ...] = dataclasses.field(default=(), repr=False)

    def __post_init__(self) -> None:
        if self.first < 0:
            raise OptionError(f"first is {self.first}; batch-norm-statistics wants at least 0")

    @property
    def reads(self) -> frozenset[str]:
        return frozenset(running.layer for running in self.running)

    def bind(self, network: Network) -> Objective:
        """The same, with the running statistics of a network, unless it has some already. Cost: two forward passes.

        Raises:
            OptionError: the network has no batch norm of maps that some layer comes before.
        """
        running = self.running or running_statistics(network)
        if not running:
            raise OptionError(
                f"{network.name} has no batch norm to compare an image with; leave batch-norm-statistics out"
            )
        if self.narrow and not self.running:
            running = _narrow(running, network)
        return dataclasses.replace(self, running=running)

    def __call__(self, activations: Activations) -> Tensor:
        assert self.running, "batch-norm-statistics is not bound to a network yet"
        weights = [self.first, *[1.0] * (len(self.running) - 1)]
        pairs = zip(weights, self.running, strict=True)
        distances = [weight * _distance(activations[running.layer], running) for weight, running in pairs]
        return torch.stack(distances).sum(0) / sum(weights)

    def __str__(self) -> str:
        return "batch-norm-statistics"


def running_statistics(network: Network) -> tuple[Running, ...]:
    """The running statistics of every batch norm whose input is the output of a layer, in the order of the pass.

    Args:
        network: is run twice, on blank images.
    """
    input_from, statistics = connections(network).input_from, []
    for name in network.layers:
        norm = network.module.get_submodule(name.partition("#")[0])
        before = network.layers.get(input_from.get(name, ""))
        if _has_statistics(norm) and before is not None and before.layout == "channels" and before.spatial:
            mean, variance = (norm.get_buffer(f"running_{name}").clone() for name in ("mean", "var"))
            statistics.append(Running(before.name, mean, variance))
    return tuple(statistics)


def _narrow(running: tuple[Running, ...], network: Network) -> tuple[Running, ...]:
    """Without the wide maps inside of inverted bottlenecks, whose statistics cost more than the pass."""
    shapes = [network.shape(statistics.layer) for statistics in running]
    sizes = {shape[1:] for shape in shapes}
    least = {size: min(shape[0] for shape in shapes if shape[1:] == size) for size in sizes}
    pairs = zip(running, shapes, strict=True)
    return tuple(statistics for statistics, shape in pairs if shape[0] <= 2 * least[shape[1:]])


def _has_statistics(module: nn.Module) -> bool:
    return isinstance(module._buffers.get("running_var"), Tensor) and not isinstance(module, _InstanceNorm)


def _distance(maps: Tensor, running: Running) -> Tensor:
    """(N,)."""
    variance, mean = torch.var_mean(maps.flatten(2), 2, correction=0)
    of_mean: Tensor = (mean - running.mean).norm(dim=1) / running.variance.sum().sqrt()
    of_variance: Tensor = (variance - running.variance).norm(dim=1) / running.variance.norm()
    return of_mean + of_variance
