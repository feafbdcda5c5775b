"""Moments, sparsity and ranges, against numpy in float64."""

from __future__ import annotations

import numpy as np
import pytest

from phosphene.survey.accumulators.moments import DeadUnits, Moments, Sparsity
from survey.layer_maps import layer_maps, tables

GRIDS = [(5, 4), (1, 1)]
HUGE = 8  # the channel whose values are beyond what moments can hold


@pytest.mark.parametrize("grid", GRIDS)
def test_moments_are_those_of_the_finite_images(grid: tuple[int, int]) -> None:
    case = layer_maps(grid=grid)
    units, finite = tables(Moments(), case)["units"], case.finite.numpy()
    for channel in set(range(13)) - {HUGE}:
        maps = case.maps[finite[:, channel], channel].double().numpy()
        for name, values in (("_max", maps.max((1, 2))), ("", maps.mean((1, 2)))):
            np.testing.assert_allclose(units[f"mean{name}"][channel], values.mean(), rtol=1e-6, atol=1e-7)
            tolerance = {"rtol": 1e-4, "atol": 1e-6}  # a mean over places is a float32: 1e4 has steps of 1e-3
            np.testing.assert_allclose(units[f"std{name}"][channel], values.std(), **tolerance)


def test_what_is_too_large_counts_as_the_limit() -> None:
    units = tables(Moments(), layer_maps())["units"]
    assert units["mean_max"][HUGE] == 2**20
    assert units["std_max"][HUGE] == 0


def test_a_unit_that_is_always_broken_has_no_moments() -> None:
    units = tables(Moments(), layer_maps())["units"]
    assert all(np.isnan(column[13]) for column in units.values())
    assert units["std"][4] == units["std"][5] == 0


@pytest.mark.parametrize("grid", GRIDS)
def test_counts_of_what_is_above_zero(grid: tuple[int, int]) -> None:
    case = layer_maps(grid=grid)
    units, finite = tables(Sparsity(), case)["units"], case.finite.numpy()
    above = (case.maps.numpy() > 0) & finite[:, :, None, None]
    np.testing.assert_array_equal(units["images"], finite.sum(0))
    np.testing.assert_array_equal(units["images_positive"], above.any((2, 3)).sum(0))
    np.testing.assert_array_equal(units["places_positive"], above.sum((0, 2, 3)))
    np.testing.assert_array_equal(units["places"], finite.sum(0) * grid[0] * grid[1])
    assert {column.dtype for column in units.values()} == {np.dtype(np.int64)}
    assert units["images_positive"][4] == units["images_positive"][10] == 0


@pytest.mark.parametrize("grid", GRIDS)
def test_the_range_of_every_unit(grid: tuple[int, int]) -> None:
    case = layer_maps(grid=grid)
    units, finite = tables(DeadUnits(), case)["units"], case.finite.numpy()
    np.testing.assert_array_equal(units["broken"], (~finite).sum(0))
    for channel in range(13):
        maps = case.maps[finite[:, channel], channel].numpy()
        assert units["max"][channel] == maps.max()
        assert units["min"][channel] == maps.min()
    assert units["max"].dtype == units["min"].dtype == np.float32
    assert np.isnan([units["max"][13], units["min"][13]]).all()


def test_units_that_never_change_are_dead_and_broken_ones_are_not() -> None:
    assert tables(DeadUnits(), layer_maps())["units"]["dead"].nonzero()[0].tolist() == [4, 5, 6]


def test_one_other_place_in_one_image_is_life() -> None:
    case = layer_maps()
    case.maps[77, 4, 2, 2] = 1e-30
    assert tables(DeadUnits(), case)["units"]["dead"].nonzero()[0].tolist() == [5, 6]


def test_zeros_have_no_sign() -> None:
    units = tables(DeadUnits(), layer_maps())["units"]
    assert not np.signbit(units["max"][6])
    assert not np.signbit(units["min"][6])
