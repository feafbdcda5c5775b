"""The kernels of a layer as pictures, with their norms, near-duplicates and dead kernels."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from phosphene.core.errors import OptionError
from phosphene.core.images.image import Uint8Image
from phosphene.core.inputs import layer_name
from phosphene.core.networks.network import Network
from phosphene.core.result import File, Result
from phosphene.weights.grid import labeled_grid
from phosphene.weights.kernel_weights import default_layer, kernel_weights

KernelScaling = Literal["per-kernel", "all"]


@dataclasses.dataclass(frozen=True)
class Kernel:
    """The norm of one kernel, and the kernel most similar to it.

    Args:
        index: of the output channel.
        norm: L2 norm of its weights.
        dead: whether its norm is at most a thousandth of the largest, such as after weight decay.
        most_similar: index of the kernel with the largest absolute cosine, among those that are not dead and read the
            same channels; None where there is none.
        cosine: similarity to that kernel, in [-1, 1]; near -1 one is the negative of the other.
    """

    index: int
    norm: float
    dead: bool
    most_similar: int | None
    cosine: float


class Duplicates(NamedTuple):
    """Two kernels that are nearly equal or, where the cosine is negative, nearly the negative of each other."""

    first: int
    second: int
    cosine: float


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Filters(Result):
    """The kernels of one layer.

    Args:
        weights: (O, I, H, W), as stored; RGB also where the network wants BGR. I counts the channels of one group.
        layer: whose kernels they are.
        network: whose layer it is.
        colored: whether they read red, green and blue, so that a kernel is one picture.
        groups: of the convolution; kernel o reads channels (o // (O / groups)) * I and the next I - 1.
        kernels: norm and most similar kernel of each kernel.
        duplicates: pairs with an absolute cosine of at least the threshold, the largest first.
        shown: indices of the kernels in the grid.
        channels: (len(shown), m), input channels whose slices are drawn, largest norm first; None where each kernel is
            one picture.
        scaling: whether black and white are those of each kernel or of all.
        columns: of the grid; None for one that is nearly square. Slices keep one row for each kernel.
    """

    verb: str = "weights"

    weights: Tensor = dataclasses.field(repr=False)
    layer: str
    network: Network
    colored: bool
    groups: int
    kernels: tuple[Kernel, ...] = dataclasses.field(repr=False)
    duplicates: tuple[Duplicates, ...] = dataclasses.field(repr=False)
    shown: tuple[int, ...] = dataclasses.field(repr=False)
    channels: Tensor | None = dataclasses.field(repr=False)
    scaling: KernelScaling
    columns: int | None

    @property
    def dead(self) -> tuple[int, ...]:
        """Indices of the kernels with hardly any weight."""
        return tuple(kernel.index for kernel in self.kernels if kernel.dead)

    def scaled(self) -> Tensor:
        """The drawn weights: (n, 3, H, W) for colored kernels, else (n, m, H, W), m grey slices each; in [0, 1].

        The least weight is 0 and the greatest 1, of each kernel or of all; without color, -s is 0 and s is 1, with s
        the greatest magnitude, so that 0.5 is a weight of 0. A kernel that is constant or dead is 0.5.
        """
        dims = (1, 2, 3) if self.scaling == "per-kernel" else (0, 1, 2, 3)
        low, high = self.weights.amin(dims, keepdim=True), self.weights.amax(dims, keepdim=True)
        if not self.colored:
            high = high.maximum(-low)
            low = -high
        scaled = (self.weights - low) / (high - low).where(high > low, 1)
        flat = (high == low).expand(len(self.weights), 1, 1, 1).clone()
        if self.scaling == "per-kernel":
            flat[list(self.dead)] = True
        scaled = scaled.masked_fill(flat, 0.5)[list(self.shown)]
        if self.channels is None:
            return scaled
        local = self.channels % self.weights.shape[1]
        return scaled.gather(1, local[:, :, None, None].expand(-1, -1, *scaled.shape[2:]))

    def grid(self) -> Uint8Image:
        """Every kernel under its index; in deeper layers one row for each, its slices under "kernel:channel"."""
        if self.channels is None:
            return labeled_grid(self.scaled(), [str(kernel) for kernel in self.shown], self.columns)
        rows = zip(self.shown, self.channels.tolist(), strict=True)
        labels = [f"{kernel}:{channel}" for kernel, row in rows for channel in row]
        return labeled_grid(self.scaled().flatten(0, 1)[:, None], labels, self.channels.shape[1], side=56)

    def table(self) -> dict[str, Any]:
        """Norms, most similar kernels and duplicates as plain values."""
        return {
            "layer": self.layer,
            "shape": list(self.weights.shape),
            "groups": self.groups,
            "dead": list(self.dead),
            "duplicates": [pair._asdict() for pair in self.duplicates],
            "kernels": [dataclasses.asdict(kernel) for kernel in self.kernels],
            "notes": list(self.notes),
        }

    def files(self) -> Iterator[File]:
        """weights.png (the grid), weights.json (the table) and weights.npy (as stored)."""
        shape = list(self.weights.shape)
        yield File.picture("weights.png", self.grid(), layer=self.layer, shape=shape)
        table = json.dumps(self.table(), indent=1) + "\n"
        yield File.text("weights.json", table, kind="table", layer=self.layer, shape=shape)
        yield File.array("weights.npy", self.weights.numpy(), kind="state", layer=self.layer)

    def facts(self) -> Mapping[str, Any]:
        """Layer, number of kernels, dead kernels and duplicates."""
        pairs = [pair._asdict() for pair in self.duplicates]
        return {"layer": self.layer, "kernels": len(self.kernels), "dead": len(self.dead), "duplicates": pairs}

    def pictures(self) -> list[Uint8Image]:
        """The grid."""
        return [self.grid()]

    def lines(self) -> tuple[str, ...]:
        """Numbers of kernels, dead kernels and near-duplicates."""
        pairs = f"{len(self.duplicates)} near-duplicate pairs"
        return (f"{len(self.kernels)} kernels of {self.layer}, {len(self.dead)} dead, {pairs}",)


def filters(
    network: Network,
    layer: str | nn.Module | None = None,
    *,
    scaling: KernelScaling = "per-kernel",
    columns: int | None = None,
    top: int | None = None,
    channels: int = 16,
    threshold: float = 0.95,
) -> Filters:
    """The kernels of a convolution, or of a linear layer that reads a map, as pictures.

    Kernels that read the pixels are RGB pictures. All others are grey slices, one for each input channel, those with
    the largest norm first; they are hard to read. Norms compare kernels only where no batch norm follows; a cosine
    near ±1 means that two kernels of the same group detect the same pattern.
    Cost: no pass besides the layer table.

    Args:
        network: whose kernels.
        layer: its name, or the module; None for the first convolution.
        scaling: black and white at the least and greatest weight of each kernel, or of all, so that strengths compare.
        columns: of the grid; None for one that is nearly square. Slices keep one row for each kernel.
        top: how many kernels to draw, from the first; None for all, or for 16 where a kernel is many slices.
        channels: how many slices of each kernel to draw.
        threshold: minimum absolute cosine at which two kernels count as duplicates, in (0, 1].

    Raises:
        LayerError: no such layer, or one without kernels that can be shown.
        OptionError: a value that makes no sense.
    """
    _check(scaling, threshold, columns=columns, top=top, channels=channels)
    name, why = (layer_name(network, layer), "") if layer is not None else default_layer(network)
    weights, groups, reads_pixels = kernel_weights(network, name)
    colored = reads_pixels and weights.shape[1] == 3
    reversed_order = colored and network.preprocess.order == "bgr"
    weights = weights.flip(1) if reversed_order else weights
    norms, cosines = _similarities(weights, groups)
    sliced = not colored and weights.shape[1] > 1
    shown = tuple(range(len(weights)))[: top or (16 if sliced else None)]
    notes = [f"{name}: {why}"] if why else []
    notes += ["the network wants BGR; its kernels are shown as RGB"] if reversed_order else []
    result = Filters(
        weights=weights,
        layer=name,
        network=network,
        colored=colored,
        groups=groups,
        kernels=_kernels(norms, cosines),
        duplicates=_duplicates(cosines, threshold),
        shown=shown,
        channels=_strongest(weights, groups, shown, channels) if sliced else None,
        scaling=scaling,
        columns=columns,
        options={"layer": layer, "scaling": scaling},
    )
    return dataclasses.replace(result, notes=(*notes, *_remarks(result)))


def _check(scaling: str, threshold: float, **counts: int | None) -> None:
    if scaling not in {"per-kernel", "all"}:
        raise OptionError(f"scaling is {scaling!r}; it can be 'per-kernel' or 'all'")
    if not 0 < threshold <= 1:
        raise OptionError(f"threshold is {threshold:g}; a cosine lies in (0, 1], such as 0.95")
    for name, count in counts.items():
        if count is not None and count < 1:
            raise OptionError(f"{name} is {count}; give at least 1")


def _similarities(weights: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Norms (O,), and cosines (groups, O / groups, O / groups) within groups; 0 on the diagonal and for the dead."""
    flat = weights.reshape(groups, len(weights) // groups, -1)
    norms = flat.norm(dim=2)
    alive = ~_dead(norms)
    pairs = alive[:, :, None] & alive[:, None, :] & ~torch.eye(flat.shape[1], dtype=torch.bool)
    products = norms[:, :, None] * norms[:, None, :]
    cosines = (flat @ flat.mT / products.where(pairs, 1)).clamp(-1, 1) * pairs
    return norms.flatten(), cosines


def _dead(norms: Tensor) -> Tensor:
    return norms <= DEAD * norms.max()


def _kernels(norms: Tensor, cosines: Tensor) -> tuple[Kernel, ...]:
    size = cosines.shape[1]
    most_similar = cosines.abs().argmax(2)
    largest = cosines.gather(2, most_similar[:, :, None]).flatten().tolist()
    rows = zip(norms.tolist(), _dead(norms).tolist(), most_similar.flatten().tolist(), largest, strict=True)
    return tuple(
        Kernel(index, norm, dead, index // size * size + other if cosine else None, cosine)
        for index, (norm, dead, other, cosine) in enumerate(rows)
    )


def _duplicates(cosines: Tensor, threshold: float) -> tuple[Duplicates, ...]:
    size = cosines.shape[1]
    indices = (cosines.abs().triu(1) >= threshold - 1e-6).nonzero()
    pairs = [
        Duplicates(group * size + one, group * size + two, cosines[group, one, two].item())
        for group, one, two in indices.tolist()
    ]
    return tuple(sorted(pairs, key=lambda pair: -abs(pair.cosine)))


def _strongest(weights: Tensor, groups: int, shown: tuple[int, ...], count: int) -> Tensor:
    """The input channels with the largest weights in the shown kernels, (n, m), counted over all groups."""
    norms = weights[list(shown)].flatten(2).norm(dim=2)
    local: Tensor = norms.argsort(dim=1, descending=True, stable=True)[:, :count]
    start = torch.tensor([kernel // (len(weights) // groups) * weights.shape[1] for kernel in shown])
    return local + start[:, None]


def _remarks(filters: Filters) -> tuple[str, ...]:
    """How to read the grid, and warnings."""
    count, channels, height, width = filters.weights.shape
    notes = []
    if filters.colored:
        notes.append(
            "the weights act on normalized channels and are shown as stored, not divided by the standard deviations"
        )
    else:
        notes.append("mid-grey is a weight of 0")
    if filters.channels is not None:
        notes.append(
            f"slices of {filters.layer} weight channels, not colors, and are hard to read: {len(filters.shown)} of "
            f"{count} kernels, {filters.channels.shape[1]} of {channels} input channels each, largest norm first"
        )
    if height == width == 1:
        notes.append("the kernels are 1×1: they mix channels and hold no pattern")
    if filters.groups > 1:
        read = f"{channels} of {filters.groups * channels} channels"
        notes.append(f"{filters.groups} groups: a kernel reads {read}, and is compared within its group")
    if filters.dead:
        notes.append(
            f"{len(filters.dead)} of {count} are dead, with a norm of at most {DEAD:g} of the largest: "
            f"{_listed(filters.dead)}"
        )
    return tuple(notes)


def _listed(indices: tuple[int, ...], most: int = 12) -> str:
    rest = f" and {len(indices) - most} more" if len(indices) > most else ""
    return ", ".join(map(str, indices[:most])) + rest


DEAD = 1e-3
"""Share of the largest norm at or below which a kernel is dead."""
