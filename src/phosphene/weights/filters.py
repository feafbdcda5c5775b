"""The kernels of a layer as pictures, with their norms, their twins and the dead among them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from phosphene.core import files
from phosphene.core.errors import OptionError
from phosphene.core.images import image
from phosphene.core.images.image import Uint8Image
from phosphene.core.networks.network import Network
from phosphene.weights import kernels
from phosphene.weights.sheet import sheet

Scaling = Literal["per-kernel", "all"]


@dataclasses.dataclass(frozen=True)
class Kernel:
    """One kernel: what it weighs, and which other one does nearly the same.

    Args:
        index: of the output channel.
        norm: L2 norm of its weights.
        dead: whether its norm is below a thousandth of the largest: weight decay has switched it off.
        twin: index of the living kernel most like it, up to sign, among those that read the same channels; None
            where there is none.
        cosine: similarity to the twin, in [-1, 1]; near -1 the twin is its negative.
    """

    index: int
    norm: float
    dead: bool
    twin: int | None
    cosine: float


class Twins(NamedTuple):
    """Two kernels that nearly repeat each other; where the cosine is negative, with the sign turned."""

    first: int
    second: int
    cosine: float


@dataclasses.dataclass(frozen=True, eq=False)
class Filters:
    """The kernels of one layer.

    Args:
        weights: (O, I, H, W), as stored; RGB also where the network wants BGR. I counts the channels of one group.
        layer: whose kernels they are.
        network: whose layer it is.
        colored: whether they weigh red, green and blue, so that a kernel is one picture.
        groups: of the convolution; kernel o reads channels (o // (O / groups)) * I and the next I - 1.
        kernels: norm and twin of each.
        duplicates: pairs with a cosine of at least the threshold, up to sign; the most alike first.
        shown: index of every kernel in the grid.
        inputs: (len(shown), m), input channels whose slices are shown, largest norm first; None where each kernel is
            one picture.
        scaling: what black and white are taken over.
        columns: of the grid; None for one that is nearly square. Slices keep one row for each kernel.
        notes: choices and warnings, to be shown beside the grid.
    """

    weights: Tensor = dataclasses.field(repr=False)
    layer: str
    network: Network
    colored: bool
    groups: int
    kernels: tuple[Kernel, ...] = dataclasses.field(repr=False)
    duplicates: tuple[Twins, ...] = dataclasses.field(repr=False)
    shown: tuple[int, ...] = dataclasses.field(repr=False)
    inputs: Tensor | None = dataclasses.field(repr=False)
    scaling: Scaling
    columns: int | None
    notes: tuple[str, ...]

    @property
    def dead(self) -> tuple[int, ...]:
        """Kernels that weigh next to nothing."""
        return tuple(kernel.index for kernel in self.kernels if kernel.dead)

    def pictures(self) -> Tensor:
        """What the grid shows: (n, 3, H, W) for colored kernels, else (n, m, H, W), m grey slices each; in [0, 1].

        The least weight is 0 and the greatest 1, of each kernel or of all; where there is no color, -s is 0 and s is 1,
        with s the greatest magnitude, so that 0.5 is no weight. A kernel without contrast, or dead, is 0.5.
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
        if self.inputs is None:
            return scaled
        local = self.inputs % self.weights.shape[1]
        return scaled.gather(1, local[:, :, None, None].expand(-1, -1, *scaled.shape[2:]))

    def grid(self) -> Uint8Image:
        """Every kernel under its index; of deeper layers one row for each, its slices under "kernel:input"."""
        if self.inputs is None:
            return sheet(self.pictures(), [str(kernel) for kernel in self.shown], self.columns)
        rows = zip(self.shown, self.inputs.tolist(), strict=True)
        labels = [f"{kernel}:{channel}" for kernel, row in rows for channel in row]
        return sheet(self.pictures().flatten(0, 1)[:, None], labels, self.inputs.shape[1], side=56)

    def table(self) -> dict[str, Any]:
        """Norms, twins and duplicates as plain values."""
        return {
            "layer": self.layer,
            "shape": list(self.weights.shape),
            "groups": self.groups,
            "dead": list(self.dead),
            "duplicates": [each._asdict() for each in self.duplicates],
            "kernels": [dataclasses.asdict(each) for each in self.kernels],
            "notes": list(self.notes),
        }

    def save(self, folder: str | Path) -> list[dict[str, Any]]:
        """Write weights.png, weights.json (the table) and weights.npy (as stored) into a folder.

        Returns:
            one mapping for each file, as a manifest wants it.
        """
        folder, about = Path(folder), {"layer": self.layer, "shape": list(self.weights.shape)}
        image.save(folder / "weights.png", self.grid())
        files.write_json(folder / "weights.json", self.table())
        files.write_array(folder / "weights.npy", self.weights.numpy())
        kinds = {"weights.png": "picture", "weights.json": "table", "weights.npy": "state"}
        return [{"path": path, "kind": kind, **about} for path, kind in kinds.items()]


def filters(
    network: Network,
    layer: str | None = None,
    *,
    scaling: Scaling = "per-kernel",
    columns: int | None = None,
    most: int | None = None,
    inputs: int = 16,
    threshold: float = 0.95,
) -> Filters:
    """The kernels of a convolution, or of a linear layer that reads a map, as pictures.

    Kernels that weigh the pixels are RGB pictures. All others are grey slices, one for each input channel, those with
    the largest norm first; they are hard to read. Norms say how strong a kernel is only where no batch norm follows;
    a cosine near ±1 means that two kernels of the same group look for the same thing.
    Cost: no pass beyond the layer table.

    Args:
        network: whose kernels to show.
        layer: name of the layer; None for the first convolution.
        scaling: black and white at the least and greatest weight of each kernel, or of all, so that strengths compare.
        columns: of the grid; None for one that is nearly square. Slices keep one row for each kernel.
        most: kernels to show, from the first; None for all, or for 16 where a kernel is many slices.
        inputs: slices to show of each kernel.
        threshold: least cosine, up to sign, at which two kernels count as duplicates, in (0, 1].

    Raises:
        LayerError: no such layer, or one without kernels that can be shown.
        OptionError: a value that makes no sense.
    """
    _check(scaling, threshold, columns=columns, most=most, inputs=inputs)
    name, why = (layer, "") if layer is not None else kernels.first(network)
    bank = kernels.read(network, name)
    weights, colored = bank.weights, bank.pixels and bank.weights.shape[1] == 3
    turned = colored and network.preprocess.order == "bgr"
    weights = weights.flip(1) if turned else weights
    norms, cosines = _similarities(weights, bank.groups)
    rows, duplicates = _rows(norms, cosines), _duplicates(cosines, threshold)
    sliced = not colored and weights.shape[1] > 1
    shown = tuple(range(len(weights)))[: most or (16 if sliced else None)]
    slices = _strongest(weights, bank.groups, shown, inputs) if sliced else None
    notes = [f"{name}: {why}"] if why else []
    notes += ["the network wants BGR; its kernels are shown as RGB"] if turned else []
    found = Filters(
        weights, name, network, colored, bank.groups, rows, duplicates, shown, slices, scaling, columns, tuple(notes)
    )
    return dataclasses.replace(found, notes=(*notes, *_remarks(found)))


def _check(scaling: str, threshold: float, **counts: int | None) -> None:
    if scaling not in {"per-kernel", "all"}:
        raise OptionError(f"scaling is {scaling!r}; it can be 'per-kernel' or 'all'")
    if not 0 < threshold <= 1:
        raise OptionError(f"threshold is {threshold:g}; a cosine lies in (0, 1], such as 0.95")
    for name, count in counts.items():
        if count is not None and count < 1:
            raise OptionError(f"{name} is {count}; give at least 1")


def _similarities(weights: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Norms (O,), and cosines (groups, O / groups, O / groups) within groups; 0 for the dead and for oneself."""
    flat = weights.reshape(groups, len(weights) // groups, -1)
    norms = flat.norm(dim=2)
    alive = ~_dead(norms)
    pairs = alive[:, :, None] & alive[:, None, :] & ~torch.eye(flat.shape[1], dtype=torch.bool)
    products = norms[:, :, None] * norms[:, None, :]
    cosines = (flat @ flat.mT / products.where(pairs, 1)).clamp(-1, 1) * pairs
    return norms.flatten(), cosines


def _dead(norms: Tensor) -> Tensor:
    return norms <= DEAD * norms.max()


def _rows(norms: Tensor, cosines: Tensor) -> tuple[Kernel, ...]:
    size = cosines.shape[1]
    twins = cosines.abs().argmax(2)
    likeness = cosines.gather(2, twins[:, :, None]).flatten().tolist()
    dead = _dead(norms).tolist()
    return tuple(
        Kernel(index, norm, dead[index], index // size * size + twin if cosine else None, cosine)
        for index, (norm, twin, cosine) in enumerate(
            zip(norms.tolist(), twins.flatten().tolist(), likeness, strict=True)
        )
    )


def _duplicates(cosines: Tensor, threshold: float) -> tuple[Twins, ...]:
    size = cosines.shape[1]
    places = (cosines.abs().triu(1) >= threshold - 1e-6).nonzero()
    pairs = [
        Twins(group * size + one, group * size + two, cosines[group, one, two].item())
        for group, one, two in places.tolist()
    ]
    return tuple(sorted(pairs, key=lambda pair: -abs(pair.cosine)))


def _strongest(weights: Tensor, groups: int, shown: tuple[int, ...], inputs: int) -> Tensor:
    """The input channels that the shown kernels weigh most, (n, m), counted over all groups."""
    norms = weights[list(shown)].flatten(2).norm(dim=2)
    local: Tensor = norms.argsort(dim=1, descending=True, stable=True)[:, :inputs]
    start = torch.tensor([kernel // (len(weights) // groups) * weights.shape[1] for kernel in shown])
    return local + start[:, None]


def _remarks(found: Filters) -> tuple[str, ...]:
    """What must stand beside the grid."""
    count, wide, height, width = found.weights.shape
    notes = []
    if found.colored:
        notes.append(
            "the weights act on normalized channels and are shown as they are, not divided by their deviations"
        )
    else:
        notes.append("mid-grey is a weight of 0")
    if found.inputs is not None:
        notes.append(
            f"slices of {found.layer} weigh maps, not colors, and are hard to read: {len(found.shown)} of {count} "
            f"kernels, {found.inputs.shape[1]} of {wide} input channels each, largest norm first"
        )
    if height == width == 1:
        notes.append("the kernels are 1×1: they mix channels and hold no pattern")
    if found.groups > 1:
        notes.append(
            f"{found.groups} groups: a kernel weighs {wide} of {found.groups * wide} channels, "
            "and is compared within its group"
        )
    if found.dead:
        notes.append(
            f"{len(found.dead)} of {count} are dead, their norm at most {DEAD:g} of the largest: {_listed(found.dead)}"
        )
    return tuple(notes)


def _listed(indices: tuple[int, ...], most: int = 12) -> str:
    rest = f" and {len(indices) - most} more" if len(indices) > most else ""
    return ", ".join(map(str, indices[:most])) + rest


DEAD = 1e-3
"""Share of the largest norm at or below which a kernel is dead."""
