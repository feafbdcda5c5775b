"""One layer's maps of many images, with all that has ever made the order of arrival matter."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from phosphene.survey.accumulators.accumulator import Accumulator, Seen, Site, State

LABELS = ("cat", "dog", "quay")


@dataclasses.dataclass
class World:
    """Images of known numbers and labels, and their maps.

    Args:
        site: of the maps.
        rows: (N,) numbers of the images: neither in order nor without gaps.
        labels: (N,) some -1.
        maps: (N, C, H, W).
    """

    site: Site
    rows: Tensor
    labels: Tensor
    maps: Tensor

    def see(self, which: Sequence[int]) -> Seen:
        """Some images, as a pass in inference mode sees them."""
        with torch.inference_mode():
            seen = Seen(self.site, self.rows[which], self.maps[which])
        seen.labels = self.labels[which]
        return seen

    @property
    def finite(self) -> Tensor:
        """(N, C) by definition."""
        return self.maps.isfinite().all(3).all(2)


def world(images: int = 150, grid: tuple[int, int] = (5, 4), seed: int = 0) -> World:
    """Fourteen channels: smooth, with ties, dead, zeros of both signs, huge, tiny; some maps are poisoned."""
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
    for channel, poison in ((0, torch.nan), (2, torch.inf), (12, -torch.inf)):
        broken = torch.rand(images, generator=random) < 0.1
        maps[broken, channel, -1, 1 % grid[1]] = poison
    maps[:, 13] = torch.nan
    rows = 3 * torch.randperm(2 * images, generator=random)[:images]
    labels = torch.randint(-1, len(LABELS), (images,), generator=random)
    return World(Site("layer", 14, grid, LABELS), rows, labels, maps)


def fold(accumulator: Accumulator, world: World, batches: Iterable[Sequence[int]]) -> State:
    """The state after some batches."""
    state = accumulator.start(world.site)
    for which in batches:
        seen = world.see(which)
        accumulator.update(state, seen)
    return state


def tables(accumulator: Accumulator, world: World, size: int = 4) -> dict[str, dict[str, object]]:
    """The tables after all images, in batches of a size."""
    state = fold(accumulator, world, torch.arange(len(world.rows)).split(size))
    found = accumulator.result(accumulator.settle(state), world.site)
    return {name: dict(columns) for name, columns in found.items()}
