"""Whether a unit prefers a class."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from phosphene.core.errors import OptionError
from phosphene.survey.accumulators.accumulator import Accumulator, Columns, Seen, Site, State
from phosphene.survey.accumulators.sums import add, mean_variance, powers

Floats = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class ClassSelectivity(Accumulator, name="class-selectivity"):
    """How much more each unit answers to the images of a class than to all others.

    selectivity = (μ - ρ) / (|μ| + |ρ|), in [-1, 1], with μ the mean over the images of the class of their maximum, and
    ρ that over the rest: all other images, also those without a label. d′ = (μ - ρ) / σ, where
    σ² = (n σ²_μ + m σ²_ρ) / (n + m) is the variance within the n images of the class and within the m others.

    Differs from the papers: Morcos et al. take for ρ the mean of the other classes' means, which is the same where
    classes are of one size; d′ commonly has (σ²_μ + σ²_ρ) / 2, for which squares would have to be kept by class. NaN
    where it is 0/0, and where nothing varies within the two groups. Memory: 12 (K + 1) bytes for each unit and K
    classes, which are 331 MB for ImageNet's 1,000 classes and the 27,560 channels of ResNet-50's convolutions. Maxima
    beyond ±2¹⁶ count as ±2¹⁶.

    Args:
        least: images that a class must have to be named as the most selective one of a unit.

    Reference: Morcos et al., ICLR 2018, section 2.2; Zhou et al., arXiv 1806.02891.
    """

    least: int = 2

    def __post_init__(self) -> None:
        if self.least < 1:
            raise OptionError(f"least is {self.least}; class-selectivity wants at least 1")

    def start(self, site: Site) -> State:
        """Images and sums by class, and in a last column those without a label; sums of powers over all images."""
        classes = len(site.labels) + 1
        return {  # the first two lie by class in memory, where a batch then touches a row for each image
            "images": torch.zeros(classes, site.channels, dtype=torch.int32).T,
            "sums": torch.zeros(classes, site.channels, dtype=torch.long).T,
            "powers": torch.zeros(site.channels, 2, 2, dtype=torch.long),
        }

    def update(self, state: State, seen: Seen) -> None:
        """Add the batch by label."""
        values = seen.max.double().clamp_(-(2**16), 2**16).masked_fill_(~seen.finite, 0)
        labels = seen.labels % state["images"].shape[1]  # -1 is the last
        state["images"].T.index_add_(0, labels, seen.finite.int())
        state["sums"].T.index_add_(0, labels, (values * _STEPS).round_().long())
        add(state["powers"], powers(values))

    def merge(self, state: State, other: State) -> None:
        """Add the sums."""
        state["images"] += other["images"]
        state["sums"] += other["sums"]
        add(state["powers"], other["powers"])

    def result(self, state: State, site: Site) -> Mapping[str, Columns]:
        """The table "classes", a row for each channel and class that has images, and columns of "units"."""
        found, names = _contrast(state), np.array([*site.labels, ""], dtype=object)
        channel, place = found.images.nonzero()
        columns: Columns = {
            "channel": channel.astype(np.int32),
            "class": names[place],
            "images": found.images[channel, place],
            "mean_max": found.mean[channel, place],
            "selectivity": found.selectivity[channel, place],
            "d_prime": found.d_prime[channel, place],
        }
        best = found.best(self.least)
        none = np.full((len(best), 1), np.nan)
        units: Columns = {"class": names[best]}
        for name, values in (("selectivity", found.selectivity), ("d_prime", found.d_prime)):
            units = {**units, name: np.take_along_axis(np.hstack([values, none]), best[:, None], 1)[:, 0]}
        return {"classes": columns, "units": units}


class _Contrast(NamedTuple):
    """(C, K) each: a class against the rest."""

    images: npt.NDArray[np.int64]
    mean: Floats
    selectivity: Floats
    d_prime: Floats

    def best(self, least: int) -> npt.NDArray[np.intp]:
        """(C,) the class of greatest selectivity, of equals that of the greatest d′; K where there is none."""
        known = (self.images >= least) & ~np.isnan(self.selectivity)
        # Where the rest's mean is negative, the selectivity of every class with a positive one is exactly 1.
        rank = np.lexsort((np.nan_to_num(self.d_prime, nan=-np.inf), np.where(known, self.selectivity, -np.inf)))
        return np.where(known.any(1), rank[:, -1], known.shape[1]) if known.shape[1] else np.zeros(len(known), np.intp)


def _contrast(state: State) -> _Contrast:
    images, sums = state["images"].long().numpy(), state["sums"].numpy()
    everyone = images.sum(1, keepdims=True)
    count, total = images[:, :-1], sums[:, :-1]
    others = everyone - count
    _, variance = mean_variance(everyone[:, 0], state["powers"])
    with np.errstate(invalid="ignore", divide="ignore"):
        mean, rest = total / count / _STEPS, (sums.sum(1, keepdims=True) - total) / others / _STEPS
        gap = mean - rest
        selectivity = gap / (np.abs(mean) + np.abs(rest))
        # The variance of all is that within the two groups and that between their means.
        within = variance[:, None] - count * others / everyone**2 * gap**2
        d_prime = gap / np.sqrt(np.where(within > _ROUNDING * variance[:, None], within, np.nan))
    return _Contrast(count, mean, selectivity, d_prime)


_STEPS = 2.0**24
"""A class sum counts steps of 2⁻²⁴."""

_ROUNDING = 1e-9
"""Share of a variance below which what is left of it after a subtraction means nothing."""
