"""A finished survey, read: values equal those that were written, and errors name what is missing."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

import nets
from phosphene.core import files
from phosphene.core.errors import ImageError, LayerError, OptionError, RunError, TargetError
from phosphene.core.images import image
from phosphene.core.images.preprocess import Box
from phosphene.core.result import Result
from phosphene.survey.store.patch import Patch
from phosphene.survey.store.run import Run
from phosphene.survey.store.table import read_table, write_table
from survey.runs import LAYERS, PICTURES, UNITS, K, reseal, small_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One for all tests that only read."""
    return small_run(tmp_path_factory.mktemp("store") / "run")


def rows(run: Run, name: str, **where: object) -> dict[str, np.ndarray]:
    """Rows of a table, chosen by numpy."""
    table = read_table(run.folder / f"{name}.parquet")
    kept = np.logical_and.reduce([table[key] == value for key, value in where.items()])
    return {key: column[kept] for key, column in table.items()}


def equal(one: dict[str, np.ndarray], two: dict[str, np.ndarray]) -> bool:
    """The same columns."""
    return list(one) == list(two) and all(np.array_equal(one[key], two[key]) for key in one)


def test_a_run_knows_its_layers(run: Run) -> None:
    assert run.layers == tuple(LAYERS)
    assert [(run.channels(layer), run.grid(layer)) for layer in run.layers] == list(LAYERS.values())
    assert run.record["verb"] == "survey"
    assert Run(str(run.folder)).layers == run.layers
    assert repr(run) == f"Run({str(run.folder)!r})"


def test_images_are_read_once_and_cannot_be_changed(run: Run) -> None:
    assert run.images["image"].tolist() == list(range(PICTURES))
    assert run.images is run.images
    with pytest.raises(ValueError, match="read-only"):
        run.images["ok"][0] = False


def test_units_are_the_rows_of_the_table(run: Run) -> None:
    assert [*zip(run.units()["layer"], run.units()["channel"].tolist(), strict=True)] == UNITS
    for layer, channel in UNITS:
        facts = run.unit(layer, channel)
        expected = rows(run, "units", layer=layer, channel=channel)
        assert list(facts) == list(expected)
        assert repr(list(facts.values())) == repr([column.tolist()[0] for column in expected.values()])
    assert equal(run.units("features.3"), rows(run, "units", layer="features.3"))


@pytest.mark.parametrize("side", ["top", "bottom"])
def test_patches_are_the_rows_of_the_table_by_rank(run: Run, side: str) -> None:
    for layer, channel in UNITS:
        patches, expected = (
            run.patches(layer, channel, side),
            rows(run, "patches", layer=layer, channel=channel, side=side),
        )
        assert [patch.rank for patch in patches] == list(range(K))
        assert [patch.image for patch in patches] == expected["image"].tolist()
        assert [patch.activation for patch in patches] == expected["activation"].tolist()
        assert [patch.box for patch in patches] == [
            *zip(*(expected[name].tolist() for name in Box._fields), strict=True)
        ]
        assert run.patches(layer, channel, side, 2) == patches[:2]
        assert run.patches(layer, channel, side, 100) == patches
    first = patches[0]
    assert first == dataclasses.replace(first)
    assert isinstance(first, Patch)
    assert isinstance(first.box, Box)
    assert (first.side, first.whole, type(first.image)) == (side, False, int)


def test_patches_come_by_rank_in_whatever_order_they_were_written(tmp_path: Path) -> None:
    run = small_run(tmp_path / "run")
    before = run.patches("features.5", 3)
    table = read_table(run.folder / "patches.parquet")
    shuffled = np.random.default_rng(0).permutation(len(table["rank"]))
    write_table(run.folder / "patches.parquet", {name: column[shuffled] for name, column in table.items()})
    reseal(run.folder, run.record)
    assert Run(run.folder).patches("features.5", 3) == before


def test_the_other_tables_of_a_unit(run: Run) -> None:
    for layer, channel in UNITS:
        assert equal(run.classes(layer, channel), rows(run, "classes", layer=layer, channel=channel))
        assert sorted(run.samples(layer, channel)["image"].tolist()) == [0, 1, 2, 3]
        low, high, count = run.histogram(layer, channel)
        assert count.sum() == PICTURES - 1
        assert (low < high).all()
        assert (high[:-1] <= low[1:]).all()
        assert run.histogram(layer, channel, "place")[2].sum() == 4 * (PICTURES - 1)


def test_arrays_are_mapped_from_the_disk_and_cannot_be_changed(run: Run) -> None:
    assert (run.embeddings.dtype, run.embeddings.shape) == (np.float16, (PICTURES, 7))
    assert np.isnan(run.embeddings[11]).all()
    assert (run.pixels.dtype, run.pixels.shape) == (np.uint8, (PICTURES, 32, 32, 3))
    for array in (run.embeddings, run.pixels):
        assert isinstance(array, np.memmap)
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_similar_units_are_there_if_they_were_asked_for(tmp_path: Path) -> None:
    run = small_run(tmp_path / "run")
    with pytest.raises(RunError, match=r"kept no similar/features.3.npy. Run it again with the accumulator"):
        run.similar("features.3")
    files.write_array(run.folder / "similar" / "features.3.npy", np.eye(4, dtype=np.float32))
    reseal(run.folder, run.record)
    assert np.array_equal(Run(run.folder).similar("features.3"), np.eye(4))


