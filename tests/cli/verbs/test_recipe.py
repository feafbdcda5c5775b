"""A recipe of a plugin is a verb of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.test_cli import place, run

PLUGIN = ("--plugin", str(Path(__file__).parents[3] / "examples" / "plugins" / "style_transfer.py"))
MODEL = ("--model", "net.py:make")
__all__ = ["place"]  # the folder with a network and two pictures


def test_it_is_run_saved_and_helped(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pair = ("style-transfer", "one.png", "two.png", *MODEL)
    assert run(*pair, "--steps", "3", "--animate", "gif", "-o", "out", *PLUGIN) == 0
    record = json.loads((place / "out" / "result.json").read_text())
    assert (record["verb"], record["options"]["steps"]) == ("style-transfer", 3)
    assert [Path(source["path"]).name for source in record["inputs"]] == ["one.png", "two.png"]
    assert [file["path"] for file in record["files"]][-1] == "steps.gif"
    assert not (place / "out" / ".phosphene" / "state").exists()
    assert run(*pair, "--steps", "2", "-o", "out", *PLUGIN) == 0  # replaces its own
    assert run(*pair, "--steps", "2", *PLUGIN) == 0
    assert (place / "phosphene-out" / "style-transfer" / "one-two" / "result.json").exists()
    capsys.readouterr()
    assert run("style-transfer", "--help", *PLUGIN) == 0
    assert "--weight" in capsys.readouterr().out


def test_what_is_no_recipe_is_no_verb(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("style-transfr", "one.png", *MODEL) == 2
    assert "there is no verb 'style-transfr'" in capsys.readouterr().err
    assert run("style-transfer", "one.png", "gone.png", *MODEL, *PLUGIN) == 2
    assert "gone.png does not exist" in capsys.readouterr().err
    assert not (place / "phosphene-out").exists()
