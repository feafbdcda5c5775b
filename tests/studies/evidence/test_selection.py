"""Units and patches are those that were meant: by the seed, by rank, without copies, never arbitrary."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from phosphene.core.errors import LayerError, OptionError, TargetError
from phosphene.studies.evidence.selection import select_units, strongest_patches


def test_random_units_follow_the_seed_and_do_not_repeat(plated: Any) -> None:
    run = plated.run
    channels = select_units(run, "features.5", "random:5", seed=3)
    assert (
        channels
        == select_units(run, "features.5", "random:5", seed=3)
        != select_units(run, "features.5", "random:5", seed=4)
    )
    assert len(set(channels)) == 5
    assert select_units(run, "features.5", "random:99") == tuple(range(12))


def test_top_units_are_those_of_the_greatest_activation(plated: Any) -> None:
    greatest = plated.run.units("features.5")["max"]
    channels = select_units(plated.run, "features.5", "top:4")
    assert [greatest[channel] for channel in channels] == sorted(greatest, reverse=True)[:4]


def test_units_by_number_keep_their_order(plated: Any) -> None:
    assert select_units(plated.run, "features.5", "7,1, 3") == (7, 1, 3)
    assert select_units(plated.run, "features.5", [7, 1, 3]) == (7, 1, 3)


@pytest.mark.parametrize(
    ("layer", "units", "error", "text"),
    [
        ("features.5", "12", TargetError, "12 channels are 0 … 11"),
        ("features.5", "random:0", OptionError, "want random:16, top:16 or channels such as 1,5,9"),
        ("features.5", "best", OptionError, "units='best'"),
        ("features.9", "random:3", LayerError, "has no layer 'features.9'"),
    ],
)
def test_what_is_no_unit_is_refused(plated: Any, layer: str, units: str, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        select_units(plated.run, layer, units)


def test_a_copy_of_a_file_is_shown_once_and_the_next_move_up(plated: Any) -> None:
    for channel in range(12):
        every = plated.run.patches("features.5", channel)
        shown = strongest_patches(plated.run, "features.5", channel, 7)
        contents = [plated.run.images["sha256"][patch.image] for patch in shown]
        assert len(set(contents)) == len(contents) <= 6
        assert [patch.rank for patch in shown] == sorted(patch.rank for patch in shown)
        assert shown[: len(shown)] == tuple(patch for patch in every if patch in shown)
        assert strongest_patches(plated.run, "features.5", channel, 2) == shown[:2]


def test_images_without_any_response_are_left_out(plated: Any) -> None:
    for channel in range(12):
        least = plated.run.unit("features.5", channel)["min"]
        shown = strongest_patches(plated.run, "features.5", channel, 7)
        assert all(patch.activation > least for patch in shown)
        responding = {
            str(plated.run.images["sha256"][patch.image])
            for patch in plated.run.patches("features.5", channel)
            if patch.activation > least
        }
        assert len(shown) == len(responding)
    silent = np.flatnonzero(plated.run.units("features.5")["dead"])
    assert all(strongest_patches(plated.run, "features.5", int(channel), 7) == () for channel in silent)
