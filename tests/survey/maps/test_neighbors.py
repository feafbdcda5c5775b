"""Neighbors of an image, by features and by pixels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nets import build
from phosphene.core.errors import ImageError, OptionError, RunError
from phosphene.core.images import image
from phosphene.core.images.image import Picture
from phosphene.survey.accumulators.embedding import Embeddings
from phosphene.survey.engine.survey import survey
from phosphene.survey.maps.mosaic import fitted, photograph
from phosphene.survey.maps.neighbors import neighbors
from phosphene.survey.store.run import Run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Six bright and six dark pictures in the folders of their classes, one dark one twice, and one broken."""
    folder, noise = tmp_path_factory.mktemp("survey"), np.random.default_rng(0)
    for number in range(12):
        name, low = ("bright", 150) if number < 6 else ("dark", 0)
        image.save(folder / f"photos/{name}/{number}.png", noise.integers(low, low + 100, (40, 48, 3), dtype=np.uint8))
    (folder / "photos/dark/twin.png").write_bytes((folder / "photos/dark/7.png").read_bytes())
    (folder / "photos/dark/broken.png").write_bytes(b"no picture")
    return survey(build("gap"), folder / "photos", folder / "run", [Embeddings()])


def test_the_nearest_are_of_its_kind_and_itself_is_not_among_them(run: Run) -> None:
    result = neighbors(run, "7.png", 6)
    number, twin = run.find("7.png"), run.find("twin.png")
    for near in (result.features, result.pixels):
        assert [neighbor.label for neighbor in near] == ["dark"] * 6
        assert (near[0].image, near[0].distance) == (twin, 0)
        assert number not in {neighbor.image for neighbor in near}
        assert run.find("broken.png") not in {neighbor.image for neighbor in near}
    assert result.label == "dark"
    assert result.source.endswith("7.png")
    assert neighbors(run, number, 6).features == result.features


def test_distances_are_those_of_the_run(run: Run) -> None:
    number = run.find("0.png")
    result, rows = neighbors(run, number, 3), run.embeddings.astype(np.float64)
    for neighbor in result.features:
        assert neighbor.distance == pytest.approx(np.linalg.norm(rows[neighbor.image] - rows[number]), rel=1e-12)
    small = run.pixels[[number, result.pixels[0].image]] / 255
    assert result.pixels[0].distance == pytest.approx(np.linalg.norm(small[0] - small[1]), rel=1e-12)
    near = neighbors(run, number, 3, metric="cosine").features[0]
    cosine = rows[near.image] @ rows[number] / np.linalg.norm(rows[near.image]) / np.linalg.norm(rows[number])
    assert near.distance == pytest.approx(1 - cosine, abs=1e-12)


def test_a_picture_of_the_run_is_known_by_its_content_and_another_is_embedded(run: Run) -> None:
    known = neighbors(run, image.load(run.source(run.find("0.png"))), 3)
    assert known.query == run.find("0.png")
    network = build("gap")
    new = Picture.from_array(np.full((40, 40, 3), 200, np.uint8), "new.png")
    with pytest.raises(OptionError, match="not in the run"):
        neighbors(run, new)
    result = neighbors(run, new, 3, network=network)
    assert result.query is new
    with pytest.raises(RunError, match="is a survey of gap"):
        neighbors(run, new, network=build("residual"))
    assert {neighbor.label for neighbor in result.pixels} == {"bright"}
    assert (result.label, result.source) == ("", "new.png")


def test_fewer_images_than_asked_for_is_said(run: Run) -> None:
    result = neighbors(run, 0, 50)
    assert len(result.features) == len(result.pixels) == 12
    assert result.notes == ("there are 12 images to choose from, not 50: all are shown",)
    assert neighbors(run, 0, 12).notes == ()


def test_images_that_cannot_be_asked_for(run: Run) -> None:
    with pytest.raises(ImageError, match="could not be read"):
        neighbors(run, "broken.png")
    with pytest.raises(ImageError, match="no image"):
        neighbors(run, "elsewhere.png")


def test_the_plate_shows_the_query_and_both_rows(run: Run, tmp_path: Path) -> None:
    result = neighbors(run, "3.png", 5)
    plate = result.picture(side=64)
    assert plate.shape[1] == 128 + 16 + 5 * 64 + 4 * 4
    assert plate[60:100, 20:100].mean() > 150  # the query, large and bright, at the left
    record = result.save(tmp_path)
    assert [(file["path"], file["kind"]) for file in record["files"]] == [
        ("neighbors.png", "picture"),
        ("neighbors.json", "table"),
    ]
    table = json.loads((tmp_path / "neighbors.json").read_text())
    assert [row["image"] for row in table["features"]] == [neighbor.image for neighbor in result.features]
    assert table["query"]["label"] == record["query"]["label"] == "bright"


def test_a_file_that_is_gone_is_shown_from_the_run(run: Run, tmp_path: Path) -> None:
    path = Path(run.source(3))
    whole = photograph(run, 3, 64)
    moved = path.rename(tmp_path / path.name)
    try:
        small = photograph(run, 3, 64)
    finally:
        moved.rename(path)
    np.testing.assert_array_equal(small, fitted(run.pixels[3], 64))
    assert max(whole.shape) == max(small.shape) == 64
    assert whole.std() > small.std()  # more detail
