"""What a survey keeps of every unit: a commutative monoid for each layer, updated while the maps are in memory.

A state is a few tensors. Updates are exact: sums are sums of integers, the rest are maxima, minima and counts. So
batches may arrive in any order, from any number of threads or machines, and states may be merged in any order: the
same images give the same bytes.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from phosphene.core.errors import OptionError
from phosphene.core.networks.network import Network
from phosphene.core.registry import Named

AccumulatorState = dict[str, Tensor]
"""What an accumulator has computed for one layer, by name; the first dimension of each tensor is the channel."""

Array = npt.NDArray[Any]

Columns = Mapping[str, Array]
"""The columns of a table, each (rows,)."""

SAMPLED_PLACES = 4
"""Places of each map that are read for the histogram of places."""


class SurveyLayer(NamedTuple):
    """A layer that a survey reads.

    Args:
        name: of the layer, or "logits".
        channels: how many.
        grid: rows and columns of its maps; (1, 1) for a vector.
        labels: names of the classes that images may have.
    """

    name: str
    channels: int
    grid: tuple[int, int]
    labels: tuple[str, ...] = ()


class BatchStatistics:
    """One batch at one layer, reduced to a few numbers for each image and channel.

    Args:
        layer: which layer.
        numbers: (N,) int64, the number of each image in the survey.
        maps: (N, C, H, W) or (N, C); not kept.
    """

    def __init__(self, layer: SurveyLayer, numbers: Tensor, maps: Tensor) -> None:
        self.layer, self.numbers = layer, numbers
        self.labels = torch.full_like(numbers, -1)
        """(N,) int64, place of the label in `layer.labels`; -1 for none. Set at the end of the pass."""
        flat = (maps.flatten(2) if maps.ndim > 2 else maps[:, :, None]).detach().float().contiguous()
        self.max, self.max_at = _extreme(flat, np.argmax, torch.argmax)
        self.min, self.min_at = _extreme(flat, np.argmin, torch.argmin)
        """(N, C) float32, and (N, C) int64: the place, counted along the rows."""
        # Not a matrix product, as fast as it is: its last bits depend on the number of rows.
        self.mean = flat.sum(2).cpu() / self.places
        """(N, C) float32."""
        self.positive = torch.gt(flat, 0, out=torch.empty_like(flat)).sum(2).cpu().long()
        """(N, C) int64, places above zero."""
        self.sample = flat.gather(2, self._sampled(flat.device)).cpu()
        """(N, C, up to SAMPLED_PLACES) float32, values at places that the number of the image determines."""

    @classmethod
    def joined(cls, parts: Sequence[BatchStatistics]) -> BatchStatistics:
        """Several batches of one layer as one, for `update`: small operations cost the same for many images."""
        whole = cls.__new__(cls)
        whole.layer = parts[0].layer
        for name in vars(parts[0]).keys() - {"layer", "finite"}:
            setattr(whole, name, torch.cat([getattr(part, name) for part in parts]))
        return whole

    @property
    def places(self) -> int:
        """How many places a map has."""
        return self.layer.grid[0] * self.layer.grid[1]

    @cached_property
    def finite(self) -> Tensor:
        """(N, C) bool: no NaN and no infinity in the map. The other maps are counted as broken, and nowhere else."""
        return self.mean.isfinite() & self.max.isfinite() & self.min.isfinite()

    def _sampled(self, device: torch.device) -> Tensor:
        at = _hashes(tuple(self.numbers.tolist()))[:, : self.places].to(device) % self.places
        return at[:, None].expand(-1, self.layer.channels, -1)


@lru_cache(maxsize=64)
def _hashes(numbers: tuple[int, ...]) -> Tensor:
    """(N, SAMPLED_PLACES) numbers in [0, 2³²), the same at every layer."""
    return mix(torch.tensor(numbers)[:, None], torch.arange(SAMPLED_PLACES))


def _extreme(flat: Tensor, on_cpu: Callable[..., Any], elsewhere: Callable[..., Tensor]) -> tuple[Tensor, Tensor]:
    """The greatest or the least value of each map, and its first place; NaN where there is one."""
    if flat.shape[2] == 1:
        # A copy: this may be the network's own tensor, which a ReLU in place is about to overwrite.
        return flat[:, :, 0].to("cpu", copy=True), torch.zeros(flat.shape[:2], dtype=torch.long)
    # numpy finds a place in the time in which torch finds the value; torch takes ten times as long for places.
    at = torch.from_numpy(on_cpu(flat.numpy(), 2)) if flat.device.type == "cpu" else elsewhere(flat, 2)
    return flat.gather(2, at[:, :, None])[:, :, 0].cpu(), at.cpu()


@dataclasses.dataclass(frozen=True)
class Accumulator(Named):
    """A statistic of every unit, in bounded memory. Its fields are its options; its state is separate.

    The law: `update` and `merge` give the same state, bit for bit, in whatever order and grouping images arrive.
    What is written to the run is declared by the class, so that SQL, `Run` and the command line know it.
    """

    default: ClassVar[bool] = False
    """Whether a survey computes it when nothing else is asked for."""
    tables: ClassVar[Mapping[str, str]] = {}
    """The tables that `result` returns → what a row is. Several accumulators may add columns to "units"."""
    arrays: ClassVar[Mapping[str, str]] = {}
    """The arrays that `layer_arrays` returns, written as NAME/LAYER.npy → what they hold."""
    image_array: ClassVar[str] = ""
    """What a row of `image_rows` is; empty for an accumulator without. The rows are written as <name>.npy."""

    def __init_subclass__(cls, **rest: Any) -> None:
        for table in (*cls.tables, *cls.arrays):
            if table == "images" or not re.fullmatch(r"[a-z][a-z0-9_]*", table):
                raise OptionError(f"{cls.__qualname__} writes {table!r}; give another name, such as my_table")
        super().__init_subclass__(**rest)

    def layers(self, network: Network, chosen: tuple[str, ...]) -> tuple[str, ...]:  # noqa: ARG002
        """The layers that it reads: by default those that the user chose."""
        return chosen

    def start(self, layer: SurveyLayer) -> AccumulatorState:
        """The state of no image: the identity of `merge`."""
        raise NotImplementedError

    def update(self, state: AccumulatorState, batch: BatchStatistics) -> None:
        """Add a batch to a state, in place."""
        raise NotImplementedError

    def image_rows(self, batch: BatchStatistics) -> Tensor | None:  # noqa: ARG002
        """A row for each image, written beside the tables; (N, …), or None."""
        return None

    def compact(self, state: AccumulatorState) -> AccumulatorState:
        """The state without its buffers, as it is saved, merged and read; by default the state itself."""
        return state

    def merge(self, state: AccumulatorState, other: AccumulatorState) -> None:
        """Add a compact state of other images to a state, in place."""
        raise NotImplementedError

    def result(self, state: AccumulatorState, layer: SurveyLayer) -> Mapping[str, Columns]:  # noqa: ARG002
        """Table → columns of a compact state; "units" has one row for each channel, the others a column "channel".

        A table with the columns image, row and column also gets the receptive field of each row's place in the original
        file, as top, left, bottom, right and whole.
        """
        return {}

    def layer_arrays(self, state: AccumulatorState, layer: SurveyLayer) -> Mapping[str, Array]:  # noqa: ARG002
        """Name → array of a compact state, for what is not a table, such as a matrix of units by units."""
        return {}


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
    """The float32 values of which `ordered` made the keys.

    >>> unordered(ordered(torch.tensor([-2.5, 0.0, 7.0]))).tolist()
    [-2.5, 0.0, 7.0]
    """
    bits = keys.int()
    return (bits ^ ((bits >> 31) & 0x7FFFFFFF)).view(torch.float32)


def channel_column(channels: int, rows: int) -> npt.NDArray[np.int32]:
    """The column "channel" of a table with so many rows for every channel."""
    return np.repeat(np.arange(channels, dtype=np.int32), rows)


_MASK = 0xFFFFFFFF
