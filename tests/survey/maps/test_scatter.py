"""Scatters: points where their coordinates are, in the colors of their classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from phosphene.core.errors import OptionError
from phosphene.survey.maps.scatter import key, scatter

Array = np.ndarray[Any, Any]
SQUARE = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])


def spot(pixels: Array, color: tuple[int, int, int], wide: int) -> Array:
    """The middle, (x, y), of the pixels of a color at the left of the legend."""
    rows, columns = np.nonzero((pixels[:, :wide] == color).all(2))
    assert len(rows), "no such color"
    return np.array([columns.mean(), rows.mean()])


def test_points_stand_at_their_coordinates() -> None:
    # Two points of each class, at the same place, or no class would have a color.
    pixels = scatter(np.repeat(SQUARE, 2, 0), list("aabbccdd"), size=500)
    marks = key(list("aabbccdd"))
    a, b, c, d = (spot(pixels, marks[name].color, 400) for name in "abcd")
    assert b[0] - a[0] == pytest.approx(a[1] - c[1], abs=1)  # one scale, and y points up
    np.testing.assert_allclose(d, [b[0], c[1]], atol=1)
    assert b[0] - a[0] > 250


def test_edges_are_smooth_and_the_ground_is_white() -> None:
    pixels = scatter(np.repeat(SQUARE, 2, 0), list("aabbccdd"), size=500)
    assert (pixels == 255).all(2).mean() > 0.9
    assert len(np.unique(pixels[:, :400].reshape(-1, 3), axis=0)) > 60


def test_images_without_a_place_are_left_out() -> None:
    places = np.concatenate([np.repeat(SQUARE, 2, 0), [[np.nan, 0.0]]])
    whole = scatter(np.repeat(SQUARE, 2, 0), list("aabbccdd"), size=400)
    np.testing.assert_array_equal(scatter(places, [*"aabbccdd", "z"], size=400), whole)
    scatter(np.full((3, 2), np.nan), ["a"] * 3, size=300)


def test_all_classes_come_by_name_and_too_many_by_number() -> None:
    assert list(key(list("ccba"))) == ["a", "b", "c"]
    many = [f"{number:02}" for number in range(20) for _ in range(number + 1)]
    marks = key(many)
    assert list(marks) == [f"{number:02}" for number in range(19, 7, -1)]
    assert len({(mark.color, mark.hollow) for mark in marks.values()}) == 12
    assert marks["19"].images == 20


def test_classes_of_one_image_each_have_no_color() -> None:
    assert key(list("abcdefgh")) == {}
    assert key(["", "", ""]) == {}
    assert list(key(list("abcdefgh"), ["c", "a"])) == ["c", "a"]


def test_classes_that_cannot_be_colored() -> None:
    with pytest.raises(OptionError, match="at most 12"):
        key(list("abcdefghijklmn"), list("abcdefghijklm"))
    with pytest.raises(OptionError, match="no image is of class 'tabbi'; did you mean 'tabby'"):
        key(["tabby"], ["tabbi"])


def test_the_rest_is_grey_and_in_the_legend() -> None:
    plain = scatter(SQUARE, size=400)
    assert np.ptp(plain.astype(int), axis=2).max() == 0
    few = scatter(np.repeat(SQUARE, 2, 0), list("aabbccdd"), size=400, classes=["a"])
    assert (few[:, 320:] != scatter(np.repeat(SQUARE, 2, 0), size=400)[:, 320:]).any()


def test_three_dimensions_are_three_views() -> None:
    cube = np.array([[x, y, z] for x in (0.0, 1.0) for y in (0.0, 1.0) for z in (0.0, 1.0)])
    assert scatter(cube, size=400).shape[:2] == (200, 3 * 200 + 80)


def test_titles_stand_above_and_long_ones_are_cut() -> None:
    bare = scatter(SQUARE, size=400)
    told = scatter(SQUARE, size=400, title="PCA", caption="a very long caption " * 20)
    extra = len(told) - len(bare)
    np.testing.assert_array_equal(told[extra:], bare)
    assert (told[:extra] < 128).any()
    assert (told[:extra, -10:] == 255).all()


def test_the_same_picture_twice() -> None:
    places = np.random.default_rng(0).random((50, 2))
    labels = ["a", "b"] * 25
    np.testing.assert_array_equal(scatter(places, labels, size=300), scatter(places, labels, size=300))
