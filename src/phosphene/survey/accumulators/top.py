"""The images of the strongest and of the weakest activations of every unit."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from phosphene.core.errors import OptionError
from phosphene.survey.accumulators.accumulator import (
    Accumulator,
    AccumulatorState,
    BatchStatistics,
    Columns,
    SurveyLayer,
    channel_column,
    ordered,
    unordered,
)


@dataclasses.dataclass(frozen=True)
class TopPatches(Accumulator, name="top-patches"):
    """The k images of the greatest activations of each unit, and the k of the least, with the place in the map.

    The strongest are those of the greatest maximum over the places, the weakest those of the least minimum; among equal
    values the image of the smaller number comes first, so ties do not depend on the order of arrival. An image enters
    once for each unit. An entry is one integer, (value, -image), so that comparing integers compares both.

    Args:
        k: how many of each.
        weakest: whether the k least are kept as well.

    Reference: Zeiler & Fergus, ECCV 2014, figure 2; Girshick et al., CVPR 2014, section 3.1.
    """

    default: ClassVar[bool] = True
    tables: ClassVar[Mapping[str, str]] = {"patches": "a unit, side and rank"}
    k: int = 64
    weakest: bool = True

    def __post_init__(self) -> None:
        if self.k < 1:
            raise OptionError(f"k is {self.k}; top-patches needs at least 1")

    @property
    def _sides(self) -> tuple[str, ...]:
        return ("top", "bottom") if self.weakest else ("top",)

    @property
    def _capacity(self) -> int:
        return self.k + max(self.k, 32)

    def start(self, layer: SurveyLayer) -> AccumulatorState:
        """Keys and places of the k entries, and a buffer for new ones."""
        state: AccumulatorState = {}
        for side in self._sides:
            state[f"{side}.key"] = torch.full((layer.channels, self._capacity), _NONE)
            state[f"{side}.place"] = torch.zeros(layer.channels, self._capacity, dtype=torch.int32)
            state[f"{side}.filled"] = torch.tensor(self.k)
        return state

    def update(self, state: AccumulatorState, batch: BatchStatistics) -> None:
        """Put the batch into the buffer; sort when it is full."""
        for side, values, places in (("top", batch.max, batch.max_at), ("bottom", -batch.min, batch.min_at)):
            if side in self._sides:
                keys = (ordered(values) << 32) | (_IMAGES - batch.numbers[:, None])
                self._put(state, side, keys.masked_fill_(~batch.finite, _NONE).T, places.T)

    def _put(self, state: AccumulatorState, side: str, keys: Tensor, places: Tensor) -> None:
        for start in range(0, keys.shape[1], self._capacity - self.k):
            part = slice(start, start + self._capacity - self.k)
            if int(state[f"{side}.filled"]) + keys[:, part].shape[1] > self._capacity:
                self._sort(state, side)
            filled = int(state[f"{side}.filled"])
            end = filled + keys[:, part].shape[1]
            state[f"{side}.key"][:, filled:end] = keys[:, part]
            state[f"{side}.place"][:, filled:end] = places[:, part]
            state[f"{side}.filled"].fill_(end)

    def _sort(self, state: AccumulatorState, side: str) -> None:
        keys, places = state[f"{side}.key"], state[f"{side}.place"]
        best, index = keys.topk(self.k, sorted=True)
        best_places = places.gather(1, index)
        keys[:, self.k :] = _NONE
        keys[:, : self.k], places[:, : self.k] = best, best_places
        state[f"{side}.filled"].fill_(self.k)

    def compact(self, state: AccumulatorState) -> AccumulatorState:
        """The first k entries, sorted."""
        compacted: AccumulatorState = {}
        for side in self._sides:
            best, index = state[f"{side}.key"].topk(self.k, sorted=True)
            compacted[f"{side}.key"] = best
            compacted[f"{side}.place"] = state[f"{side}.place"].gather(1, index).masked_fill(best == _NONE, 0)
        return compacted

    def merge(self, state: AccumulatorState, other: AccumulatorState) -> None:
        """The best k entries of both."""
        for side in self._sides:
            self._put(state, side, other[f"{side}.key"], other[f"{side}.place"])

    def result(self, state: AccumulatorState, layer: SurveyLayer) -> Mapping[str, Columns]:
        """The table "patches": a row for each unit, side and rank."""
        parts = [self._rows(state, side, layer) for side in self._sides]
        return {"patches": {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}}

    def _rows(self, state: AccumulatorState, side: str, layer: SurveyLayer) -> Columns:
        keys, places = state[f"{side}.key"].flatten(), state[f"{side}.place"].flatten()
        filled = keys != _NONE
        keys, places = keys[filled], places[filled]
        sign = 1 if side == "top" else -1
        channels = channel_column(layer.channels, self.k)[filled.numpy()]
        ranks = np.tile(np.arange(self.k, dtype=np.int32), layer.channels)[filled.numpy()]
        return {
            "channel": channels,
            "side": np.array([side] * len(channels), dtype=object),
            "rank": ranks,
            "image": (_IMAGES - (keys & _IMAGES)).int().numpy(),
            "activation": (sign * unordered(keys >> 32)).numpy() + np.float32(0),
            "row": (places // layer.grid[1]).int().numpy(),
            "column": (places % layer.grid[1]).int().numpy(),
        }


_IMAGES = 0xFFFFFFFF
_NONE = -(2**63)
