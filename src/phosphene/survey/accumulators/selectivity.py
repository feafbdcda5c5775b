"""How selective each unit is for each class."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from phosphene.core.errors import OptionError
from phosphene.survey.accumulators.accumulator import (
    Accumulator,
    AccumulatorState,
    BatchStatistics,
    Columns,
    SurveyLayer,
)
from phosphene.survey.accumulators.sums import add, mean_variance, powers

Floats = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class ClassSelectivity(Accumulator, name="class-selectivity"):
    """How much stronger each unit responds to the images of a class than to all others.

    selectivity = (μ - ρ) / (|μ| + |ρ|), in [-1, 1], with μ the mean, over the images of the class, of their maximum,
    and ρ that over the rest: all other images, also those without a label. d′ = (μ - ρ) / σ, where
    σ² = (n σ²_μ + m σ²_ρ) / (n + m) is the variance within the n images of the class and within the m others.

    Differs from the papers: Morcos et al. take for ρ the mean of the other classes' means, which is the same where
    classes are of one size; d′ commonly has (σ²_μ + σ²_ρ) / 2, which needs a sum of squares for each class. NaN where
    it is 0/0, and where nothing varies within the two groups. Memory: 12 (K + 1) bytes for each unit and K classes,
    which is 331 MB for ImageNet's 1,000 classes and the 27,560 channels of ResNet-50's convolutions. Maxima are clipped
    to ±2¹⁶.

    Args:
        min_images: that a class must have to be named as the class for which a unit is most selective.

    Reference: Morcos et al., ICLR 2018, section 2.2; Zhou et al., arXiv 1806.02891.
    """

    default: ClassVar[bool] = True
    tables: ClassVar[Mapping[str, str]] = {"units": "a unit", "classes": "a unit and class"}
    min_images: int = 2

    def __post_init__(self) -> None:
        if self.min_images < 1:
            raise OptionError(f"min_images is {self.min_images}; class-selectivity needs at least 1")

    def start(self, layer: SurveyLayer) -> AccumulatorState:
        """Images and sums by class, in the last column those without a label; sums of powers over all images."""
        classes = len(layer.labels) + 1
        return {  # the first two are stored by class, so that a batch writes one row for each image
            "images": torch.zeros(classes, layer.channels, dtype=torch.int32).T,
            "sums": torch.zeros(classes, layer.channels, dtype=torch.long).T,
            "powers": torch.zeros(layer.channels, 2, 2, dtype=torch.long),
        }

    def update(self, state: AccumulatorState, batch: BatchStatistics) -> None:
        """Add the batch by label."""
        values = batch.max.double().clamp_(-(2**16), 2**16).masked_fill_(~batch.finite, 0)
        labels = batch.labels % state["images"].shape[1]  # -1 is the last
        state["images"].T.index_add_(0, labels, batch.finite.int())
        state["sums"].T.index_add_(0, labels, (values * _STEPS).round_().long())
        add(state["powers"], powers(values))

    def merge(self, state: AccumulatorState, other: AccumulatorState) -> None:
        """Add the sums."""
        state["images"] += other["images"]
        state["sums"] += other["sums"]
        add(state["powers"], other["powers"])

    def result(self, state: AccumulatorState, layer: SurveyLayer) -> Mapping[str, Columns]:
        """The table "classes", a row for each channel and class that has images, and columns of "units"."""
        contrast, names = _contrast(state), np.array([*layer.labels, ""], dtype=object)
        channel, place = contrast.images.nonzero()
        columns: Columns = {
            "channel": channel.astype(np.int32),
            "class": names[place],
            "images": contrast.images[channel, place],
            "mean_max": contrast.mean[channel, place],
            "selectivity": contrast.selectivity[channel, place],
            "d_prime": contrast.d_prime[channel, place],
        }
        best = contrast.best(self.min_images)
        no_class = np.full((len(best), 1), np.nan)
        units: Columns = {"class": names[best]}
        for name, values in (("selectivity", contrast.selectivity), ("d_prime", contrast.d_prime)):
            units = {**units, name: np.take_along_axis(np.hstack([values, no_class]), best[:, None], 1)[:, 0]}
        return {"classes": columns, "units": units}


class _Contrast(NamedTuple):
    """Each class against the rest; all arrays are (C, K)."""

    images: npt.NDArray[np.int64]
    mean: Floats
    selectivity: Floats
    d_prime: Floats

    def best(self, min_images: int) -> npt.NDArray[np.intp]:
        """(C,) the class of greatest selectivity, among equal ones that of the greatest d′; K where there is none."""
        known = (self.images >= min_images) & ~np.isnan(self.selectivity)
        # Where the mean of the rest is negative, every class with a positive mean has a selectivity of exactly 1.
        rank = np.lexsort((np.nan_to_num(self.d_prime, nan=-np.inf), np.where(known, self.selectivity, -np.inf)))
        return np.where(known.any(1), rank[:, -1], known.shape[1]) if known.shape[1] else np.zeros(len(known), np.intp)


def _contrast(state: AccumulatorState) -> _Contrast:
    images, sums = state["images"].long().numpy(), state["sums"].numpy()
    all_images = images.sum(1, keepdims=True)
    count, total = images[:, :-1], sums[:, :-1]
    others = all_images - count
    _, variance = mean_variance(all_images[:, 0], state["powers"])
    with np.errstate(invalid="ignore", divide="ignore"):
        mean, rest = total / count / _STEPS, (sums.sum(1, keepdims=True) - total) / others / _STEPS
        difference = mean - rest
        selectivity = difference / (np.abs(mean) + np.abs(rest))
        # The total variance is the variance within the two groups plus that between their means.
        within = variance[:, None] - count * others / all_images**2 * difference**2
        d_prime = difference / np.sqrt(np.where(within > _ROUNDING * variance[:, None], within, np.nan))
    return _Contrast(count, mean, selectivity, d_prime)


_STEPS = 2.0**24
"""Class sums are in steps of 2⁻²⁴."""

_ROUNDING = 1e-9
"""Share of a variance below which the remainder of a subtraction is rounding."""
