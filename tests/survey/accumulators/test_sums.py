"""Sums of integers, against fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import Tensor

from phosphene.survey.accumulators.sums import LIMIT, add, mean_variance, powers


def exact(sums: Tensor) -> list[Fraction]:
    return [Fraction(whole * 2**48 + part, 2**48) for whole, part in sums.reshape(-1, 2).tolist()]


def test_sums_of_floats_of_ordinary_size_are_exact() -> None:
    values = torch.randn(1000, 1, generator=torch.Generator().manual_seed(0)) * 100
    values = torch.where(values.abs() < 0.5, 3.0, values)  # the square of less is rounded
    numbers = [Fraction(value) for value in values[:, 0].tolist()]
    assert exact(powers(values)) == [sum(numbers), sum(number * number for number in numbers)]


@pytest.mark.parametrize("scale", [1e-9, 1e-3, 1.0, 1e5])
def test_what_is_rounded_is_rounded_to_the_nearest_step(scale: float) -> None:
    values = torch.randn(50, 1, generator=torch.Generator().manual_seed(1)) * scale
    numbers = [Fraction(value) for value in values[:, 0].tolist()]
    first, second = exact(powers(values))
    for total, true in ((first, sum(numbers)), (second, sum(number * number for number in numbers))):
        assert abs(total - true) <= Fraction(50, 2**49)


def test_beyond_the_limit_all_is_the_limit_and_there_is_room() -> None:
    values = torch.tensor([[1e30], [-1e30]])
    assert exact(powers(values)) == [0, 2 * int(LIMIT) ** 2]
    sums = torch.zeros(1, 2, 2, dtype=torch.long)
    add(sums, powers(values[:1]) * 2**10)
    sums *= 2**13 - 1
    add(sums, torch.zeros_like(sums))
    assert exact(sums) == [LIMIT * 2**10 * (2**13 - 1), int(LIMIT) ** 2 * 2**10 * (2**13 - 1)]


def test_a_batch_may_be_of_thousands() -> None:
    values = torch.full((2**15 - 1, 1), -LIMIT)
    assert exact(powers(values)) == [-(2**15 - 1) * int(LIMIT), (2**15 - 1) * int(LIMIT) ** 2]
    values = torch.full((2**15 - 1, 1), 0.7)
    assert exact(powers(values))[0] == (2**15 - 1) * Fraction(values[0, 0].item())


def test_equal_sums_are_equal_bytes() -> None:
    values = torch.randn(64, 5, generator=torch.Generator().manual_seed(2))
    one, other = torch.zeros(2, 5, 2, 2, dtype=torch.long)
    add(one, powers(values))
    for value in values.flip(0):
        add(other, powers(value[None]))
    assert torch.equal(one, other)
    assert (one[..., 1] >= 0).all()
    assert (one[..., 1] < 2**48).all()


@pytest.mark.parametrize(("mean", "std"), [(1e4, 1e-2), (-3e5, 1.0), (0.0, 1e-6), (1e-3, 1e-5), (5.0, 2.0)])
def test_moments_survive_cancellation(mean: float, std: float) -> None:
    values = (mean + std * torch.randn(2000, 1, generator=torch.Generator().manual_seed(3), dtype=torch.double)).float()
    sums = sum(powers(part) for part in values.split(100))
    assert isinstance(sums, Tensor)
    measured, variance = mean_variance(np.array([2000]), sums)
    dense = values.double().numpy()
    np.testing.assert_allclose(measured, dense.mean(), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(np.sqrt(variance), dense.std(), rtol=2e-3 if std < 1e-5 else 1e-6)


@pytest.mark.parametrize("value", [0.0, 0.1, -0.3, 1e-7, 12345.678])
def test_what_never_varies_has_no_variance(value: float) -> None:
    _, variance = mean_variance(np.array([77]), powers(torch.full((77, 1), value)))
    assert variance.tolist() == [0.0]


def test_nothing_has_no_mean() -> None:
    moments = mean_variance(np.array([0]), torch.zeros(1, 2, 2, dtype=torch.long))
    assert np.isnan(moments).all()
