"""Curves: where their points lie, and what is said of them."""

from __future__ import annotations

import re

import pytest

from phosphene.report.chart import BOTTOM, HEIGHT, LEFT, RIGHT, WIDTH, Bin, Series, _axis, histogram, line_chart


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


def columns(svg: str, kind: str = "column") -> list[tuple[float, float, float, float]]:
    """x, y, width and height of every column."""
    shape = rf'<rect class="{kind}" x="([^"]+)" y="([^"]+)" width="([^"]+)" height="([^"]+)"/>'
    return [tuple(map(float, numbers)) for numbers in re.findall(shape, svg)]  # type: ignore[misc]


def test_octaves_are_equally_wide_on_both_sides_of_zero() -> None:
    bins = [Bin(-4, -2, 1), Bin(-2, -1, 1), Bin(-1, 0, 1), Bin(0, 1, 1), Bin(1, 2, 1), Bin(2, 4, 1), Bin(4, 8, 1)]
    drawn = columns(histogram(bins, "activation", "images", title="t"))
    assert len(drawn) == 6, "what touches zero is one column"
    assert [width for _, _, width, _ in drawn] == pytest.approx([drawn[0][2]] * 6, abs=0.02)
    assert drawn[0][0] == LEFT
    assert drawn[-1][0] + drawn[-1][2] + 1 == pytest.approx(WIDTH - RIGHT, abs=0.02)


def test_columns_are_as_high_as_their_counts_and_one_image_is_seen() -> None:
    svg = histogram([Bin(1, 2, 1000, 0), Bin(2, 4, 500, 250), Bin(4, 8, 1, 1)], "a", "images", title="t", mark="top")
    whole, half, one = (height for _, _, _, height in columns(svg))
    assert half == pytest.approx(whole / 2, abs=0.02)
    assert one == 1.5
    marked = columns(svg, "column strong")
    assert [height for _, _, _, height in marked[:-1]] == pytest.approx([whole / 4, 1.5], abs=0.02)
    assert all(y + height == HEIGHT - BOTTOM for _, y, _, height in [*columns(svg), *marked[:-1]])


def test_what_is_nearly_zero_does_not_stretch_the_axis() -> None:
    octaves = [Bin(2.0**power, 2.0 ** (power + 1), 1) for power in range(-30, 5)]
    drawn = columns(histogram([Bin(-(2.0**-16), 0, 3), *octaves], "a", "images", title="t"))
    assert len(drawn) == 13
    assert f"{35 + 3} images, from " in histogram([Bin(-(2.0**-16), 0, 3), *octaves], "a", "images", title="t")


@pytest.mark.parametrize("ends", [(-3.0, 7.0), (0.01, 40.0), (3.0, 3.5), (-9e4, -2e-3), (0.0, 2.0**-16)])
def test_ticks_of_octaves_are_few_and_inside(ends: tuple[float, float]) -> None:
    low, high = ends
    svg = histogram([Bin(low, (low + high) / 2, 3), Bin((low + high) / 2, high, 2)], "a", "b", title="t")
    places = [float(x) for x in re.findall(r'<text x="([^"]+)" y="290', svg)]
    assert 2 <= len(places) <= 9
    assert all(LEFT <= x <= WIDTH - RIGHT for x in places)


def test_no_tick_of_octaves_stands_beside_zero() -> None:
    bins = [Bin(-4.0, -2.0, 1), *(Bin(2.0**power, 2.0 ** (power + 1), 1) for power in range(-12, 2))]
    svg = histogram(bins, "activation", "images", title="t")
    ticks = {text: float(x) for x, text in re.findall(r'<text x="([^"]+)" y="290" text-anchor="middle">([^<]+)', svg)}
    assert "0" in ticks
    assert all(abs(x - ticks["0"]) > 34 for text, x in ticks.items() if text != "0")
