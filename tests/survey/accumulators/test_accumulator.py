"""What is left of a batch of maps, against its definition; order and hash of numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from phosphene.survey.accumulators.accumulator import (
    SAMPLED_PLACES,
    Accumulator,
    BatchStatistics,
    SurveyLayer,
    mix,
    ordered,
    unordered,
)

NUMBERS = torch.tensor([7, 0, 1_000_003, 41, 5])
LAYER = SurveyLayer("layer", 37, (6, 7))


def maps(seed: int = 0) -> Tensor:
    return torch.randn(5, 37, 6, 7, generator=torch.Generator().manual_seed(seed))


def bits(statistics: BatchStatistics) -> dict[str, bytes]:
    return {name: getattr(statistics, name).numpy().tobytes() for name in ("max", "min", "mean", "positive", "sample")}


def test_numbers_of_a_map_are_those_of_numpy() -> None:
    statistics, dense = BatchStatistics(LAYER, NUMBERS, maps()), maps().double().numpy()
    np.testing.assert_array_equal(statistics.max, dense.max((2, 3)))
    np.testing.assert_array_equal(statistics.min, dense.min((2, 3)))
    np.testing.assert_allclose(statistics.mean, dense.mean((2, 3)), atol=1e-6)
    np.testing.assert_array_equal(statistics.positive, (dense > 0).sum((2, 3)))
    assert statistics.positive.dtype == torch.long
    assert statistics.places == 42


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("channels", [1, 3, 37])
def test_an_image_is_the_same_in_any_company(size: int, channels: int) -> None:
    layer, whole = SurveyLayer("layer", channels, (9, 7)), torch.randn(5, channels, 9, 7)
    alone = [bits(BatchStatistics(layer, NUMBERS[part], whole[part])) for part in torch.arange(5).split(size)]
    together = bits(BatchStatistics(layer, NUMBERS, whole))
    assert {name: b"".join(part[name] for part in alone) for name in together} == together


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_half_precision_is_read_as_what_it_is(kind: torch.dtype) -> None:
    assert bits(BatchStatistics(LAYER, NUMBERS, maps().to(kind))) == bits(
        BatchStatistics(LAYER, NUMBERS, maps().to(kind).float())
    )
    high = torch.full((1, 1, 300, 300), 6e4, dtype=torch.float16)
    statistics = BatchStatistics(SurveyLayer("layer", 1, (300, 300)), NUMBERS[:1], high)
    assert statistics.mean.item() == pytest.approx(high[0, 0, 0, 0].item(), rel=1e-6)  # its sum is no float16
    assert statistics.positive.item() == 90_000


def test_the_layout_in_memory_does_not_matter() -> None:
    wide = torch.zeros(5, 37, 6, 14)
    wide[..., ::2] = maps()
    for other in (maps().contiguous(memory_format=torch.channels_last), wide[..., ::2]):
        assert not other.is_contiguous()
        assert bits(BatchStatistics(LAYER, NUMBERS, other)) == bits(BatchStatistics(LAYER, NUMBERS, maps()))


def test_a_vector_is_a_map_of_one_place() -> None:
    vector = maps()[:, :, 0, 0]
    statistics = BatchStatistics(SurveyLayer("logits", 37, (1, 1)), NUMBERS, vector)
    for values in (statistics.max, statistics.min, statistics.mean, statistics.sample[:, :, 0]):
        assert torch.equal(values, vector)


def test_what_is_left_of_a_vector_is_not_the_tensor_of_the_network() -> None:
    vector = maps()[:, :, 0, 0].contiguous()
    before = vector.clone()
    statistics = BatchStatistics(SurveyLayer("classifier.0", 37, (1, 1)), NUMBERS, vector)
    vector.zero_()  # as a ReLU in place does behind a linear layer
    for values in (statistics.max, statistics.min, statistics.mean, statistics.sample[:, :, 0]):
        assert torch.equal(values, before)


@pytest.mark.parametrize("poison", [torch.nan, torch.inf, -torch.inf])
def test_one_poisoned_place_breaks_its_map_alone(poison: float) -> None:
    bad = maps()
    bad[3, 20, 5, 6] = poison
    finite = BatchStatistics(LAYER, NUMBERS, bad).finite
    assert not finite[3, 20]
    assert finite.sum() == finite.numel() - 1


def test_sampled_values_stand_in_the_map_where_the_number_says() -> None:
    place = torch.arange(42.0).view(1, 1, 6, 7).expand(5, 37, -1, -1)
    sampled = BatchStatistics(LAYER, NUMBERS, place).sample
    assert sampled.shape == (5, 37, SAMPLED_PLACES)
    assert (sampled == sampled[:, :1]).all()
    assert len(torch.unique(sampled[:, 0], dim=0)) == 5
    many = BatchStatistics(
        SurveyLayer("layer", 1, (6, 7)), torch.arange(4200), place[:1, :1].expand(4200, -1, -1, -1)
    ).sample
    counts = many.long().flatten().bincount(minlength=42)
    assert ((counts - 400).abs() < 5 * 400**0.5).all()


def test_the_place_is_the_first_of_the_extreme() -> None:
    ties = maps().round()
    statistics = BatchStatistics(LAYER, NUMBERS, ties)
    flat = ties.flatten(2)
    for place, value in ((statistics.max_at, flat.amax(2)), (statistics.min_at, flat.amin(2))):
        first = torch.where(flat == value[:, :, None], torch.arange(42.0), torch.inf).amin(2)
        assert place.tolist() == first.long().tolist()


def test_order_of_floats_as_integers() -> None:
    tiny, most = torch.finfo(torch.float32).smallest_normal, torch.finfo(torch.float32).max
    steps = [-torch.inf, -most, -2.5, -1.0, -tiny, -1e-45, 0.0, 1e-45, tiny, 1.0, 1.0000001, most, torch.inf]
    values = torch.tensor(steps)
    assert (ordered(values).diff() > 0).all()
    assert torch.equal(unordered(ordered(values)), values)
    assert ordered(torch.tensor(-0.0)) == ordered(torch.tensor(0.0))
    assert ordered(values).abs().max() < 2**31


def test_mix_is_murmur_and_tells_all_images_apart() -> None:
    def finalizer(h: int) -> int:
        h = ((h ^ (h >> 16)) * 0x85EBCA6B) % 2**32
        h = ((h ^ (h >> 13)) * 0xC2B2AE35) % 2**32
        return h ^ (h >> 16)

    for first, second in ((0, 0), (1, 7), (1_281_166, 2047), (2**31, 2**16)):
        expected = finalizer((finalizer((first + 0x9E3779B9) % 2**32) + second) % 2**32)
        assert mix(torch.tensor(first), torch.tensor(second)) == expected
    hashes = mix(torch.arange(100_000), torch.tensor(3))
    assert len(hashes.unique()) == 100_000
    assert ((hashes >> 28).bincount(minlength=16) - 6250).abs().max() < 5 * 6250**0.5


def test_the_kind_itself_accumulates_nothing() -> None:
    class Bare(Accumulator): ...

    bare, statistics = object.__new__(Bare), BatchStatistics(LAYER, NUMBERS, maps())
    assert bare.image_rows(statistics) is None
    assert bare.compact({}) == {}
    for act in (lambda: bare.start(LAYER), lambda: bare.update({}, statistics), lambda: bare.merge({}, {})):
        with pytest.raises(NotImplementedError):
            act()
    assert bare.result({}, LAYER) == bare.layer_arrays({}, LAYER) == {}
