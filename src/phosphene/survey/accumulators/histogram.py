"""How strongly each unit answers: counts over every level, and a few images of each, chosen by nobody."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from phosphene.core.errors import OptionError
from phosphene.survey.accumulators.accumulator import Accumulator, Columns, Seen, Site, State, mix


@dataclasses.dataclass(frozen=True)
class Ladder:
    """Levels of a signed number, each of the same width in relation to its height, cut by the bits of the float.

    They need no calibration, so that any two counts can be added. On either side lie those of 2^-octaves to 2^octaves,
    one for values around zero is in the middle, and the outermost reach to infinity. A level holds low <= value < high,
    below zero too.

    Args:
        octaves: powers of 2 above 1, and as many below.
        bits: an octave has 2^bits levels.

    >>> Ladder(octaves=1, bits=0).edges.tolist()
    [-inf, -1.0, -0.5, 0.5, 1.0, inf]
    >>> Ladder(octaves=1, bits=0).place(torch.tensor([-1.1, -1.0, -0.5, 0.5, 9.0])).tolist()
    [0, 1, 2, 3, 4]
    """

    octaves: int
    bits: int

    @property
    def side(self) -> int:
        """How many levels lie on either side of zero."""
        return 2 * self.octaves << self.bits

    @property
    def levels(self) -> int:
        """How many there are."""
        return 2 * self.side + 1

    @property
    def _zero(self) -> int:
        """How many levels of float32 lie between zero and the first that counts."""
        return (127 - self.octaves) << self.bits

    def place(self, values: Tensor) -> Tensor:
        """The level of each float32, int32 from 0; any for NaN."""
        below = values < 0
        bits = values.abs().view(torch.int32).add_(below, alpha=-1)  # below zero it is the high edge that is left out
        steps = bits.bitwise_right_shift_(23 - self.bits).clamp_(self._zero - 1, self._zero - 1 + self.side)
        return torch.where(below, self._zero - 1 + self.side - steps, steps + (self.side - self._zero + 1))

    @property
    def edges(self) -> npt.NDArray[np.float64]:
        """(levels + 1,) where levels begin and end."""
        bits = torch.arange(self._zero, self._zero + self.side, dtype=torch.int32) << (23 - self.bits)
        above: npt.NDArray[np.float64] = bits.view(torch.float32).double().numpy()
        return np.concatenate([[-np.inf], -above[::-1], above, [np.inf]])


FINE = Ladder(octaves=16, bits=2)
COARSE = Ladder(octaves=8, bits=0)


@dataclasses.dataclass(frozen=True)
class Histogram(Accumulator, name="histogram"):
    """How many images, by their maximum, and how many places lie at each level of activation, negative ones too.

    Four levels to an octave from 2⁻¹⁶ to 2¹⁶, on both sides of zero. Of each map a few places are counted, which the
    number of the image chooses.
    """

    def start(self, site: Site) -> State:
        """Counts: [image or place, level]."""
        return {"counts": torch.zeros(site.channels, len(_OF), FINE.levels, dtype=torch.int32)}

    def update(self, state: State, seen: Seen) -> None:
        """Count the batch."""
        levels = FINE.place(torch.cat([seen.max[:, :, None], seen.sample], 2))
        row = torch.arange(0, state["counts"].numel(), state["counts"].stride(0))[:, None]
        places = row + torch.tensor([0] + [FINE.levels] * seen.sample.shape[2]) + levels
        once = seen.finite.int()[:, :, None].expand_as(levels)
        state["counts"].view(-1).scatter_add_(0, places.flatten(), once.flatten())

    def merge(self, state: State, other: State) -> None:
        """Add the counts."""
        state["counts"] += other["counts"]

    def result(self, state: State, site: Site) -> Mapping[str, Columns]:  # noqa: ARG002
        """The table "histograms": a row for each level that has a count."""
        counts = state["counts"].numpy()
        channel, of, level = counts.nonzero()
        columns: dict[str, npt.NDArray[Any]] = {
            "channel": channel.astype(np.int32),
            "of": np.array(_OF, dtype=object)[of],
            "low": FINE.edges[level],
            "high": FINE.edges[level + 1],
            "count": counts[channel, of, level].astype(np.int64),
        }
        return {"histograms": columns}


@dataclasses.dataclass(frozen=True)
class Samples(Accumulator, name="samples"):
    """A few images at each octave of each unit's activation: what it answers to when it answers so much.

    Of the images whose maximum lies in an octave, those stay whose hash with the channel is least: a fair draw, which
    neither the order of the images nor anybody's eye has a part in. Octaves go from 2⁻⁸ to 2⁸, on both sides of zero.

    Args:
        each: how many images.
    """

    each: int = 4

    def __post_init__(self) -> None:
        if self.each < 1:
            raise OptionError(f"each is {self.each}; samples wants at least 1")

    def start(self, site: Site) -> State:
        """Keys of the images of each octave, in order, and their activations; a key is (hash, image)."""
        shape = site.channels, COARSE.levels, self.each
        return {"key": torch.full(shape, _NONE), "activation": torch.zeros(shape)}

    def update(self, state: State, seen: Seen) -> None:
        """Let those in whose key is below the last of their octave."""
        channels = torch.arange(seen.site.channels)
        keys = ((mix(seen.rows[:, None], channels) - 2**31) << 32) | seen.rows[:, None]
        slots = COARSE.place(seen.max) + channels * COARSE.levels
        entering = (seen.finite & (keys < state["key"][:, :, -1].flatten()[slots])).flatten().nonzero()[:, 0]
        self._enter(state, *(each.flatten()[entering] for each in (slots, keys, seen.max + 0)))

    def merge(self, state: State, other: State) -> None:
        """Those of both, while there is room."""
        slots, place = (other["key"].flatten(0, 1) != _NONE).nonzero(as_tuple=True)
        keys, values = other["key"].flatten(0, 1)[slots, place], other["activation"].flatten(0, 1)[slots, place]
        self._enter(state, slots, keys, values)

    def _enter(self, state: State, slots: Tensor, keys: Tensor, values: Tensor) -> None:
        """Sort newcomers in among those that are there; a slot is an octave of a channel."""
        kept, activations = state["key"].view(-1, self.each), state["activation"].view(-1, self.each)
        touched = torch.unique(slots)
        slots = torch.cat([slots, touched.repeat_interleave(self.each)])
        keys = torch.cat([keys, kept[touched].flatten()])
        values = torch.cat([values, activations[touched].flatten()])
        order = ((slots << 32) + (keys >> 32)).argsort(stable=True)  # an empty place stands behind all hashes
        slots = slots[order]
        rank = torch.arange(len(slots)) - torch.searchsorted(slots, slots)
        stays = rank < self.each
        slots, rank, order = slots[stays], rank[stays], order[stays]
        kept[slots, rank], activations[slots, rank] = keys[order], values[order]

    def result(self, state: State, site: Site) -> Mapping[str, Columns]:  # noqa: ARG002
        """The table "samples": a row for each image, by channel, octave and hash."""
        keys = state["key"].numpy()
        channel, level, place = (keys != _NONE).nonzero()
        columns: dict[str, npt.NDArray[Any]] = {
            "channel": channel.astype(np.int32),
            "low": COARSE.edges[level],
            "high": COARSE.edges[level + 1],
            "image": (keys[channel, level, place] & 0xFFFFFFFF).astype(np.int32),
            "activation": state["activation"].numpy()[channel, level, place],
        }
        return {"samples": columns}


_OF = ("image", "place")
_NONE = 2**63 - 1
