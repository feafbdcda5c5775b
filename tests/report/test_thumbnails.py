"""Patches at the size of a tile."""

from __future__ import annotations

import numpy as np

from phosphene.report.thumbnails import FEW, SIDE, small


def test_few_pixels_are_embedded_as_they_are_and_many_shrink() -> None:
    few, many = (np.full((side, side, 3), 90, np.uint8) for side in (FEW - 1, 4 * SIDE))
    assert small(few) is few
    assert isinstance(small(many), bytes)


def test_64_pixels_are_many() -> None:
    assert not isinstance(small(np.zeros((63, 63, 3), np.uint8)), bytes)
    assert isinstance(small(np.zeros((64, 64, 3), np.uint8)), bytes)
