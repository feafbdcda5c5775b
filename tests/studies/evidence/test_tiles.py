"""Pictures as square tiles."""

from __future__ import annotations

import numpy as np

from phosphene.studies.evidence.tiles import fit_square, pad_square


def test_few_pixels_stay_square_and_the_longer_side_fills_the_tile() -> None:
    pixels = np.zeros((2, 4, 3), np.uint8)
    pixels[:, 1::2] = 200
    tile = fit_square(pixels, 64)
    assert set(np.unique(tile)) == {0, 200, 255}
    assert (tile[16:48, 0] == 0).all()
    assert (tile[:16] == 255).all()
    assert fit_square(np.zeros((300, 1, 3), np.uint8), 96).shape == (96, 96, 3)


def test_a_padded_picture_lies_in_the_middle_of_its_level() -> None:
    tile = pad_square(np.full((2, 4, 3), 7, np.uint8), 8, 128)
    assert (tile[3:5, 2:6] == 7).all()
    assert (tile == 7).sum() == 2 * 4 * 3
    assert (tile[[0, 2, 5, 7]] == 128).all()
