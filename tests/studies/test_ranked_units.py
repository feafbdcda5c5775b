"""The units of a layer in an order."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

import nets
from phosphene.core.errors import LayerError, OptionError, RunError
from phosphene.studies.ranked_units import UnitOrder, ranked_units
from phosphene.survey.accumulators.moments import Moments
from phosphene.survey.accumulators.top import TopPatches
from phosphene.survey.engine.survey import survey
from phosphene.survey.store.run import Run
from survey.photographs import photographs
from survey.runs import small_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return small_run(tmp_path_factory.mktemp("made") / "run")


@pytest.mark.parametrize(
    ("sort", "key"),
    [
        ("selectivity", lambda units: -units["selectivity"]),
        ("max", lambda units: -units["max"]),
        ("mean", lambda units: -units["mean"]),
        ("sparsity", lambda units: units["places_positive"] / units["places"]),
    ],
)
def test_units_stand_in_order_and_dead_ones_last(run: Run, sort: Any, key: Any) -> None:
    ranked = ranked_units(run, "features.5", sort)
    values = key(ranked.units)[:-1]
    assert (np.diff(values) >= 0).all()
    assert ranked.units["dead"].tolist() == [False] * 5 + [True]
    assert sorted(ranked.units["channel"]) == list(range(6))
    assert 5 not in ranked.patches


def test_by_number_a_dead_unit_keeps_its_place(run: Run) -> None:
    assert ranked_units(run, "features.5", "index").units["channel"].tolist() == list(range(6))


def test_some_units_have_some_patches(run: Run) -> None:
    ranked = ranked_units(run, "features.5", "max", top=2, patches=3)
    assert ranked.top == 2
    assert list(ranked.patches) == ranked.units["channel"][:2].tolist()
    for channel, patches in ranked.patches.items():
        assert [cropped.patch for cropped in patches] == list(run.patches("features.5", channel, k=3))


def test_no_such_order_and_no_such_layer(run: Run, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="did you mean 'max'"):
        ranked_units(run, "features.5", "maxx")  # type: ignore[arg-type]
    with pytest.raises(LayerError, match="features"):
        ranked_units(run, "features.55")


def test_units_without_a_number_stand_last_and_warn_nobody(tmp_path: Path) -> None:
    photos = photographs(tmp_path / "photos", 4, broken=(0, 1, 2, 3))
    run = survey(nets.build("gap"), photos, tmp_path / "run", layers="features.5")
    for sort in get_args(UnitOrder):
        assert ranked_units(run, "features.5", sort).units["images"].tolist() == [0] * 12


def test_a_survey_that_kept_too_little_says_so(tmp_path: Path) -> None:
    run = survey(nets.build("gap"), photographs(tmp_path / "photos", 4), tmp_path / "run", [Moments(), TopPatches(2)])
    with pytest.raises(
        RunError, match=r"the survey kept no broken, dead, .*run it again with its default accumulators"
    ):
        ranked_units(run, run.layers[0], "mean")
