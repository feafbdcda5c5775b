"""Levels and samples, against counting and sorting everything."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from phosphene.core.errors import OptionError
from phosphene.survey.accumulators.accumulator import SAMPLED, Site, mix
from phosphene.survey.accumulators.histogram import COARSE, FINE, Histogram, Ladder, Samples
from survey.worlds import World, tables, world

LADDERS = [FINE, COARSE, Ladder(1, 0), Ladder(3, 5), Ladder(126, 2)]


def probes(ladder: Ladder) -> torch.Tensor:
    """All edges, their neighbors among the floats, and a crowd of other numbers."""
    edges = torch.from_numpy(ladder.edges[1:-1]).float()
    near = [edges, edges.nextafter(torch.tensor(torch.inf)), edges.nextafter(torch.tensor(-torch.inf))]
    random = torch.Generator().manual_seed(0)
    crowd = torch.randn(5000, generator=random) * torch.exp2(torch.randint(-40, 40, (5000,), generator=random))
    odd = torch.tensor([0.0, -0.0, 1e-45, -1e-45, 3e38, -3e38])
    return torch.cat([*near, crowd, odd])


@pytest.mark.parametrize("ladder", LADDERS, ids=str)
def test_a_level_holds_its_low_edge_and_not_its_high_one(ladder: Ladder) -> None:
    values, edges = probes(ladder), ladder.edges
    place = ladder.place(values).numpy()
    assert (edges[place] <= values.numpy()).all()
    assert (values.numpy() < edges[place + 1]).all()


@pytest.mark.parametrize("ladder", LADDERS, ids=str)
def test_levels_follow_one_another(ladder: Ladder) -> None:
    edges = ladder.edges
    assert len(edges) == ladder.levels + 1
    assert (np.diff(edges[1:-1]) > 0).all()
    assert edges[ladder.side + 1] == 2.0**-ladder.octaves
    assert edges[-1 - 2**ladder.bits] == 2.0 ** (ladder.octaves - 1)
    np.testing.assert_array_equal(edges, -edges[::-1])
    assert int(ladder.place(torch.tensor(torch.inf))) == ladder.levels - 1
    assert 0 <= int(ladder.place(torch.tensor(torch.nan))) < ladder.levels


def counted(values: np.ndarray) -> dict[tuple[float, float], int]:
    place = np.searchsorted(FINE.edges, values, "right") - 1
    numbers, counts = np.unique(place, return_counts=True)
    return {(FINE.edges[at], FINE.edges[at + 1]): count for at, count in zip(numbers, counts, strict=True)}


@pytest.mark.parametrize("grid", [(5, 4), (1, 1), (1, 3)])
def test_counts_are_those_of_a_search_among_the_edges(grid: tuple[int, int]) -> None:
    every = world(grid=grid)
    table, seen = tables(Histogram(), every)["histograms"], every.see(range(150))
    for channel in range(every.site.channels):
        finite = every.finite[:, channel]
        sampled = seen.sample[finite, channel].flatten()
        assert len(sampled) == finite.sum() * min(SAMPLED, grid[0] * grid[1])
        for of, values in (("image", seen.max[finite, channel]), ("place", sampled)):
            which = (table["channel"] == channel) & (table["of"] == of)
            found = zip(table["low"][which], table["high"][which], table["count"][which], strict=True)
            assert {(low, high): count for low, high, count in found} == counted(values.double().numpy())
    assert table["count"].dtype == np.int64
    assert (table["count"] > 0).all()


def dense(world: World, channel: int, each: int) -> list[tuple[float, int, float]]:
    """(low, image, activation) by octave and hash, by looking at everything."""
    finite = world.finite[:, channel]
    images, most = world.rows[finite], world.maps[finite, channel].amax((1, 2))
    low = COARSE.edges[np.searchsorted(COARSE.edges, most.double().numpy(), "right") - 1]
    hashes = mix(images, torch.tensor(channel))
    ranked = sorted(zip(low.tolist(), hashes.tolist(), images.tolist(), most.tolist(), strict=True))
    octaves = [list(some) for _, some in itertools.groupby(ranked, key=lambda entry: entry[0])]
    return [(at, image, value) for octave in octaves for at, _, image, value in octave[:each]]


@pytest.mark.parametrize("each", [1, 4, 200])
@pytest.mark.parametrize("size", [1, 4, 150])
def test_samples_are_those_of_least_hash(each: int, size: int) -> None:
    every = world()
    table = tables(Samples(each), every, size)["samples"]
    for channel in range(every.site.channels):
        which = table["channel"] == channel
        found = zip(*(table[name][which].tolist() for name in ("low", "image", "activation")), strict=True)
        assert list(found) == dense(every, channel, each)
    assert (table["low"] <= table["activation"]).all()
    assert (table["activation"] < table["high"]).all()
    assert table["activation"].dtype == np.float32


def test_the_draw_is_fair() -> None:
    number = torch.arange(2000)
    maps = (1 + number / 4000)[:, None].expand(-1, 400)  # one octave: the image says its number
    fair = World(Site("logits", 400, (1, 1), ()), number, torch.full((2000,), -1), maps[:, :, None, None])
    images = tables(Samples(), fair, size=100)["samples"]["image"]
    assert len(images) == 4 * 400
    assert abs(images.mean() - 999.5) < 5 * 2000 / 12**0.5 / 1600**0.5
    assert len(np.unique(images)) > 1000  # other units, other images


def test_none_is_too_few() -> None:
    with pytest.raises(OptionError, match=r"each is 0; .* at least 1"):
        Samples(0)
