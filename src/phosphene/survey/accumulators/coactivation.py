"""Which units answer to the same images."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from phosphene.survey.accumulators.accumulator import Accumulator, Columns, Seen, Site, State


@dataclasses.dataclass(frozen=True)
class CoActivation(Accumulator, name="co-activation"):
    """The correlation, over the images, of the means over the places of every two units of a layer.

    Means are rounded to 2⁻¹⁴, and count as ±2⁸ beyond that, so that their products can be summed exactly: in float64
    over a few dozen images, and then in int64, which has room for 2¹⁹ images of means as great as that. A unit that was
    ever broken has no correlation. Memory: 8 C² bytes for a layer of C channels, and three times that while a few dozen
    images are multiplied.
    """

    def start(self, site: Site) -> State:
        """The Gram matrix, the sums, and room for a few dozen images that are multiplied at once."""
        return {
            "gram": torch.zeros(site.channels, site.channels, dtype=torch.long),
            "sum": torch.zeros(site.channels, dtype=torch.long),
            "broken": torch.zeros(site.channels, dtype=torch.long),
            "images": torch.tensor(0),
            "waiting": torch.zeros(site.channels, _ROOM, dtype=torch.double),
            "filled": torch.tensor(0),
        }

    def update(self, state: State, seen: Seen) -> None:
        """Put the batch into the room; multiply when it is full."""
        means = seen.mean.double().clamp_(-_LIMIT, _LIMIT).mul_(_STEPS).round_().masked_fill_(~seen.finite, 0)
        state["images"] += len(means)
        state["broken"] += (~seen.finite).sum(0)
        state["sum"] += means.sum(0).long()
        for part in torch.split(means, _ROOM):
            if int(state["filled"]) + len(part) > _ROOM:
                state["gram"] += _gram(state)
                state["waiting"].zero_()
                state["filled"].zero_()
            filled = int(state["filled"])
            state["waiting"][:, filled : filled + len(part)] = part.T
            state["filled"] += len(part)

    def settle(self, state: State) -> State:
        """The Gram matrix of all images, and the sums."""
        return {"gram": state["gram"] + _gram(state), **{name: state[name] for name in ("sum", "broken", "images")}}

    def merge(self, state: State, other: State) -> None:
        """Add the sums."""
        for name in ("gram", "sum", "broken", "images"):
            state[name] += other[name]

    def result(self, state: State, site: Site) -> Mapping[str, Columns]:  # noqa: ARG002
        """The table "similar": correlation (C, C), float32; NaN for a unit that broke or never varied."""
        n = max(int(state["images"]), 1)
        mean = state["sum"].numpy() / n
        covariance = state["gram"].numpy() / n - np.outer(mean, mean)
        std = np.sqrt(covariance.diagonal().clip(0))
        std[(std < _ROUNDING) | (state["broken"].numpy() > 0)] = np.nan
        return {"similar": {"correlation": (covariance / np.outer(std, std)).clip(-1, 1).astype(np.float32)}}


def _gram(state: State) -> Tensor:
    """Exact: every partial sum is an integer below 2⁵³."""
    return (state["waiting"] @ state["waiting"].T).long()


_STEPS, _LIMIT = 2.0**14, 2.0**8
_ROOM = 64
assert (_STEPS * _LIMIT) ** 2 * _ROOM < 2**53
_ROUNDING = 0.1
"""Steps: less deviation than this is rounding."""
