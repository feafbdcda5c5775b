"""Made-up maps of one layer, with everything that could make the order of images matter."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from phosphene.survey.accumulators.accumulator import Accumulator, AccumulatorState, BatchStatistics, SurveyLayer

LABELS = ("cat", "dog", "quay")


@dataclasses.dataclass
class LayerMaps:
    """The maps of one layer for some images.

    Args:
        layer: of the maps.
        numbers: (N,) of the images: neither in order nor without gaps.
        labels: (N,) some -1.
        maps: (N, C, H, W).
    """

    layer: SurveyLayer
    numbers: Tensor
    labels: Tensor
    maps: Tensor

    def statistics(self, which: Sequence[int]) -> BatchStatistics:
        """Some images, as in a pass in inference mode."""
        with torch.inference_mode():
            statistics = BatchStatistics(self.layer, self.numbers[which], self.maps[which])
        statistics.labels = self.labels[which]
        return statistics

    @property
    def finite(self) -> Tensor:
        """(N, C) by definition."""
        return self.maps.isfinite().all(3).all(2)


def layer_maps(images: int = 150, grid: tuple[int, int] = (5, 4), seed: int = 0) -> LayerMaps:
    """Fourteen channels: smooth, with ties, dead, zeros of both signs, huge, tiny; some maps are not finite."""
    random = torch.Generator().manual_seed(seed)
    maps = torch.randn(images, 14, *grid, generator=random)
    maps[:, 1] = maps[:, 1].clamp(0, 6)
    maps[:, 2] = maps[:, 2].round()
    maps[:, 3] = (maps[:, 3] > 2).float()
    maps[:, 4] = 0
    maps[:, 5] = 0.1
    maps[:, 6] = torch.where(maps[:, 6] > 0, 0.0, -0.0)
    maps[:, 7] = 1e4 + 1e-2 * maps[:, 7]
    maps[:, 8] *= 1e9
    maps[:, 9] *= 1e-12
    maps[:, 10] = -maps[:, 10].abs() - 1
    maps[:, 11] = maps[:, 11].exp2().exp2()
    for channel, value in ((0, torch.nan), (2, torch.inf), (12, -torch.inf)):
        broken = torch.rand(images, generator=random) < 0.1
        maps[broken, channel, -1, 1 % grid[1]] = value
    maps[:, 13] = torch.nan
    numbers = 3 * torch.randperm(2 * images, generator=random)[:images]
    labels = torch.randint(-1, len(LABELS), (images,), generator=random)
    return LayerMaps(SurveyLayer("layer", 14, grid, LABELS), numbers, labels, maps)


def fold(accumulator: Accumulator, case: LayerMaps, batches: Iterable[Sequence[int]]) -> AccumulatorState:
    """The state after some batches."""
    state = accumulator.start(case.layer)
    for which in batches:
        accumulator.update(state, case.statistics(which))
    return state


def tables(accumulator: Accumulator, case: LayerMaps, size: int = 4) -> dict[str, dict[str, object]]:
    """The tables after all images, in batches of a size."""
    state = fold(accumulator, case, torch.arange(len(case.numbers)).split(size))
    returned = accumulator.result(accumulator.compact(state), case.layer)
    return {name: dict(columns) for name, columns in returned.items()}
