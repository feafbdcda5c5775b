"""A survey as a user types it: what it prints, how it ends, and what the run answers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cli.test_cli import NET, run
from phosphene.survey.accumulators import Accumulator
from phosphene.survey.store.run import Run
from survey.photographs import photographs

PLUGIN = Path(__file__).parents[3] / "examples" / "plugins" / "peak_rows.py"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a network of three classes and twelve pictures, of which one is cut off."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NET)
    photographs(tmp_path / "photos", 12, broken=(4,))
    return tmp_path


@pytest.fixture
def surveyed(place: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert run("survey", "photos/", "-o", "run/", "--model", "net.py:make", "--k", "3", "--quiet") == 3
    capsys.readouterr()
    return place / "run"


def test_a_broken_picture_is_named_and_the_rest_is_there(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("survey", "photos/", "-o", "run/", "--model", "net.py:make", "--k", "3") == 3
    told = capsys.readouterr()
    assert "11 images, 19 units of 3 layers, 0 dead" in told.out
    assert [line for line in told.err.splitlines() if "ImageError" in line and "0004.png" in line]
    assert "phosphene units run --layer" in told.out


def test_the_same_command_again_opens_the_run(surveyed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (surveyed / "result.json").stat().st_mtime_ns
    assert run("survey", "photos/", "-o", "run/", "--model", "net.py:make", "--k", "3", "--json") == 3
    assert json.loads(capsys.readouterr().out)["verb"] == "survey"
    assert (surveyed / "result.json").stat().st_mtime_ns == before


def test_another_survey_does_not_fit_into_the_folder(surveyed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("survey", "photos/", "-o", "run/", "--model", "net.py:make", "--seed", "1", "--k", "3") == 2
    assert "RunError: run holds a survey of other seed (0; asked for 1)" in capsys.readouterr().err


def test_no_other_result_takes_the_folder_of_a_survey(surveyed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sealed = (surveyed / "result.json").read_bytes()
    for verb in (("visualize", "tabby"), ("dream", "sample:cat"), ("invert", "sample:cat")):
        assert run(*verb, "--model", "net.py:make", "--steps", "2", "-o", "run") == 2
        assert "run holds the result of phosphene survey; name another folder with -o" in capsys.readouterr().err
    assert (surveyed / "result.json").read_bytes() == sealed
    assert run("visualize", "tabby", "--model", "net.py:make", "-o", "net.py") == 2
    assert "net.py is a file; name a folder with -o" in capsys.readouterr().err


def test_co_activation_is_kept_when_asked(place: Path) -> None:
    run(
        "survey",
        "photos/",
        "-o",
        "run/",
        "--model",
        "net.py:make",
        "--keep",
        "co-activation",
        "--layers",
        "logits",
        "--quiet",
    )
    assert [path.name for path in (place / "run" / "similar").iterdir()] == ["logits.npy"]


def test_an_accumulator_of_a_plugin_is_kept_read_and_resumed(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = ("survey", "photos/", "-o", "run/", "--model", "net.py:make", "--layers", "0.0", "--quiet")
    plugin = ("--plugin", str(PLUGIN))
    try:
        assert run(*own, "--only", "moments,sparsity", "--keep", "peak-rows", *plugin) == 3
        assert run(*own, "--only", "moments,sparsity", "--keep", "peak-rows", *plugin) == 3
        assert run("survey", "--help", *plugin) == 0
        assert "peak-rows" in capsys.readouterr().out
    finally:
        Accumulator.table.pop("peak-rows", None)
    opened = Run("run/")  # tables are read without the plugin
    assert opened.tables == ("images", "peak_rows", "units")
    assert opened.table("peak_rows", "0.0", 0)["images"].sum() == 11
    assert run("query", "run/", "select sum(images) from peak_rows where channel = 0") == 0
    assert capsys.readouterr().out.split()[-1] == "11"
    assert run(*own, "--only", "moments,sparsity", "--keep", "peak-rows") == 2
    assert "no accumulator is called 'peak-rows'" in capsys.readouterr().err
    assert run(*own, "--only", "moments,sparsity") == 2
    assert "with the accumulator 'peak-rows', which is not known here" in capsys.readouterr().err


def test_the_laws_hold_for_an_accumulator_of_a_plugin() -> None:
    tests = Path(__file__).parents[2]
    options = ("-q", "-p", "no:cacheprovider", "-k", "peak-rows", "--plugin", str(PLUGIN))
    command = [sys.executable, "-m", "pytest", str(tests / "laws" / "test_accumulators.py"), *options]
    done = subprocess.run(command, cwd=tests.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "passed" in done.stdout


def test_without_o_the_first_source_names_the_run(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = "--model", "net.py:make", "--layers", "logits", "--quiet"
    assert run("survey", "photos/", *own) == 3
    assert run("survey", "photos/class-0/0003.png", *own) == 0
    assert "units of 1 layer, " in capsys.readouterr().out
    assert {path.name for path in (place / "phosphene-out" / "survey").iterdir()} == {"photos", "0003"}


@pytest.mark.parametrize(("name", "code"), [("phtos", 2), ("photos/gone.png", 3)])
def test_a_path_that_is_not_there(place: Path, name: str, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("survey", name, "-o", "run/", "--model", "net.py:make", "--quiet") == code
    told = capsys.readouterr()
    assert told.err.count(f"{name} does not exist") == 1
    assert "next:" not in told.out
    assert (place / "run").exists() == (code == 3)


@pytest.mark.parametrize("option", ["--workers", "--batch", "--limit", "--k"])
def test_none_is_too_few(place: Path, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("survey", "photos/", "-o", "run/", "--model", "net.py:make", option, "0") == 2
    assert f"OptionError: {option[2:]} is 0; " in capsys.readouterr().err
    assert not (place / "run").exists()


def test_a_sound_run_verifies_and_a_damaged_one_is_named(surveyed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("verify", "run/") == 0
    assert "8 of 8 files of run/ are as they were written" in capsys.readouterr().out
    path = surveyed / "units.parquet"
    path.write_bytes(path.read_bytes()[:-1])
    assert run("verify", "run/") == 3
    assert "units.parquet has" in capsys.readouterr().err
    assert run("query", "run/", "select * from units") == 2
    assert "RunError" in capsys.readouterr().err


def test_sql_is_answered_and_cannot_write(surveyed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("query", "run/", "select count(*) as units from units") == 0
    assert capsys.readouterr().out.split() == ["units", "19"]
    assert run("query", "run/", "select layer, channel from units order by channel limit 2", "--json") == 0
    assert len(json.loads(capsys.readouterr().out)) == 2
    assert run("query", "run/", "select 'nan'::double as a, '-inf'::float as b, 1.5 as c", "--json") == 0
    assert json.loads(capsys.readouterr().out, parse_constant=pytest.fail) == [{"a": None, "b": None, "c": 1.5}]
    assert run("query", "run/", f"copy units to '{surveyed / 'x.csv'}'") == 2
    assert not (surveyed / "x.csv").exists()


@pytest.mark.parametrize("verb", ["verify", "query"])
def test_a_folder_that_is_no_run(place: Path, capsys: pytest.CaptureFixture[str], verb: str) -> None:
    assert run(verb, "photos/", *(["select 1"] if verb == "query" else [])) == 2
    assert "RunError: " in capsys.readouterr().err


def test_neighbors_of_an_image_of_the_run_and_of_another(surveyed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new = photographs(surveyed.parent / "new", 20) / "class-0" / "0018.png"
    assert run("neighbors", "run/", "0003.png", str(new), "--k", "4", "--model", "net.py:make", "-o", "near/") == 0
    told = capsys.readouterr().out
    assert "0003.png by features" in told
    assert "  class-0  " in told
    assert ".png" in told.splitlines()[1]
    record = json.loads((surveyed.parent / "near" / "0003" / "result.json").read_text())
    assert len(record["features"]) == len(record["pixels"]) == 4
    assert (surveyed.parent / "near" / "0018" / "neighbors.png").exists()
    assert run("neighbors", "run/", "0033.png", "-o", "near/") == 2
    assert "has no image '0033.png'; did you mean" in capsys.readouterr().err


def test_a_map_keeps_its_places_when_others_are_put_on_it(surveyed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("map", "run/", "--method", "pca", "-o", "map/") == 0
    before = (surveyed.parent / "map" / "map.parquet").read_bytes()
    new = photographs(surveyed.parent / "new", 20) / "class-0" / "0018.png"
    known = surveyed.parent / "photos" / "class-0" / "0003.png"
    more = ("--place", str(new), "--place", str(known), "--model", "net.py:make")
    assert run("map", "run/", "--method", "pca", "-o", "map/", *more) == 0
    assert (surveyed.parent / "map" / "map.parquet").read_bytes() == before
    placed = json.loads((surveyed.parent / "map" / "result.json").read_text())["placed"]
    assert [Path(picture["source"]).name for picture in placed] == ["0018.png", "0003.png"]
    assert placed[1]["nearest"].endswith("0003.png")
    assert {path.name for path in (surveyed.parent / "map").iterdir()} >= {"map.png", "thumbnails.png", "mosaic.png"}
    assert run("map", "run/", "--method", "pca", "--dims", "3", "-o", "map/") == 0  # another map takes its place
    assert (surveyed.parent / "map" / "map.parquet").read_bytes() != before
