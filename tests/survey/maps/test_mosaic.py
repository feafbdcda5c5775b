"""Images at their places: none hidden by what came later, and in a grid each near its place."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from phosphene.survey.maps import mosaic as module
from phosphene.survey.maps.mosaic import assign, fitted, mosaic, thumbnails

Array = np.ndarray[Any, Any]


def tile(number: int) -> Array:
    return np.full((12, 12, 3), (number, 255 - number, 40), np.uint8)


def test_the_grid_displaces_as_little_as_can_be() -> None:
    points = np.random.default_rng(0).random((6, 2))
    cells, how = assign(points)
    unit = (points - points.min(0)) / np.ptp(points, axis=0)
    centers = np.array([[(column + 0.5) / 3, 1 - (row + 0.5) / 2] for row in range(2) for column in range(3)])
    squares = ((unit[:, None] - centers[None]) ** 2).sum(2)
    best = min(sum(squares[range(6), order]) for order in itertools.permutations(range(6)))
    assert sum(squares[range(6), cells[:, 0] * 3 + cells[:, 1]]) == pytest.approx(best)
    assert how == "the least total displacement"


@pytest.mark.parametrize("count", [7, 50, 2501])
def test_halving_gives_each_a_cell_of_its_own(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_OPTIMAL", 0)
    points = np.random.default_rng(0).random((count, 2))
    cells, how = assign(points)
    assert len(np.unique(cells, axis=0)) == count
    assert how == "halved again and again"
    rows, columns = cells[:, 0], cells[:, 1]
    if count > 7:
        assert np.corrcoef(columns, points[:, 0])[0, 1] > 0.95
        assert np.corrcoef(rows, -points[:, 1])[0, 1] > 0.95


def test_halving_leaves_a_grid_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_OPTIMAL", 0)
    wanted = np.array([[row, column] for row in range(8) for column in range(8)])
    order = np.random.default_rng(0).permutation(64)
    points = np.stack([wanted[:, 1], -wanted[:, 0]], 1)[order].astype(float)
    np.testing.assert_array_equal(assign(points)[0], wanted[order])


def test_every_image_is_in_the_mosaic() -> None:
    places = np.random.default_rng(0).random((10, 2))
    places[4] = np.nan
    drawn = mosaic(places, tile, side=16)
    assert drawn.pixels.shape == (3 * 16, 3 * 16, 3)
    seen = {tuple(color) for color in drawn.pixels.reshape(-1, 3).tolist()}
    assert seen == {tuple(tile(number)[0, 0].tolist()) for number in range(10) if number != 4} | {(255, 255, 255)}
    assert drawn.note == "9 images in 3 × 3 cells, the least total displacement"
    assert mosaic(places, tile, side=16, max_width=12).pixels.shape == (12, 12, 3)


def test_thumbnails_stand_at_their_places() -> None:
    places = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [np.nan, 0.0]])
    drawn = thumbnails(places, tile, size=200, side=20)
    centers = {}
    for number in range(3):
        rows, columns = np.nonzero((drawn.pixels == tile(number)[0, 0]).all(2))
        centers[number] = columns.mean(), rows.mean()
    assert centers[1] == pytest.approx((centers[0][0] + 160, centers[0][1]), abs=1)
    assert centers[2] == pytest.approx((centers[0][0], centers[0][1] - 160), abs=1)
    assert drawn.note == "3 of 3 images are drawn"


def test_what_is_drawn_shows_two_thirds_of_itself() -> None:
    places = np.random.default_rng(0).random((200, 2))
    drawn = thumbnails(places, tile, size=160, side=24)
    shown = [int((drawn.pixels == tile(number)[0, 0]).all(2).sum()) for number in range(200)]
    some = [area for area in shown if area]
    assert 20 < len(some) < 200
    assert min(some) >= 2 / 3 * 24**2 - 4 * 24  # but for the white frame
    assert drawn.note == f"{len(some)} of 200 images are drawn; the other {200 - len(some)} would be hidden by them"
    assert thumbnails(np.ones((9, 2)), tile).note.startswith("1 of 9")


def test_fitted_keeps_the_shape_of_the_box() -> None:
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[10:30, 30:60] = 200
    assert fitted(pixels, 30).shape == (20, 30, 3)
    part = fitted(pixels, 30, (30, 10, 60, 30))
    assert part.shape == (20, 30, 3)
    assert (part == 200).all()
