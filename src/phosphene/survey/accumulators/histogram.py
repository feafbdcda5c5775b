"""The distribution of the activations of each unit, and images drawn from each part of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from phosphene.core.errors import OptionError
from phosphene.survey.accumulators.accumulator import (
    Accumulator,
    AccumulatorState,
    BatchStatistics,
    Columns,
    SurveyLayer,
    mix,
)


@dataclasses.dataclass(frozen=True)
class LogBins:
    """Logarithmic bins of signed numbers, fixed by the bits of float32 and the same for every unit.

    Since they depend on no data, the counts of any two surveys can be added. For either sign there are bins from
    2^-octaves to 2^octaves; one bin around zero is in the middle, and the outermost reach to infinity. A bin holds
    low <= value < high, below zero too.

    Args:
        octaves: powers of 2 above 1, and as many below.
        bits: an octave has 2^bits bins.

    >>> LogBins(octaves=1, bits=0).edges.tolist()
    [-inf, -1.0, -0.5, 0.5, 1.0, inf]
    >>> LogBins(octaves=1, bits=0).index(torch.tensor([-1.1, -1.0, -0.5, 0.5, 9.0])).tolist()
    [0, 1, 2, 3, 4]
    """

    octaves: int
    bits: int

    @property
    def per_sign(self) -> int:
        """How many bins of either sign there are."""
        return 2 * self.octaves << self.bits

    @property
    def count(self) -> int:
        """How many bins there are."""
        return 2 * self.per_sign + 1

    @property
    def _zero(self) -> int:
        """How many bins of float32 lie between zero and the first one here."""
        return (127 - self.octaves) << self.bits

    def index(self, values: Tensor) -> Tensor:
        """The bin of each float32, int32 from 0; undefined for NaN."""
        below = values < 0
        bits = values.abs().view(torch.int32).add_(below, alpha=-1)  # below zero the high edge is excluded
        steps = bits.bitwise_right_shift_(23 - self.bits).clamp_(self._zero - 1, self._zero - 1 + self.per_sign)
        return torch.where(below, self._zero - 1 + self.per_sign - steps, steps + (self.per_sign - self._zero + 1))

    @property
    def edges(self) -> npt.NDArray[np.float64]:
        """(count + 1,) where bins begin and end."""
        bits = torch.arange(self._zero, self._zero + self.per_sign, dtype=torch.int32) << (23 - self.bits)
        above: npt.NDArray[np.float64] = bits.view(torch.float32).double().numpy()
        return np.concatenate([[-np.inf], -above[::-1], above, [np.inf]])


HISTOGRAM_BINS = LogBins(octaves=16, bits=2)
SAMPLE_BINS = LogBins(octaves=8, bits=0)


@dataclasses.dataclass(frozen=True)
class Histogram(Accumulator, name="histogram"):
    """The histogram of the maximum of each image, and that of activations at sampled places, of both signs.

    Four bins to an octave from 2⁻¹⁶ to 2¹⁶, on both sides of zero. In each map a few places are counted, which the
    number of the image determines.
    """

    default: ClassVar[bool] = True
    tables: ClassVar[Mapping[str, str]] = {"histograms": "a unit and bin"}

    def start(self, layer: SurveyLayer) -> AccumulatorState:
        """Counts: [image or place, bin]."""
        return {"counts": torch.zeros(layer.channels, len(_OF), HISTOGRAM_BINS.count, dtype=torch.int32)}

    def update(self, state: AccumulatorState, batch: BatchStatistics) -> None:
        """Count the batch."""
        bins = HISTOGRAM_BINS.index(torch.cat([batch.max[:, :, None], batch.sample], 2))
        row = torch.arange(0, state["counts"].numel(), state["counts"].stride(0))[:, None]
        places = row + torch.tensor([0] + [HISTOGRAM_BINS.count] * batch.sample.shape[2]) + bins
        ones = batch.finite.int()[:, :, None].expand_as(bins)
        state["counts"].view(-1).scatter_add_(0, places.flatten(), ones.flatten())

    def merge(self, state: AccumulatorState, other: AccumulatorState) -> None:
        """Add the counts."""
        state["counts"] += other["counts"]

    def result(self, state: AccumulatorState, layer: SurveyLayer) -> Mapping[str, Columns]:  # noqa: ARG002
        """The table "histograms": a row for each bin that has a count."""
        counts = state["counts"].numpy()
        channel, of, index = counts.nonzero()
        columns: dict[str, npt.NDArray[Any]] = {
            "channel": channel.astype(np.int32),
            "of": np.array(_OF, dtype=object)[of],
            "low": HISTOGRAM_BINS.edges[index],
            "high": HISTOGRAM_BINS.edges[index + 1],
            "count": counts[channel, of, index].astype(np.int64),
        }
        return {"histograms": columns}


@dataclasses.dataclass(frozen=True)
class Samples(Accumulator, name="samples"):
    """A random sample of images from each octave of each unit's activation.

    Of the images whose maximum lies in an octave, those with the least hash of image and channel are kept: a uniform
    sample that does not depend on the order of the images. Octaves go from 2⁻⁸ to 2⁸, on both sides of zero.

    Args:
        per_octave: how many images.
    """

    default: ClassVar[bool] = True
    tables: ClassVar[Mapping[str, str]] = {"samples": "a unit, octave and image"}
    per_octave: int = 4

    def __post_init__(self) -> None:
        if self.per_octave < 1:
            raise OptionError(f"per_octave is {self.per_octave}; samples needs at least 1")

    def start(self, layer: SurveyLayer) -> AccumulatorState:
        """Keys of the images of each octave, in order, and their activations; a key is (hash, image)."""
        shape = layer.channels, SAMPLE_BINS.count, self.per_octave
        return {"key": torch.full(shape, _NONE), "activation": torch.zeros(shape)}

    def update(self, state: AccumulatorState, batch: BatchStatistics) -> None:
        """Insert the images whose key is below the last one of their octave."""
        channels = torch.arange(batch.layer.channels)
        keys = ((mix(batch.numbers[:, None], channels) - 2**31) << 32) | batch.numbers[:, None]
        slots = SAMPLE_BINS.index(batch.max) + channels * SAMPLE_BINS.count
        entering = (batch.finite & (keys < state["key"][:, :, -1].flatten()[slots])).flatten().nonzero()[:, 0]
        self._insert(state, *(values.flatten()[entering] for values in (slots, keys, batch.max + 0)))

    def merge(self, state: AccumulatorState, other: AccumulatorState) -> None:
        """The images of both with the least keys."""
        slots, rank = (other["key"].flatten(0, 1) != _NONE).nonzero(as_tuple=True)
        keys, values = other["key"].flatten(0, 1)[slots, rank], other["activation"].flatten(0, 1)[slots, rank]
        self._insert(state, slots, keys, values)

    def _insert(self, state: AccumulatorState, slots: Tensor, keys: Tensor, values: Tensor) -> None:
        """Insert entries in the order of their keys; a slot is an octave of a channel."""
        all_keys, activations = state["key"].view(-1, self.per_octave), state["activation"].view(-1, self.per_octave)
        touched = torch.unique(slots)
        slots = torch.cat([slots, touched.repeat_interleave(self.per_octave)])
        keys = torch.cat([keys, all_keys[touched].flatten()])
        values = torch.cat([values, activations[touched].flatten()])
        order = ((slots << 32) + (keys >> 32)).argsort(stable=True)  # an empty entry is sorted after all hashes
        slots = slots[order]
        rank = torch.arange(len(slots)) - torch.searchsorted(slots, slots)
        kept = rank < self.per_octave
        slots, rank, order = slots[kept], rank[kept], order[kept]
        all_keys[slots, rank], activations[slots, rank] = keys[order], values[order]

    def result(self, state: AccumulatorState, layer: SurveyLayer) -> Mapping[str, Columns]:  # noqa: ARG002
        """The table "samples": a row for each image, by channel, octave and hash."""
        keys = state["key"].numpy()
        channel, octave, rank = (keys != _NONE).nonzero()
        columns: dict[str, npt.NDArray[Any]] = {
            "channel": channel.astype(np.int32),
            "low": SAMPLE_BINS.edges[octave],
            "high": SAMPLE_BINS.edges[octave + 1],
            "image": (keys[channel, octave, rank] & 0xFFFFFFFF).astype(np.int32),
            "activation": state["activation"].numpy()[channel, octave, rank],
        }
        return {"samples": columns}


_OF = ("image", "place")
_NONE = 2**63 - 1
