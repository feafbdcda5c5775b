"""What a survey folds every image into: a commutative monoid per layer, read while the maps are still there.

A state is plain tensors. Folding is exact: sums are sums of integers, the rest are maxima, minima and counts. So
batches may arrive in any order, from any number of threads or machines, and states may be merged in any order: the
same images give the same bytes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from phosphene.core.networks.network import Network
from phosphene.core.registry import Named

State = dict[str, Tensor]
"""What an accumulator knows of one layer, by name; the first dimension of each tensor is the channel."""

Columns = Mapping[str, npt.NDArray[Any]]
"""A table, or some columns of one."""

SAMPLED = 4
"""Places of each map that are looked at for the histogram of places."""


class Site(NamedTuple):
    """Where in the network: a layer, its channels, its places, and the labels that images may have.

    Args:
        layer: as the network calls it, or "logits".
        channels: how many.
        grid: rows and columns of its maps; (1, 1) for a vector.
        labels: names of the classes that images may have.
    """

    layer: str
    channels: int
    grid: tuple[int, int]
    labels: tuple[str, ...] = ()


class Seen:
    """One batch at one layer: what is left of the maps is a few numbers for each image and channel.

    Args:
        site: which layer.
        rows: (N,) int64, the number of each image.
        maps: (N, C, H, W) or (N, C); not kept.
    """

    def __init__(self, site: Site, rows: Tensor, maps: Tensor) -> None:
        self.site, self.rows = site, rows
        self.labels = torch.full_like(rows, -1)
        """(N,) int64, place of the label in `site.labels`; -1 for none. Known once the pass has ended."""
        flat = (maps.flatten(2) if maps.ndim > 2 else maps[:, :, None]).detach().float().contiguous()
        self.max, self.max_at = _extreme(flat, np.argmax, torch.argmax)
        self.min, self.min_at = _extreme(flat, np.argmin, torch.argmin)
        """(N, C) float32, and (N, C) int64: the place, counted along the rows."""
        # Not a matrix product, as fast as it is: its last bits depend on how many rows there are.
        self.mean = flat.sum(2).cpu() / self.places
        """(N, C) float32."""
        self.positive = torch.gt(flat, 0, out=torch.empty_like(flat)).sum(2).cpu().long()
        """(N, C) int64, places above zero."""
        self.sample = flat.gather(2, self._sampled(flat.device)).cpu()
        """(N, C, up to SAMPLED) float32, values at places that the number of the image chooses."""

    @classmethod
    def joined(cls, parts: Sequence[Seen]) -> Seen:
        """Several batches of one layer as one, for `update`: small operations cost the same for many images."""
        whole = cls.__new__(cls)
        whole.site = parts[0].site
        for name in vars(parts[0]).keys() - {"site", "finite"}:
            setattr(whole, name, torch.cat([getattr(part, name) for part in parts]))
        return whole

    @property
    def places(self) -> int:
        """How many places a map has."""
        return self.site.grid[0] * self.site.grid[1]

    @cached_property
    def finite(self) -> Tensor:
        """(N, C) bool: no NaN and no infinity in the map. The others count as broken, and nowhere else."""
        return self.mean.isfinite() & self.max.isfinite() & self.min.isfinite()

    def _sampled(self, device: torch.device) -> Tensor:
        at = _draws(tuple(self.rows.tolist()))[:, : self.places].to(device) % self.places
        return at[:, None].expand(-1, self.site.channels, -1)


@lru_cache(maxsize=64)
def _draws(rows: tuple[int, ...]) -> Tensor:
    """(N, SAMPLED) numbers in [0, 2³²), the same at every layer."""
    return mix(torch.tensor(rows)[:, None], torch.arange(SAMPLED))


def _extreme(flat: Tensor, on_cpu: Callable[..., Any], elsewhere: Callable[..., Tensor]) -> tuple[Tensor, Tensor]:
    """The greatest or the least value of each map, and its first place; NaN where there is one."""
    if flat.shape[2] == 1:
        # A copy: this may be the network's own tensor, which a ReLU in place is about to write over.
        return flat[:, :, 0].to("cpu", copy=True), torch.zeros(flat.shape[:2], dtype=torch.long)
    # numpy finds a place in the time in which torch finds the value; torch takes ten times as long for places.
    at = torch.from_numpy(on_cpu(flat.numpy(), 2)) if flat.device.type == "cpu" else elsewhere(flat, 2)
    return flat.gather(2, at[:, :, None])[:, :, 0].cpu(), at.cpu()


@dataclasses.dataclass(frozen=True)
class Accumulator(Named):
    """Something worth knowing of every unit, in bounded memory. Its fields are its options; its state is apart.

    The law: `update` and `merge` give the same state, bit for bit, in whatever order and grouping images arrive.
    """

    def layers(self, network: Network, chosen: tuple[str, ...]) -> tuple[str, ...]:  # noqa: ARG002
        """Where it listens: at the layers that were chosen, unless it knows better."""
        return chosen

    def start(self, site: Site) -> State:
        """The state that has seen nothing: the identity of `merge`."""
        raise NotImplementedError

    def update(self, state: State, seen: Seen) -> None:
        """Fold a batch into a state, in place."""
        raise NotImplementedError

    def rows(self, seen: Seen) -> Tensor | None:  # noqa: ARG002
        """A row for each image, to be kept beside the tables; (N, …), or None."""
        return None

    def settle(self, state: State) -> State:
        """The state in the form in which it is saved, merged and read; a state without scratch room is its own."""
        return state

    def merge(self, state: State, other: State) -> None:
        """Fold a settled state of other images into a state, in place."""
        raise NotImplementedError

    def result(self, state: State, site: Site) -> Mapping[str, Columns]:
        """Table → columns of a settled state; "units" has one row per channel, the others a column "channel"."""
        raise NotImplementedError


def mix(first: Tensor, second: Tensor) -> Tensor:
    """A hash of two numbers, in [0, 2³²): the finalizer of MurmurHash3 on both, broadcast.

    >>> mix(torch.tensor([0, 1]), torch.tensor([7])).tolist()
    [843906191, 1798801278]
    """
    return _finalize((_finalize((first.long() + 0x9E3779B9) & _MASK) + second.long()) & _MASK)


def _finalize(h: Tensor) -> Tensor:
    h = ((h ^ (h >> 16)) * 0x85EBCA6B) & _MASK
    h = ((h ^ (h >> 13)) * 0xC2B2AE35) & _MASK
    return h ^ (h >> 16)


def ordered(values: Tensor) -> Tensor:
    """float32 as int64 of the same order, in [-2³¹, 2³¹); -0 equals 0. The inverse is `unordered`.

    >>> ordered(torch.tensor([-1.0, -0.0, 0.0, 1.0])).diff().sign().tolist()
    [1, 0, 1]
    """
    bits = (values + 0.0).view(torch.int32)
    return (bits ^ ((bits >> 31) & 0x7FFFFFFF)).long()


def unordered(keys: Tensor) -> Tensor:
    """What `ordered` was given.

    >>> unordered(ordered(torch.tensor([-2.5, 0.0, 7.0]))).tolist()
    [-2.5, 0.0, 7.0]
    """
    bits = keys.int()
    return (bits ^ ((bits >> 31) & 0x7FFFFFFF)).view(torch.float32)


def channel_column(state_rows: int, each: int) -> npt.NDArray[np.int32]:
    """The column "channel" of a table with `each` rows for every channel."""
    return np.repeat(np.arange(state_rows, dtype=np.int32), each)


_MASK = 0xFFFFFFFF
