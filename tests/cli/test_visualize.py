"""`phosphene visualize` as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.test_cli import NET, run


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NET)
    return tmp_path


def test_pictures_scores_and_what_the_network_makes_of_them(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    targets = ("goldfish", "0.0:3", "tabby - goldfish")
    assert run("visualize", *targets, "--model", "net.py:make", "--steps", "20", "-o", "out", "--json") == 0
    record = json.loads(capsys.readouterr().out)
    assert [each["target"] for each in record["results"]] == list(targets)
    assert record["options"]["name"] == "best"
    written = {path.name for path in (place / "out").iterdir()}
    assert written == {"goldfish.png", "0.0-3.png", "tabby-goldfish.png", "scores.npy", "result.json"}


def test_the_lecture_and_its_ablation_sheet(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    how = ("--model", "net.py:make", "--manner", "lecture", "--steps", "5", "--clip-norm", "0.4", "--ablate")
    assert run("visualize", "goldfish", *how) == 0
    folder = place / "phosphene-out" / "visualize" / "goldfish"
    assert (folder / "ablation.png").exists()
    assert json.loads((folder / "result.json").read_text())["options"]["clip_norm"] == 0.4
    assert "seen as" in capsys.readouterr().out


def test_an_option_of_the_other_manner_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("visualize", "goldfish", "--model", "net.py:make", "--manner", "lecture", "--crops", "3") == 2
    assert "--crops is not an option of --manner lecture" in capsys.readouterr().err


def test_a_class_that_is_not_there(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("visualize", "goldfsh", "--model", "net.py:make") == 2
    assert "TargetError: small has no class 'goldfsh'" in capsys.readouterr().err.replace("net.py:make", "small")
