"""What a unit says over all images: how much, how often, and whether anything at all."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import torch

from phosphene.survey.accumulators.accumulator import Accumulator, Columns, Seen, Site, State
from phosphene.survey.accumulators.sums import add, mean_variance, powers


@dataclasses.dataclass(frozen=True)
class Moments(Accumulator, name="moments"):
    """Mean and standard deviation, over the images, of each image's maximum and of its mean over the places.

    The deviation is that of the population: sqrt(Σ(x - mean)²/n). Values beyond ±2²⁰ count as ±2²⁰.
    """

    def start(self, site: Site) -> State:
        """How many images, and their sums of powers: [maximum or mean, power, whole or part]."""
        return {
            "images": torch.zeros(site.channels, dtype=torch.long),
            "sums": torch.zeros(site.channels, 2, 2, 2, dtype=torch.long),
        }

    def update(self, state: State, seen: Seen) -> None:
        """Add the batch."""
        values = torch.stack([seen.max, seen.mean], 1).masked_fill_(~seen.finite[:, None], 0)
        state["images"] += seen.finite.sum(0)
        add(state["sums"], powers(values).transpose(0, 1))

    def merge(self, state: State, other: State) -> None:
        """Add the sums."""
        state["images"] += other["images"]
        add(state["sums"], other["sums"])

    def result(self, state: State, site: Site) -> Mapping[str, Columns]:  # noqa: ARG002
        """Columns of "units"; NaN for a unit without an image."""
        mean, variance = mean_variance(state["images"].numpy()[:, None], state["sums"])
        std = np.sqrt(variance)
        return {"units": {"mean_max": mean[:, 0], "std_max": std[:, 0], "mean": mean[:, 1], "std": std[:, 1]}}


@dataclasses.dataclass(frozen=True)
class Sparsity(Accumulator, name="sparsity"):
    """How often a unit is above zero: in how many images, at how many places."""

    def start(self, site: Site) -> State:
        """Three counts."""
        return {name: torch.zeros(site.channels, dtype=torch.long) for name in _COUNTS}

    def update(self, state: State, seen: Seen) -> None:
        """Count the batch."""
        state["images"] += seen.finite.sum(0)
        state["images_positive"] += (seen.finite & (seen.max > 0)).sum(0)
        state["places_positive"] += (seen.finite * seen.positive).sum(0)

    def merge(self, state: State, other: State) -> None:
        """Add the counts."""
        for name in _COUNTS:
            state[name] += other[name]

    def result(self, state: State, site: Site) -> Mapping[str, Columns]:
        """Columns of "units"."""
        counts = {name: state[name].numpy() for name in _COUNTS}
        return {"units": {**counts, "places": counts["images"] * (site.grid[0] * site.grid[1])}}


@dataclasses.dataclass(frozen=True)
class DeadUnits(Accumulator, name="dead-units"):
    """The range of each unit: one that says the same at every place of every image is dead.

    A unit behind a ReLU that never fires is one. In how many images it said something that was no number is counted
    apart, as broken; what it said there counts nowhere.
    """

    def start(self, site: Site) -> State:
        """An empty range."""
        return {
            "max": torch.full((site.channels,), -torch.inf),
            "min": torch.full((site.channels,), torch.inf),
            "broken": torch.zeros(site.channels, dtype=torch.long),
        }

    def update(self, state: State, seen: Seen) -> None:
        """Widen the range."""
        broken = ~seen.finite
        # Adding 0 makes -0 a 0: which of the two a maximum gives depends on their order.
        high = seen.max.masked_fill(broken, -torch.inf).amax(0) + 0
        low = seen.min.masked_fill(broken, torch.inf).amin(0) + 0
        self.merge(state, {"max": high, "min": low, "broken": broken.sum(0)})

    def merge(self, state: State, other: State) -> None:
        """The wider range."""
        torch.maximum(state["max"], other["max"], out=state["max"])
        torch.minimum(state["min"], other["min"], out=state["min"])
        state["broken"] += other["broken"]

    def result(self, state: State, site: Site) -> Mapping[str, Columns]:  # noqa: ARG002
        """Columns of "units"; NaN for a unit without an image."""
        high, low = state["max"].numpy(), state["min"].numpy()
        ends = {"max": np.where(high < low, np.nan, high), "min": np.where(high < low, np.nan, low)}
        return {"units": {**ends, "broken": state["broken"].numpy(), "dead": high == low}}


_COUNTS = ("images", "images_positive", "places_positive")
