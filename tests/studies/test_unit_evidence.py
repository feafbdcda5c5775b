"""The evidence of a unit: what is shown is what was recorded, and what the network gives."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import nets
from phosphene.core.errors import LayerError, OptionError, RunError, TargetError
from phosphene.core.networks.network import Network
from phosphene.core.table import Table
from phosphene.report.report import report
from phosphene.studies.evidence.peaks import random_images
from phosphene.studies.evidence.selection import parse_unit
from phosphene.studies.unit_evidence import _by_selectivity, unit
from phosphene.survey.engine.survey import survey
from phosphene.survey.store.run import Run
from surveys import surveyed


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Network]:
    return surveyed(tmp_path_factory.mktemp("survey"))


def test_a_unit_is_a_layer_and_a_channel(made: tuple[Run, Network]) -> None:
    assert parse_unit(made[0], "features.3:7") == ("features.3", 7)


@pytest.mark.parametrize(
    ("target", "error", "text"),
    [
        ("features.3:7@3,3", TargetError, "names a place; a unit is LAYER:CHANNEL, such as features.3:7"),
        ("features.3", TargetError, "is a layer; a unit is LAYER:CHANNEL, such as features.3:0"),
        ("goldfish", TargetError, "names no unit; a unit is LAYER:CHANNEL, such as logits:0"),
        ("features.3:8", TargetError, "8 channels are 0 … 7"),
        ("features.33:1", LayerError, "did you mean 'features.3'"),
    ],
)
def test_what_is_no_unit_is_refused(made: tuple[Run, Network], target: str, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        parse_unit(made[0], target)


def test_the_evidence_shows_what_was_recorded(made: tuple[Run, Network]) -> None:
    run, network = made
    evidence = unit(network, run, "features.3:1", k=4)
    assert [cropped.patch for cropped in evidence.top] == list(run.patches("features.3", 1, k=4))
    assert [cropped.patch for cropped in evidence.weakest] == list(run.patches("features.3", 1, "bottom", 4))
    for cropped in (*evidence.top, *evidence.random):
        top, left, bottom, right = cropped.patch.box
        rows, columns = slice(int(top), int(np.ceil(bottom))), slice(int(left), int(np.ceil(right)))
        assert (cropped.crop == run.picture(cropped.patch.image).pixels[rows, columns]).all()
    assert set(evidence.projections) == {"deconvnet", "guided-backprop"}
    assert all(len(those) == 4 for those in evidence.projections.values())
    assert tuple(cropped.patch.image for cropped in evidence.random) == random_images(run)
    assert evidence.drift < 1e-5
    assert evidence.cost.forwards >= len(evidence.levels) + len(evidence.random)


def test_levels_rise_and_hold_every_image(made: tuple[Run, Network]) -> None:
    evidence = unit(*made[::-1], "features.3:1")
    values = [level.patch.patch.activation for level in evidence.levels]
    assert values == sorted(values)
    assert all(level.low <= level.patch.patch.activation < level.high for level in evidence.levels)
    octaves = {(level.low, level.high): level.images for level in evidence.levels}
    assert sum(octaves.values()) == 12
    assert len(evidence.levels) == 5


def test_a_whole_field_is_cut_to_the_effective_one(made: tuple[Run, Network]) -> None:
    evidence = unit(*made[::-1], "logits:2")
    assert all(cropped.patch.whole for cropped in evidence.top)
    assert [cropped.patch.box for cropped in evidence.top] == [
        projection.box for projection in evidence.projections["guided-backprop"]
    ]


def test_a_dead_unit_has_no_pictures(tmp_path: Path) -> None:
    run, network = surveyed(tmp_path, "dead")
    evidence = unit(network, run, "features:3")
    assert evidence.dead
    assert not evidence.top
    assert not evidence.random
    assert not evidence.levels


def test_a_unit_that_is_no_number_has_no_pictures_and_spoils_no_other(tmp_path: Path) -> None:
    photos = surveyed(tmp_path)[0].folder.parent / "photos"
    network = nets.build("gap")
    with torch.no_grad():
        weight = network.module.get_submodule("features.4").weight
        assert isinstance(weight, torch.Tensor)
        weight[1] = torch.nan
    run = survey(network, photos, tmp_path / "broken", layers="features.5,logits", k=3)
    broken = unit(network, run, "features.5:1")
    assert broken.row["broken"] == 12
    assert not broken.top
    evidence = unit(network, run, "features.5:0", k=3)
    assert any("its gradient is not finite" in note for note in evidence.notes)
    page = report(broken)
    assert "a NaN or an infinity in 12 images" in page.html()
    json.dumps(page.facts(), allow_nan=False)


def test_without_relu_the_gradient_stands_in(tmp_path: Path) -> None:
    run, network = surveyed(tmp_path, "tokens")
    evidence = unit(network, run, "norm:3", k=2)
    assert set(evidence.projections) == {"gradient"}
    assert sum("is left out" in note for note in evidence.notes) == 2


def test_a_lost_photograph_is_named(tmp_path: Path) -> None:
    run, network = surveyed(tmp_path)
    gone = run.patches("features.3", 0)[0].image
    Path(run.source(gone)).unlink()
    evidence = unit(network, run, "features.3:0", k=2)
    assert any(run.source(gone) in note for note in evidence.notes)
    assert len(evidence.top) == 2
    assert gone not in {cropped.patch.image for cropped in evidence.random}


def test_another_network_is_refused(made: tuple[Run, Network]) -> None:
    run, network = made
    other = Network(network.module, network.preprocess, network.labels, "other", "f" * 64)
    with pytest.raises(RunError, match="other"):
        unit(other, run, "features.3:1")
    with pytest.raises(OptionError, match="k is 0"):
        unit(network, run, "features.3:1", k=0)


def test_the_network_is_left_as_it_was(made: tuple[Run, Network]) -> None:
    run, network = made
    before = {name: values.clone() for name, values in network.module.state_dict().items()}
    unit(network, run, "features.3:1", k=1)
    assert all(torch.equal(before[name], values) for name, values in network.module.state_dict().items())
    assert nets.build("gap").sha256 == network.sha256


def test_classes_of_one_image_come_after_all_others() -> None:
    columns = {"class": np.array(["a", "b", "c"]), "images": np.array([1, 2, 5])}
    columns |= {"selectivity": np.array([0.9, 0.1, 0.5]), "d_prime": np.zeros(3)}
    assert _by_selectivity(Table(columns))["class"].tolist() == ["c", "b", "a"]


def test_a_watcher_leaves_out_what_is_not_made_yet(made: tuple[Run, Network]) -> None:
    evidence = unit(*made[::-1], "features.3:1", k=2, watch=lambda progress: progress.done == 1)
    assert evidence.projections
    assert len(evidence.top) == 2
    assert (evidence.levels, evidence.random) == ((), ())
