"""Curves: where their points lie, and what is said of them."""

from __future__ import annotations

import re

import pytest

from phosphene.report.chart import Series, _axis, line_chart


def points(svg: str) -> list[list[tuple[float, float]]]:
    lines = re.findall(r'<polyline[^>]* points="([^"]+)"', svg)
    return [[tuple(map(float, pair.split(","))) for pair in line.split()] for line in lines]  # type: ignore[misc]


def test_the_ends_of_a_curve_lie_on_the_ends_of_the_axes() -> None:
    ((first, middle, last),) = points(line_chart([Series("a", ((0, 0), (5, 1), (10, 2)))], "x", "y", title="t"))
    assert middle == pytest.approx(((first[0] + last[0]) / 2, (first[1] + last[1]) / 2), abs=0.02)
    assert first[0] < last[0]
    assert first[1] > last[1], "up is a smaller y"


def test_two_curves_share_their_axes() -> None:
    low, high = points(line_chart([Series("a", ((0, 1), (1, 1))), Series("b", ((0, 4), (1, 4)))], "x", "y", title="t"))
    both = line_chart([Series("a", ((0, 1), (1, 1)))], "x", "y", title="t", y_range=(0, 4))
    assert points(both)[0] == low
    assert low[0][1] > high[0][1]


def test_curves_differ_in_more_than_color() -> None:
    svg = line_chart([Series(str(i), ((0, i), (1, i))) for i in range(6)], "x", "y", title="t")
    assert {f's{i}"' in svg for i in range(1, 7)} == {True}


def test_the_description_says_where_curves_begin_and_end() -> None:
    svg = line_chart([Series("grad-cam", ((0, 0.9), (1, 0.1)))], "share removed", "probability", title="Deletion")
    assert "<desc>probability against share removed: grad-cam goes from 0.9 to 0.1.</desc>" in svg
    assert "<title>Deletion</title>" in svg


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 0.993), (-3.2, 7.9), (0, 12345), (1e-6, 3e-6), (-5, -4.2)])
def test_ticks_are_round_and_inside(low: float, high: float) -> None:
    axis = _axis(low, high, 0, 100)
    assert 4 <= len(axis.ticks) <= 11
    assert all(low - 1e-9 <= tick <= high + 1e-9 for tick in axis.ticks)
    step = axis.ticks[1] - axis.ticks[0]
    assert f"{step:.0e}"[0] in "125"


def test_a_flat_curve_and_a_single_point_can_be_drawn() -> None:
    assert points(line_chart([Series("a", ((0.5, 0.0),))], "x", "y", title="t"))
