"""The strongest and the weakest images, against sorting all of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from phosphene.core.errors import OptionError
from phosphene.survey.accumulators.accumulator import SurveyLayer
from phosphene.survey.accumulators.top import TopPatches
from survey.layer_maps import LayerMaps, layer_maps, tables


def dense(case: LayerMaps, channel: int, side: str, k: int) -> list[tuple[int, float, int, int]]:
    """(image, activation, row, column) of the first k, by looking at everything."""
    sign = 1 if side == "top" else -1
    entries = []
    for number, values, finite in zip(
        case.numbers.tolist(), case.maps[:, channel], case.finite[:, channel], strict=True
    ):
        if finite:
            place = int((sign * values).flatten().argmax())
            row, column = divmod(place, values.shape[1])
            entries.append((number, values[row, column].item(), row, column))
    return sorted(entries, key=lambda entry: (-sign * entry[1], entry[0]))[:k]


def rows(patches: dict[str, Any], channel: int, side: str) -> list[tuple[int, float, int, int]]:
    which = (patches["channel"] == channel) & (patches["side"] == side)
    assert patches["rank"][which].tolist() == list(range(which.sum()))
    return list(zip(*(patches[name][which].tolist() for name in ("image", "activation", "row", "column")), strict=True))


@pytest.mark.parametrize("k", [1, 5, 64, 200])
@pytest.mark.parametrize("grid", [(5, 4), (1, 1)])
def test_equal_to_sorting_everything(k: int, grid: tuple[int, int]) -> None:
    case = layer_maps(grid=grid)
    patches = tables(TopPatches(k), case)["patches"]
    for channel in range(case.layer.channels):
        for side in ("top", "bottom"):
            assert rows(patches, channel, side) == dense(case, channel, side, k), (channel, side)


def test_a_gate_that_forgets_ties_would_fail_here() -> None:
    case = layer_maps()
    most = case.maps.amax((2, 3))[:, 3].tolist()
    kept: list[tuple[float, int]] = []
    for value, image in zip(most, case.numbers.tolist(), strict=True):
        if len(kept) < 5 or value > kept[-1][0]:
            kept = sorted([*kept, (value, image)], key=lambda pair: (-pair[0], pair[1]))[:5]
    assert [image for _, image in kept] != [row[0] for row in dense(case, 3, "top", 5)]


def test_the_place_points_at_the_value() -> None:
    case = layer_maps()
    patches = tables(TopPatches(9), case)["patches"]
    at = {number: place for place, number in enumerate(case.numbers.tolist())}
    place = torch.tensor([at[image] for image in patches["image"]])
    values = case.maps[place, patches["channel"], patches["row"], patches["column"]]
    np.testing.assert_array_equal(values, patches["activation"])


@pytest.mark.parametrize("images", [1, 5, 9, 81])
def test_the_last_batch_may_be_a_single_image(images: int) -> None:
    case = layer_maps(images)
    patches = tables(TopPatches(6), case, size=4)["patches"]
    assert images % 4 == 1
    assert rows(patches, 1, "top") == dense(case, 1, "top", 6)


def test_a_dead_unit_has_the_first_images_and_a_broken_one_none() -> None:
    case = layer_maps()
    patches = tables(TopPatches(4), case)["patches"]
    first = sorted(case.numbers.tolist())[:4]
    assert [row[0] for row in rows(patches, 4, "top")] == [row[0] for row in rows(patches, 4, "bottom")] == first
    assert rows(patches, 13, "top") == []


def test_the_weakest_may_be_left_out() -> None:
    patches = tables(TopPatches(4, weakest=False), layer_maps())["patches"]
    assert set(patches["side"]) == {"top"}
    assert rows(patches, 0, "top") == dense(layer_maps(), 0, "top", 4)


def test_memory_does_not_grow_with_the_number_of_images() -> None:
    state = TopPatches().start(SurveyLayer("layer", 1000, (7, 7)))
    assert sum(tensor.nbytes for tensor in state.values()) <= 2 * 1000 * 128 * 12 + 16


def test_none_is_too_few() -> None:
    with pytest.raises(OptionError, match=r"k is 0; .* at least 1"):
        TopPatches(0)
