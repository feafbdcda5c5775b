"""The wall of a layer: a tile for each unit, a row for each unit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from phosphene.report.figures import percent
from phosphene.report.report import report
from phosphene.studies.ranked_units import TILE, ranked_units
from phosphene.survey.store.run import Run
from report.audit import audit
from survey.runs import small_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return small_run(tmp_path_factory.mktemp("made") / "run")


def test_a_tile_and_a_row_for_each_unit_in_its_order(run: Run) -> None:
    ranked = ranked_units(run, "features.5", "max")
    tree = audit(report(ranked).html())
    channels = [str(unit) for unit in ranked.units["channel"]]
    (tiles,) = [element for element in tree.all("ol") if "tiles" in element.get("class")]
    assert [child.words.split("\n")[0] for child in tiles.children] == channels
    assert [element.words for element in tree.all("th") if element.get("scope") == "row"] == [
        f"features.5:{c}" for c in channels
    ]
    rows = [[cell.words for cell in row.children] for row in tree.all("tr")[1:]]
    for row, shown in zip(ranked.rows, rows, strict=True):
        assert percent(row["places_positive"] / row["places"]) in shown
    assert tiles.children[-1].words == "5\ndead"
    assert "1 of all is dead" in tree.all("p")[1].words


def test_the_first_units_alone(run: Run, tmp_path: Path) -> None:
    ranked = ranked_units(run, "features.5", "index", top=4, patches=4)
    assert ranked.lines()[0] == "4 of 6 units of features.5, by number. 1 of all is dead."
    assert len(ranked.rows) == 4
    assert ranked.wall(columns=2).shape == (2 * (TILE + 20) + 6, 2 * TILE + 6, 3)
    assert [entry["path"] for entry in report(ranked).save(tmp_path)["files"]] == ["wall.png", "index.html"]
    json.dumps(ranked.rows, allow_nan=False)


def test_an_order_by_nothing_says_so(run: Run) -> None:
    ranked = ranked_units(run, "features.3")
    ranked.units["selectivity"][:] = np.nan
    assert "no class has two images" in ranked.lines()[0]
    assert all(row["selectivity"] is None for row in ranked.rows)
