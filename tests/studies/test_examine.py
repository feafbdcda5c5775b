"""Pictures examined: what the command line says of them can be had in Python."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import nets
from phosphene.core.errors import OptionError
from phosphene.studies.examine import examine
from phosphene.synthesis.recipes.visualize import Visualize
from phosphene.synthesis.settings.preset import Lecture

QUICK = Visualize(Lecture(steps=2))


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    folder = tmp_path / "photographs"
    folder.mkdir()
    for seed in range(5):
        levels = np.random.default_rng(seed).integers(0, 256, (40, 40, 3), np.uint8)
        Image.fromarray(levels).save(folder / f"{seed}.png")
    return folder


def test_pictures_sheet_film_and_verdicts_are_one_result(tmp_path: Path, photographs: Path) -> None:
    network = nets.build("gap")
    result = examine(
        network, ["goldfish", 0], recipe=QUICK, ablate=True, natural=photographs, second=network, animate="gif"
    )
    assert [verdict.target for verdict in result.verdicts] == ["goldfish", "tabby"]
    stored = result.save(tmp_path / "out")
    names = [file["path"] for file in stored["files"]]
    assert names == ["goldfish.png", "tabby.png", "scores.npy", "steps.gif", "ablation.png"]
    assert [row["natural_images"] for row in stored["results"]] == [5, 5]
    assert [row["second"]["network"] for row in stored["results"]] == ["gap", "gap"]
    assert result.cost.backwards >= (2 + 6 * 2) * 2
    assert result.lines()[-1].startswith("lecture, 2 steps at 32 × 32, ")


def test_each_facet_is_a_start(photographs: Path) -> None:
    result = examine(nets.build("gap"), "features.2:1", recipe=QUICK, facets=2, natural=photographs)
    assert result.facets is not None
    assert len(result.verdicts) == len(result.facets.facets) == len(result.visualization.images)
    assert [row["facet"] for row in result.facts()["results"]] == [facet.label for facet in result.facets.facets]
    assert [file.path for file in result.files()][-1] == "facets.png"


def test_facets_of_nothing_and_of_too_much() -> None:
    with pytest.raises(OptionError, match="give natural too"):
        examine(nets.build("gap"), 0, recipe=QUICK, facets=2)
    with pytest.raises(OptionError, match="facets are for one target, without diverse; found 2 targets"):
        examine(nets.build("gap"), [0, 1], recipe=QUICK, facets=2, natural="anything")
