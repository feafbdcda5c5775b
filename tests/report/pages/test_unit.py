"""The page of a unit: every number on it is the recorded one, and a dead unit shows nothing."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from phosphene.core.networks.network import Network
from phosphene.report import unit_charts
from phosphene.report.html import number, render
from phosphene.report.report import report
from phosphene.studies.unit_evidence import UnitEvidence, unit
from phosphene.survey.store.run import Run
from report.audit import Tree, audit
from surveys import surveyed


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Network]:
    return surveyed(tmp_path_factory.mktemp("survey"))


@pytest.fixture(scope="module")
def evidence(made: tuple[Run, Network]) -> UnitEvidence:
    return unit(*made[::-1], "features.3:1", k=4)


def facts(tree: Tree) -> dict[str, str]:
    pairs = [child.children for child in tree.all("dl")[0].children]
    return {term.words: told.words for term, told in pairs}


def test_the_page_tells_the_recorded_activations(made: tuple[Run, Network], evidence: UnitEvidence) -> None:
    tree = audit(report(evidence).html())
    assert tree.all("h1")[0].words == "features.3:1"
    recorded = [number(strong_patch.activation) for strong_patch in made[0].patches("features.3", 1, k=4)]
    grids = [element for element in tree.all("ol") if element.get("class") == "tiles c2"]
    assert len(grids) == 3, "patches, deconvnet, guided backprop"
    assert all([tile.words for tile in grid.children] == recorded for grid in grids)
    rows = [[cell.words for cell in row.children] for row in tree.all("tr")]
    first = made[0].patches("features.3", 1)[0]
    name = Path(made[0].source(first.image)).name
    assert any(row[1:3] == [number(first.activation), name] for row in rows)
    assert any(
        element.get("alt").startswith("Strongest patch 1 of features.3:1: activation ") for element in tree.all("img")
    )


def test_the_facts_are_those_of_the_table_of_units(evidence: UnitEvidence) -> None:
    told = facts(audit(report(evidence).html()))
    assert told["Range"] == f"{number(evidence.row['min'])} … {number(evidence.row['max'])}"
    assert told["Unit"] == "channel 1 of features.3, MaxPool2d"
    assert told["Receptive field"] == "5 × 5 pixels, 2 % of the picture"
    assert told["Dead"] == "no"
    assert "Broken" not in told
    broken = dataclasses.replace(evidence, row={**evidence.row, "broken": 2})
    assert facts(audit(report(broken).html()))["Broken"].startswith("2 images")


def test_a_vector_has_no_places(made: tuple[Run, Network]) -> None:
    page = report(unit(*made[::-1], "logits:2", k=2))
    told = facts(audit(page.html()))
    assert told["Unit"] == "the logit of goldfish"
    assert told["Receptive field"].startswith("the whole picture")
    assert "Places above zero" not in told
    assert "effective field" in page.html()
    assert len(page.page.sections[1].charts) == 1


def test_the_histogram_counts_every_image_and_marks_the_patches(evidence: UnitEvidence) -> None:
    bins = unit_charts.bins(evidence, "image", [patch.patch.activation for patch in evidence.top])
    assert sum(histogram_bin.total for histogram_bin in bins) == 12
    assert sum(histogram_bin.marked for histogram_bin in bins) == 4
    assert all(np.isfinite([histogram_bin.low, histogram_bin.high]).all() for histogram_bin in bins)


def test_labels_that_are_predictions_are_called_so(tmp_path: Path) -> None:
    run, network = surveyed(tmp_path, labels="none")
    page = report(unit(network, run, "features.3:1", k=1)).html()
    assert "The images have no labels: a class here is what the network itself predicted." in page
    audit(page)


def test_a_dead_unit_shows_no_picture(tmp_path: Path) -> None:
    run, network = surveyed(tmp_path, "dead")
    page = report(unit(network, run, "features:3"))
    tree = audit(page.html())
    assert not tree.all("img", "svg")
    assert "This unit is dead: its activation is 0 at every place of all 12 images" in tree.all("p")[1].words
    assert page.pictures() == ()
    assert [file["kind"] for file in page.save(tmp_path / "page")["files"]] == ["report"]
    json.dumps(page.facts(), allow_nan=False)


def test_hostile_names_are_text(evidence: UnitEvidence) -> None:
    hostile = "</style><script>alert(1)</script>"
    named = dataclasses.replace(evidence, notes=(hostile,), row={**evidence.row, "class": hostile})
    assert len(audit(report(named).html()).all("script")) == 1


def test_what_is_saved_is_listed_and_json_can_hold_it(evidence: UnitEvidence, tmp_path: Path) -> None:
    page = report(evidence)
    entries = page.save(tmp_path)["files"]
    assert [entry["path"] for entry in entries] == ["plate.png", "index.html"]
    assert all((tmp_path / entry["path"]).is_file() for entry in entries)
    told = json.loads(json.dumps(page.facts(), allow_nan=False))
    assert [row["activation"] for row in told["top"]] == [patch.patch.activation for patch in evidence.top]
    assert render(page.page) == page.html()


def test_the_plate_has_a_block_for_patches_and_each_projection(evidence: UnitEvidence) -> None:
    plate = evidence.plate()
    assert plate is not None
    assert plate.shape[1] == 3 * (2 * 112 + 4) + 2 * 16
    alone = dataclasses.replace(evidence, random=()).plate()
    assert alone is not None
    assert (plate[: alone.shape[0]] == alone).all()


def test_an_activation_at_the_lower_end_of_a_bin_is_marked_in_it(evidence: UnitEvidence) -> None:
    low = unit_charts.bins(evidence, "image")[-1].low
    assert [column.marked for column in unit_charts.bins(evidence, "image", [low])][-1] == 1
