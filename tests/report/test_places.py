"""Where a map lies, in words."""

from __future__ import annotations

import numpy as np
import pytest

from phosphene.report.places import describe

PLACES = {
    "upper left": (20, 20),
    "upper right": (20, 80),
    "lower left": (80, 20),
    "lower right": (80, 80),
    "central": (50, 50),
}


def blob(row: float, column: float, width: float = 8.0) -> np.ndarray:
    y, x = np.mgrid[:100, :100]
    return np.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * width**2))


@pytest.mark.parametrize("name", PLACES)
def test_a_blob_is_found_in_its_quarter(name: str) -> None:
    assert f"in the {name} quarter" in describe(blob(*PLACES[name]))


@pytest.mark.parametrize(
    ("row", "column", "half"), [(0, 50, "upper"), (99, 50, "lower"), (50, 0, "left"), (50, 99, "right")]
)
def test_a_blob_across_two_quarters_is_found_in_its_half(row: int, column: int, half: str) -> None:
    assert f"in the {half} half" in describe(blob(row, column, 15))


def test_the_share_is_that_of_the_mass() -> None:
    values = np.zeros((10, 10))
    values[0, 0], values[9, 9] = 3, 1
    assert describe(values).startswith("75 % of the mass")


def test_negative_values_do_not_count_but_are_not_nothing() -> None:
    assert describe(blob(20, 20) - 5 * blob(80, 80)).endswith("upper left quarter")
    assert describe(-blob(20, 20)) == "no value is positive"
    assert describe(np.zeros((3, 5))) == "the map is zero everywhere"


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (7, 7), (1, 9)])
def test_every_shape_can_be_described(shape: tuple[int, int]) -> None:
    assert describe(np.ones(shape))


@pytest.mark.parametrize(("corner", "named"), [(0.61, True), (0.59, False)])
def test_a_quarter_is_named_from_60_percent_on(corner: float, named: bool) -> None:
    values = np.zeros((8, 8))
    values[0, 0], values[7, 7] = corner, 1 - corner
    assert ("lies in the upper left quarter" in describe(values)) == named


@pytest.mark.parametrize(("half", "words"), [(0.66, "66 % of the mass lies in the upper half"), (0.63, "no half")])
def test_a_half_is_named_from_65_percent_on(half: float, words: str) -> None:
    values = np.zeros((8, 8))
    values[0, 0] = values[0, 7] = half / 2
    values[7, 0] = values[7, 7] = (1 - half) / 2
    assert words in describe(values)
