"""The plan of a survey: accumulators that do not fit together are refused before the pass."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import pytest

import nets
from phosphene.core.errors import OptionError, RunError
from phosphene.core.networks.network import Network
from phosphene.survey.accumulators import Accumulator
from phosphene.survey.accumulators.moments import DeadUnits, Sparsity
from phosphene.survey.engine.plan import SurveyPlan
from phosphene.survey.engine.survey import survey
from phosphene.survey.sources.image_list import list_images
from survey.photographs import photographs

BROKEN = (4, 17)  # of the files


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photographs(tmp_path_factory.mktemp("photos"), 30, broken=BROKEN)


@pytest.fixture(scope="module")
def network() -> Network:
    return nets.build("residual")


def test_accumulators_that_write_the_same_are_refused_before_the_pass(network: Network, folder: Path) -> None:
    class Peaks(DeadUnits, name="test-peaks"): ...

    class Undeclared(DeadUnits, name="test-undeclared"):
        tables: ClassVar[Mapping[str, str]] = {}

    images = list_images(folder)
    try:
        with pytest.raises(OptionError, match="column max of units is written by dead-units and by test-peaks"):
            SurveyPlan.of(network, images, [DeadUnits(), Peaks()])
        with pytest.raises(OptionError, match="test-undeclared returns the table units and does not declare it"):
            SurveyPlan.of(network, images, [Undeclared()])
    finally:
        for name in ("test-peaks", "test-undeclared"):
            del Accumulator.table[name]
    with pytest.raises(OptionError, match="give another name"):

        class Images(DeadUnits, name="test-images"):
            tables: ClassVar[Mapping[str, str]] = {"images": "an image"}

    assert "test-images" not in Accumulator.table


def test_a_plan_with_an_accumulator_that_is_not_loaded_says_so(network: Network, folder: Path, tmp_path: Path) -> None:
    class Own(Sparsity, name="test-own"): ...

    with pytest.raises(RunError, match="stopped"):
        survey(network, folder, tmp_path / "run", [Own()], watch=lambda _: True)
    del Accumulator.table["test-own"]
    with pytest.raises(RunError, match=r"with the accumulator .test-own., which is not known here; load .* --plugin"):
        survey(network, folder, tmp_path / "run", [Sparsity()])
