"""The activation of a unit over all images: its mean and deviation, how often it is positive, and its range."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch

from phosphene.survey.accumulators.accumulator import (
    Accumulator,
    AccumulatorState,
    BatchStatistics,
    Columns,
    SurveyLayer,
)
from phosphene.survey.accumulators.sums import add, mean_variance, powers


@dataclasses.dataclass(frozen=True)
class Moments(Accumulator, name="moments"):
    """Mean and standard deviation, over the images, of each image's maximum and of its mean over the places.

    The deviation is that of the population: sqrt(Σ(x - mean)²/n). Values are clipped to ±2²⁰.
    """

    default: ClassVar[bool] = True
    tables: ClassVar[Mapping[str, str]] = {"units": "a unit"}

    def start(self, layer: SurveyLayer) -> AccumulatorState:
        """The number of images, and their sums of powers: [maximum or mean, power, whole or part]."""
        return {
            "images": torch.zeros(layer.channels, dtype=torch.long),
            "sums": torch.zeros(layer.channels, 2, 2, 2, dtype=torch.long),
        }

    def update(self, state: AccumulatorState, batch: BatchStatistics) -> None:
        """Add the batch."""
        values = torch.stack([batch.max, batch.mean], 1).masked_fill_(~batch.finite[:, None], 0)
        state["images"] += batch.finite.sum(0)
        add(state["sums"], powers(values).transpose(0, 1))

    def merge(self, state: AccumulatorState, other: AccumulatorState) -> None:
        """Add the sums."""
        state["images"] += other["images"]
        add(state["sums"], other["sums"])

    def result(self, state: AccumulatorState, layer: SurveyLayer) -> Mapping[str, Columns]:  # noqa: ARG002
        """Columns of "units"; NaN for a unit without an image."""
        mean, variance = mean_variance(state["images"].numpy()[:, None], state["sums"])
        std = np.sqrt(variance)
        return {"units": {"mean_max": mean[:, 0], "std_max": std[:, 0], "mean": mean[:, 1], "std": std[:, 1]}}


@dataclasses.dataclass(frozen=True)
class Sparsity(Accumulator, name="sparsity"):
    """How often a unit is above zero: in how many images, at how many places."""

    default: ClassVar[bool] = True
    tables: ClassVar[Mapping[str, str]] = {"units": "a unit"}

    def start(self, layer: SurveyLayer) -> AccumulatorState:
        """Three counts."""
        return {name: torch.zeros(layer.channels, dtype=torch.long) for name in _COUNTS}

    def update(self, state: AccumulatorState, batch: BatchStatistics) -> None:
        """Count the batch."""
        state["images"] += batch.finite.sum(0)
        state["images_positive"] += (batch.finite & (batch.max > 0)).sum(0)
        state["places_positive"] += (batch.finite * batch.positive).sum(0)

    def merge(self, state: AccumulatorState, other: AccumulatorState) -> None:
        """Add the counts."""
        for name in _COUNTS:
            state[name] += other[name]

    def result(self, state: AccumulatorState, layer: SurveyLayer) -> Mapping[str, Columns]:
        """Columns of "units"."""
        counts = {name: state[name].numpy() for name in _COUNTS}
        return {"units": {**counts, "places": counts["images"] * (layer.grid[0] * layer.grid[1])}}


@dataclasses.dataclass(frozen=True)
class DeadUnits(Accumulator, name="dead-units"):
    """The range of each unit: one with the same activation at every place of every image is dead.

    A unit behind a ReLU that never fires is dead. Images in which its map holds NaN or infinity are counted as broken,
    and nowhere else.
    """

    default: ClassVar[bool] = True
    tables: ClassVar[Mapping[str, str]] = {"units": "a unit"}

    def start(self, layer: SurveyLayer) -> AccumulatorState:
        """An empty range."""
        return {
            "max": torch.full((layer.channels,), -torch.inf),
            "min": torch.full((layer.channels,), torch.inf),
            "broken": torch.zeros(layer.channels, dtype=torch.long),
        }

    def update(self, state: AccumulatorState, batch: BatchStatistics) -> None:
        """Extend the range."""
        broken = ~batch.finite
        # Adding 0 makes -0 a 0: which of the two a maximum returns depends on their order.
        high = batch.max.masked_fill(broken, -torch.inf).amax(0) + 0
        low = batch.min.masked_fill(broken, torch.inf).amin(0) + 0
        self.merge(state, {"max": high, "min": low, "broken": broken.sum(0)})

    def merge(self, state: AccumulatorState, other: AccumulatorState) -> None:
        """The union of both ranges."""
        torch.maximum(state["max"], other["max"], out=state["max"])
        torch.minimum(state["min"], other["min"], out=state["min"])
        state["broken"] += other["broken"]

    def result(self, state: AccumulatorState, layer: SurveyLayer) -> Mapping[str, Columns]:  # noqa: ARG002
        """Columns of "units"; NaN for a unit without an image."""
        high, low = state["max"].numpy(), state["min"].numpy()
        bounds = {"max": np.where(high < low, np.nan, high), "min": np.where(high < low, np.nan, low)}
        return {"units": {**bounds, "broken": state["broken"].numpy(), "dead": high == low}}


_COUNTS = ("images", "images_positive", "places_positive")
