"""Patches at the size of a tile."""

from __future__ import annotations

import numpy as np

from phosphene.report.thumbnails import FEW, SIDE, small, square


def test_few_pixels_are_embedded_as_they_are_and_many_shrink() -> None:
    few, many = (np.full((side, side, 3), 90, np.uint8) for side in (FEW - 1, 4 * SIDE))
    assert small(few) is few
    assert isinstance(small(many), bytes)


def test_few_pixels_stay_square_and_the_longer_side_fills_the_tile() -> None:
    pixels = np.zeros((2, 4, 3), np.uint8)
    pixels[:, 1::2] = 200
    tile = square(pixels, 64)
    assert set(np.unique(tile)) == {0, 200, 255}
    assert (tile[16:48, 0] == 0).all()
    assert (tile[:16] == 255).all()
    assert square(np.zeros((300, 1, 3), np.uint8), 96).shape == (96, 96, 3)
