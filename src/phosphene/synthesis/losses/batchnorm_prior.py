"""What batch norm remembers of the photographs a network learned from, as a wish for the image."""

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
    """Distance of the features of an image from those that the network saw as it learned.

    Mean over the batch norms l, the first of which counts `first` times, of ‖μ_l(x) - μ̂_l‖₂ / ‖σ̂_l‖₂ +
    ‖σ²_l(x) - σ̂²_l‖₂ / ‖σ̂²_l‖₂: mean and variance of what goes into l, over the places of the one image, against the
    running ones. Differs from the paper: there the statistics are of a batch of images, of all classes, nothing is
    divided, so that wide layers count most, and no layer is left out; a photograph alone is about 1 away. Cost: the
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
        return frozenset(each.layer for each in self.running)

    def bind(self, network: Network) -> Objective:
        """The same, with the running statistics of a network; once it has some, itself. Cost: two forward passes.

        Raises:
            OptionError: the network has no batch norm of maps that some layer comes before.
        """
        found = self.running or running_statistics(network)
        if not found:
            raise OptionError(
                f"{network.name} has no batch norm to compare an image with; leave batch-norm-statistics out"
            )
        if self.narrow and not self.running:
            found = _narrow(found, network)
        return dataclasses.replace(self, running=found)

    def __call__(self, activations: Activations) -> Tensor:
        assert self.running, "batch-norm-statistics is not bound to a network yet"
        weights = [self.first, *[1.0] * (len(self.running) - 1)]
        pairs = zip(weights, self.running, strict=True)
        far = [weight * _distance(activations[each.layer], each) for weight, each in pairs]
        return torch.stack(far).sum(0) / sum(weights)

    def __str__(self) -> str:
        return "batch-norm-statistics"


def running_statistics(network: Network) -> tuple[Running, ...]:
    """The running statistics of every batch norm whose input is the output of a layer, in the order of the pass.

    Args:
        network: is run twice, on blank images.
    """
    input_from, found = connections(network).input_from, []
    for name in network.layers:
        norm = network.module.get_submodule(name.partition("#")[0])
        before = network.layers.get(input_from.get(name, ""))
        if _remembers(norm) and before is not None and before.layout == "channels" and before.spatial:
            mean, variance = (norm.get_buffer(f"running_{each}").clone() for each in ("mean", "var"))
            found.append(Running(before.name, mean, variance))
    return tuple(found)


def _narrow(running: tuple[Running, ...], network: Network) -> tuple[Running, ...]:
    """Those that cost little: inverted bottlenecks spend their time on maps six times as wide."""
    shapes = [network.shape(each.layer) for each in running]
    least = {size: min(shape[0] for shape in shapes if shape[1:] == size) for size in {each[1:] for each in shapes}}
    return tuple(each for each, shape in zip(running, shapes, strict=True) if shape[0] <= 2 * least[shape[1:]])


def _remembers(module: nn.Module) -> bool:
    return isinstance(module._buffers.get("running_var"), Tensor) and not isinstance(module, _InstanceNorm)


def _distance(maps: Tensor, running: Running) -> Tensor:
    """(N,)."""
    variance, mean = torch.var_mean(maps.flatten(2), 2, correction=0)
    off: Tensor = (mean - running.mean).norm(dim=1) / running.variance.sum().sqrt()
    spread: Tensor = (variance - running.variance).norm(dim=1) / running.variance.norm()
    return off + spread
