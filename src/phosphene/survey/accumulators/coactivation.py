"""Which units respond to the same images."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from phosphene.survey.accumulators.accumulator import Accumulator, AccumulatorState, Array, BatchStatistics, SurveyLayer


@dataclasses.dataclass(frozen=True)
class CoActivation(Accumulator, name="co-activation"):
    """The correlation, over the images, of the spatial means of every two units of a layer.

    Means are rounded to 2⁻¹⁴ and clipped to ±2⁸, so that their products can be summed exactly: in float64 over 64
    images, and then in int64, which has room for 2¹⁹ images of means as large as that. A unit with a map that was not
    finite has no correlation. Memory: 8 C² bytes for a layer of C channels, and three times that during a product.
    """

    arrays: ClassVar[Mapping[str, str]] = {"similar": "the correlation of every two units of a layer, (C, C) float32"}

    def start(self, layer: SurveyLayer) -> AccumulatorState:
        """The Gram matrix, the sums, and a buffer of the images that are multiplied together."""
        return {
            "gram": torch.zeros(layer.channels, layer.channels, dtype=torch.long),
            "sum": torch.zeros(layer.channels, dtype=torch.long),
            "broken": torch.zeros(layer.channels, dtype=torch.long),
            "images": torch.tensor(0),
            "buffer": torch.zeros(layer.channels, _BUFFER, dtype=torch.double),
            "filled": torch.tensor(0),
        }

    def update(self, state: AccumulatorState, batch: BatchStatistics) -> None:
        """Put the batch into the buffer; multiply when it is full."""
        means = batch.mean.double().clamp_(-_LIMIT, _LIMIT).mul_(_STEPS).round_().masked_fill_(~batch.finite, 0)
        state["images"] += len(means)
        state["broken"] += (~batch.finite).sum(0)
        state["sum"] += means.sum(0).long()
        for part in torch.split(means, _BUFFER):
            if int(state["filled"]) + len(part) > _BUFFER:
                state["gram"] += _gram(state)
                state["buffer"].zero_()
                state["filled"].zero_()
            filled = int(state["filled"])
            state["buffer"][:, filled : filled + len(part)] = part.T
            state["filled"] += len(part)

    def compact(self, state: AccumulatorState) -> AccumulatorState:
        """The Gram matrix of all images, and the sums."""
        return {"gram": state["gram"] + _gram(state), **{name: state[name] for name in ("sum", "broken", "images")}}

    def merge(self, state: AccumulatorState, other: AccumulatorState) -> None:
        """Add the sums."""
        for name in ("gram", "sum", "broken", "images"):
            state[name] += other[name]

    def layer_arrays(self, state: AccumulatorState, layer: SurveyLayer) -> Mapping[str, Array]:  # noqa: ARG002
        """The array "similar": correlations (C, C), float32; NaN for a unit that was not finite or never varied."""
        n = max(int(state["images"]), 1)
        mean = state["sum"].numpy() / n
        covariance = state["gram"].numpy() / n - np.outer(mean, mean)
        std = np.sqrt(covariance.diagonal().clip(0))
        std[(std < _ROUNDING) | (state["broken"].numpy() > 0)] = np.nan
        return {"similar": (covariance / np.outer(std, std)).clip(-1, 1).astype(np.float32)}


def _gram(state: AccumulatorState) -> Tensor:
    """Exact: every partial sum is an integer below 2⁵³."""
    return (state["buffer"] @ state["buffer"].T).long()


_STEPS, _LIMIT = 2.0**14, 2.0**8
_BUFFER = 64
assert (_STEPS * _LIMIT) ** 2 * _BUFFER < 2**53
_ROUNDING = 0.1
"""In steps of 2⁻¹⁴: a smaller deviation is rounding."""
