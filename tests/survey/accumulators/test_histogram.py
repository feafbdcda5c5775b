"""Levels and samples, against counting and sorting everything."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from phosphene.core.errors import OptionError
from phosphene.survey.accumulators.accumulator import SAMPLED_PLACES, SurveyLayer, mix
from phosphene.survey.accumulators.histogram import HISTOGRAM_BINS, SAMPLE_BINS, Histogram, LogBins, Samples
from survey.layer_maps import LayerMaps, layer_maps, tables

ALL_BINS = [HISTOGRAM_BINS, SAMPLE_BINS, LogBins(1, 0), LogBins(3, 5), LogBins(126, 2)]


def probes(bins: LogBins) -> torch.Tensor:
    """All edges, their neighbors among the floats, and a crowd of other numbers."""
    edges = torch.from_numpy(bins.edges[1:-1]).float()
    near = [edges, edges.nextafter(torch.tensor(torch.inf)), edges.nextafter(torch.tensor(-torch.inf))]
    random = torch.Generator().manual_seed(0)
    crowd = torch.randn(5000, generator=random) * torch.exp2(torch.randint(-40, 40, (5000,), generator=random))
    odd = torch.tensor([0.0, -0.0, 1e-45, -1e-45, 3e38, -3e38])
    return torch.cat([*near, crowd, odd])


@pytest.mark.parametrize("bins", ALL_BINS, ids=str)
def test_a_level_holds_its_low_edge_and_not_its_high_one(bins: LogBins) -> None:
    values, edges = probes(bins), bins.edges
    place = bins.index(values).numpy()
    assert (edges[place] <= values.numpy()).all()
    assert (values.numpy() < edges[place + 1]).all()


@pytest.mark.parametrize("bins", ALL_BINS, ids=str)
def test_levels_follow_one_another(bins: LogBins) -> None:
    edges = bins.edges
    assert len(edges) == bins.count + 1
    assert (np.diff(edges[1:-1]) > 0).all()
    assert edges[bins.per_sign + 1] == 2.0**-bins.octaves
    assert edges[-1 - 2**bins.bits] == 2.0 ** (bins.octaves - 1)
    np.testing.assert_array_equal(edges, -edges[::-1])
    assert int(bins.index(torch.tensor(torch.inf))) == bins.count - 1
    assert 0 <= int(bins.index(torch.tensor(torch.nan))) < bins.count


def counted(values: np.ndarray) -> dict[tuple[float, float], int]:
    place = np.searchsorted(HISTOGRAM_BINS.edges, values, "right") - 1
    numbers, counts = np.unique(place, return_counts=True)
    return {
        (HISTOGRAM_BINS.edges[at], HISTOGRAM_BINS.edges[at + 1]): count
        for at, count in zip(numbers, counts, strict=True)
    }


@pytest.mark.parametrize("grid", [(5, 4), (1, 1), (1, 3)])
def test_counts_are_those_of_a_search_among_the_edges(grid: tuple[int, int]) -> None:
    case = layer_maps(grid=grid)
    table, statistics = tables(Histogram(), case)["histograms"], case.statistics(range(150))
    for channel in range(case.layer.channels):
        finite = case.finite[:, channel]
        sampled = statistics.sample[finite, channel].flatten()
        assert len(sampled) == finite.sum() * min(SAMPLED_PLACES, grid[0] * grid[1])
        for of, values in (("image", statistics.max[finite, channel]), ("place", sampled)):
            which = (table["channel"] == channel) & (table["of"] == of)
            listed = zip(table["low"][which], table["high"][which], table["count"][which], strict=True)
            assert {(low, high): count for low, high, count in listed} == counted(values.double().numpy())
    assert table["count"].dtype == np.int64
    assert (table["count"] > 0).all()


def dense(case: LayerMaps, channel: int, per_octave: int) -> list[tuple[float, int, float]]:
    """(low, image, activation) by octave and hash, by looking at everything."""
    finite = case.finite[:, channel]
    images, most = case.numbers[finite], case.maps[finite, channel].amax((1, 2))
    low = SAMPLE_BINS.edges[np.searchsorted(SAMPLE_BINS.edges, most.double().numpy(), "right") - 1]
    hashes = mix(images, torch.tensor(channel))
    ranked = sorted(zip(low.tolist(), hashes.tolist(), images.tolist(), most.tolist(), strict=True))
    octaves = [list(some) for _, some in itertools.groupby(ranked, key=lambda entry: entry[0])]
    return [(at, image, value) for octave in octaves for at, _, image, value in octave[:per_octave]]


@pytest.mark.parametrize("per_octave", [1, 4, 200])
@pytest.mark.parametrize("size", [1, 4, 150])
def test_samples_are_those_of_least_hash(per_octave: int, size: int) -> None:
    case = layer_maps()
    table = tables(Samples(per_octave), case, size)["samples"]
    for channel in range(case.layer.channels):
        which = table["channel"] == channel
        listed = zip(*(table[name][which].tolist() for name in ("low", "image", "activation")), strict=True)
        assert list(listed) == dense(case, channel, per_octave)
    assert (table["low"] <= table["activation"]).all()
    assert (table["activation"] < table["high"]).all()
    assert table["activation"].dtype == np.float32


def test_the_draw_is_fair() -> None:
    number = torch.arange(2000)
    maps = (1 + number / 4000)[:, None].expand(-1, 400)  # one octave: the image says its number
    fair = LayerMaps(SurveyLayer("logits", 400, (1, 1), ()), number, torch.full((2000,), -1), maps[:, :, None, None])
    images = tables(Samples(), fair, size=100)["samples"]["image"]
    assert len(images) == 4 * 400
    assert abs(images.mean() - 999.5) < 5 * 2000 / 12**0.5 / 1600**0.5
    assert len(np.unique(images)) > 1000  # other units, other images


def test_none_is_too_few() -> None:
    with pytest.raises(OptionError, match=r"per_octave is 0; .* at least 1"):
        Samples(0)
