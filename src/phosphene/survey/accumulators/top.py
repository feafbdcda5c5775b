"""The strongest and the weakest images of every unit."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from phosphene.core.errors import OptionError
from phosphene.survey.accumulators.accumulator import (
    Accumulator,
    Columns,
    Seen,
    Site,
    State,
    channel_column,
    ordered,
    unordered,
)


@dataclasses.dataclass(frozen=True)
class TopPatches(Accumulator, name="top-patches"):
    """The k images that excite each unit most, and the k that excite it least, with the place in the map.

    The strongest are those of the greatest maximum over the places, the weakest those of the least minimum; among equal
    values the image of the smaller number stands first, so ties do not depend on the order of arrival. An image enters
    once for each unit. An entry is one integer, (value, -image), so that comparing integers compares both.

    Args:
        k: how many of each.
        weakest: whether the least are kept as well.

    Reference: Zeiler & Fergus, ECCV 2014, figure 2; Girshick et al., CVPR 2014, section 3.1.
    """

    k: int = 64
    weakest: bool = True

    def __post_init__(self) -> None:
        if self.k < 1:
            raise OptionError(f"k is {self.k}; top-patches wants at least 1")

    @property
    def _sides(self) -> tuple[str, ...]:
        return ("top", "bottom") if self.weakest else ("top",)

    @property
    def _room(self) -> int:
        return self.k + max(self.k, 32)

    def start(self, site: Site) -> State:
        """Keys and places of the entries, and room for as many newcomers before they must be sorted."""
        state: State = {}
        for side in self._sides:
            state[f"{side}.key"] = torch.full((site.channels, self._room), _NONE)
            state[f"{side}.place"] = torch.zeros(site.channels, self._room, dtype=torch.int32)
            state[f"{side}.filled"] = torch.tensor(self.k)
        return state

    def update(self, state: State, seen: Seen) -> None:
        """Put the batch into the free room; sort when it is full."""
        for side, values, places in (("top", seen.max, seen.max_at), ("bottom", -seen.min, seen.min_at)):
            if side in self._sides:
                keys = (ordered(values) << 32) | (_IMAGES - seen.rows[:, None])
                self._put(state, side, keys.masked_fill_(~seen.finite, _NONE).T, places.T)

    def _put(self, state: State, side: str, keys: Tensor, places: Tensor) -> None:
        for start in range(0, keys.shape[1], self._room - self.k):
            part = slice(start, start + self._room - self.k)
            if int(state[f"{side}.filled"]) + keys[:, part].shape[1] > self._room:
                self._sort(state, side)
            filled = int(state[f"{side}.filled"])
            end = filled + keys[:, part].shape[1]
            state[f"{side}.key"][:, filled:end] = keys[:, part]
            state[f"{side}.place"][:, filled:end] = places[:, part]
            state[f"{side}.filled"].fill_(end)

    def _sort(self, state: State, side: str) -> None:
        keys, places = state[f"{side}.key"], state[f"{side}.place"]
        best, index = keys.topk(self.k, sorted=True)
        kept = places.gather(1, index)
        keys[:, self.k :] = _NONE
        keys[:, : self.k], places[:, : self.k] = best, kept
        state[f"{side}.filled"].fill_(self.k)

    def settle(self, state: State) -> State:
        """The first k alone, sorted."""
        settled: State = {}
        for side in self._sides:
            best, index = state[f"{side}.key"].topk(self.k, sorted=True)
            settled[f"{side}.key"] = best
            settled[f"{side}.place"] = state[f"{side}.place"].gather(1, index).masked_fill(best == _NONE, 0)
        return settled

    def merge(self, state: State, other: State) -> None:
        """Entries of both; the better k stay."""
        for side in self._sides:
            self._put(state, side, other[f"{side}.key"], other[f"{side}.place"])

    def result(self, state: State, site: Site) -> Mapping[str, Columns]:
        """The table "patches": a row for each unit, side and rank."""
        parts = [self._rows(state, side, site) for side in self._sides]
        return {"patches": {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}}

    def _rows(self, state: State, side: str, site: Site) -> Columns:
        keys, places = state[f"{side}.key"].flatten(), state[f"{side}.place"].flatten()
        there = keys != _NONE
        keys, places = keys[there], places[there]
        sign = 1 if side == "top" else -1
        channels = channel_column(site.channels, self.k)[there.numpy()]
        ranks = np.tile(np.arange(self.k, dtype=np.int32), site.channels)[there.numpy()]
        return {
            "channel": channels,
            "side": np.array([side] * len(channels), dtype=object),
            "rank": ranks,
            "image": (_IMAGES - (keys & _IMAGES)).int().numpy(),
            "activation": (sign * unordered(keys >> 32)).numpy() + np.float32(0),
            "row": (places // site.grid[1]).int().numpy(),
            "column": (places % site.grid[1]).int().numpy(),
        }


_IMAGES = 0xFFFFFFFF
_NONE = -(2**63)
