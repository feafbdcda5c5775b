"""The page of a class: its contributions, and the selective units of each layer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from phosphene.core.networks.network import Network
from phosphene.report.html import number
from phosphene.report.report import report
from phosphene.studies.class_units import class_units
from phosphene.survey.store.run import Run
from report.audit import audit
from surveys import surveyed


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Network]:
    return surveyed(tmp_path_factory.mktemp("survey"))


def test_contributions_stand_first_then_layers_from_the_last(made: tuple[Run, Network], tmp_path: Path) -> None:
    units = class_units(*made[::-1], "goldfish", k=3)
    page = report(units)
    tree = audit(page.html())
    assert tree.all("h1")[0].words == "Units for goldfish"
    assert [element.words for element in tree.all("h2")] == [
        "Contributions to the logit",
        "Selective units of features",
        "Selective units of features.3",
    ]
    rows = [[cell.words for cell in row.children] for row in tree.all("tr")]
    for contribution in units.contributions:
        unit = f"{units.layer}:{contribution.channel}"
        assert [unit, number(contribution.weight), number(contribution.mean), number(contribution.value, 2)] in rows
    assert [entry["path"] for entry in page.save(tmp_path)["files"]] == ["plate.png", "index.html"]
    told = json.loads(json.dumps(page.facts(), allow_nan=False))
    assert [row["channel"] for row in told["contributions"]] == [c.channel for c in units.contributions]
    assert set(told["selective"]) == {"features.3", "features"}
    assert [len(section.mosaics) for section in page.page.sections] == [3, 3, 3]


def test_what_cannot_be_told_is_said(made: tuple[Run, Network]) -> None:
    page = report(class_units(*made[::-1], "otter", k=2))
    tree = audit(page.html())
    assert tree.all("h2")[-1].words == "Notes"
    assert "no class 'otter'" in page.html().replace("&#39;", "'")
    assert len(page.pictures()) == 1