def test_pictures_are_read_again(run: Run) -> None:
    picture = run.picture(3)
    assert picture.sha256 == run.images["sha256"][3]
    assert np.array_equal(run.pixels[3], picture.pixels[4:36, 14:46])
    assert run.source(3).endswith("photos/cat-03.png")
    for number in (-1, PICTURES):
        with pytest.raises(ImageError, match=f"has no image {number}; it has 12, from 0"):
            run.picture(number)


def test_a_picture_that_changed_or_went_is_refused(tmp_path: Path) -> None:
    run = small_run(tmp_path / "run")
    image.save(run.source(2), np.zeros((40, 60, 3), np.uint8))
    with pytest.raises(ImageError, match=r"fish-02.png has changed since the survey; restore it"):
        run.picture(2)
    Path(run.source(1)).unlink()
    with pytest.raises(ImageError, match=r"dog-01.png"):
        run.picture(1)


def test_images_are_found_by_number_path_or_file_name(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run.folder)
    for name in ("4", "04", "dog-04.png", "photos/dog-04.png", "../photos/dog-04.png", run.source(4)):
        assert run.find(name) == 4
    monkeypatch.chdir(run.folder.parent / "photos")
    assert run.find("./dog-04.png") == 4
    with pytest.raises(ImageError, match=r"has no image 'dog-4.png'; did you mean 'dog-04.png'"):
        run.find("dog-4.png")
    with pytest.raises(ImageError, match="has no image 12; it has 12, from 0"):
        run.find("12")
    with pytest.raises(ImageError, match=r"has no image 'og-04.png'"):
        run.find("og-04.png")


def test_a_name_of_several_images_is_refused(tmp_path: Path) -> None:
    run = small_run(tmp_path / "run")
    columns = dict(run.images)
    columns["source"] = np.array([f"/{number // 2}/{'ab'[number % 2]}.tar::7" for number in range(PICTURES)], object)
    write_table(run.folder / "images.parquet", columns)
    reseal(run.folder, run.record)
    run = Run(run.folder)
    assert run.find("3/b.tar::7") == 7
    assert run.find("7") == 7
    with pytest.raises(ImageError, match=r"6 images are called 'a.tar::7': 0 is /0/a.tar::7, 2 is .*; give the number"):
        run.find("a.tar::7")


def test_a_failed_image_is_in_the_table_with_its_reason(run: Run) -> None:
    assert run.images["ok"].tolist() == [True] * 11 + [False]
    assert run.images["error"][11]
    assert run.find("fish-11.png") == 11


def test_what_is_not_there_is_said_with_what_is(run: Run) -> None:
    for ask in (run.units, run.grid, run.channels, run.similar):
        with pytest.raises(LayerError, match=r"has no layer 'features.4'; did you mean 'features.5' or 'features.3'\?"):
            ask("features.4")
    for ask in (run.unit, run.patches, run.classes, run.histogram, run.samples):
        for channel in (-1, 4):
            with pytest.raises(TargetError, match=f"features.3 has no channel {channel}; its 4 channels are 0 … 3"):
                ask("features.3", channel)
    with pytest.raises(OptionError, match="no side is called 'botom'; did you mean 'bottom'"):
        run.patches("features.3", 0, "botom")
    with pytest.raises(OptionError, match="no histogram is called 'images'; did you mean 'image'"):
        run.histogram("features.3", 0, "images")


def test_what_the_survey_did_not_keep_is_said(tmp_path: Path) -> None:
    run = small_run(tmp_path / "run")
    (run.folder / "samples.parquet").unlink()
    units = read_table(run.folder / "units.parquet", where={"layer": "features.5"})
    write_table(run.folder / "units.parquet", units)
    reseal(run.folder, run.record)
    run = Run(run.folder)
    with pytest.raises(RunError, match=r"kept no samples.parquet. Run it again with the accumulator"):
        run.samples("features.3", 0)
    with pytest.raises(RunError, match=r"kept no statistics of features.3. Run it again"):
        run.unit("features.3", 0)
    shutil.copy(run.folder / "classes.parquet", run.folder / "samples.parquet")
    with pytest.raises(OptionError, match="samples does not exist"):
        run.query("from samples")


def test_sql_over_the_run(run: Run) -> None:
    table = run.query("select layer, channel from units where dead", limit=10)
    assert table.rows == [("features.5", 5)]
    assert table.columns == ("layer", "channel")


def test_a_run_of_a_network_names_it(tmp_path: Path) -> None:
    network = dataclasses.replace(nets.build("gap"), sha256="ab" * 32)
    assert small_run(tmp_path / "run", network).record["model"] == {"name": "gap", "sha256": "ab" * 32}


def test_any_table_is_read_by_its_name(run: Run) -> None:
    assert run.tables == ("classes", "histograms", "images", "patches", "samples", "units")
    assert run.arrays == ("embeddings", "pixels")
    assert equal(run.table("classes", "features.3", 1), rows(run, "classes", layer="features.3", channel=1))
    assert len(run.table("patches")["rank"]) == 2 * K * len(UNITS)
    with pytest.raises(RunError, match=r"kept no other.parquet"):
        run.table("other")


def test_a_run_is_a_result_and_its_copy_is_a_run(run: Run, tmp_path: Path) -> None:
    assert isinstance(run, Result)
    assert run.manifest() == run.record
    assert run.save(tmp_path / "copy") == run.record
    copy = Run(tmp_path / "copy")
    assert (copy.folder / "result.json").read_bytes() == (run.folder / "result.json").read_bytes()
    assert copy.verify() == ()
    assert run.lines() == ("11 images, 10 units of 2 layers, 1 dead, in 0 s",)
    assert "<img" in run._repr_html_()
    assert len(run.pictures()) == 11
