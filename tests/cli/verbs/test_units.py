"""`phosphene unit`, `units` and `classes` as a user types them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from phosphene.cli import main

NET = """
import torch
from torch import nn
from phosphene import Network, Preprocess

def make():
    torch.manual_seed(0)
    features = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())
    module = nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
    return Network(module, Preprocess((32, 32), (0.5,) * 3, (0.25,) * 3), ("tabby", "tiger cat", "goldfish"), "small")
"""


def run(*args: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main([*args])
    return int(caught.value.code or 0)


@pytest.fixture(scope="module")
def surveyed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a network, eight photographs and a survey of them in run/."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "net.py").write_text(NET)
    for number in range(8):
        levels = np.random.default_rng(number).integers(0, 256, (6, 8, 3), np.uint8)
        path = folder / "photos" / ("tabby", "goldfish")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(levels).resize((64, 48), Image.Resampling.BICUBIC).save(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert (
            run(
                "survey",
                "photos",
                "-o",
                "run",
                "--layers",
                "0,logits",
                "--workers",
                "1",
                "--model",
                "net.py:make",
                "--quiet",
            )
            == 0
        )
    return folder


@pytest.fixture
def place(surveyed: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(surveyed)
    return surveyed


def test_a_unit_gets_a_page_a_plate_and_a_manifest(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("unit", "run", "0:3", "--k", "4", "--quiet") == 0
    folder = place / "phosphene-out/unit/0-3"
    manifest = json.loads((folder / "result.json").read_text())
    assert manifest["verb"] == "unit"
    assert manifest["target"] == "0:3"
    assert {entry["kind"] for entry in manifest["files"]} == {"picture", "report"}
    assert all((folder / entry["path"]).is_file() for entry in manifest["files"])
    assert len(manifest["top"]) == 4
    assert "phosphene-out/unit/0-3/index.html" in capsys.readouterr().out.replace("\\", "/")


def test_one_wrong_unit_does_not_stop_the_others(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("unit", "run", "0:3", "0:3@1,1", "9:1", "-o", "some", "--quiet") == 3
    said = capsys.readouterr().err
    assert "'0:3@1,1' names a place; a unit is LAYER:CHANNEL, such as 0:3" in said
    assert "no layer '9'" in said
    assert [each.name for each in (place / "some").iterdir()] == ["0-3"]


def test_units_are_a_table_and_a_wall(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("units", "run", "--layer", "0", "--sort", "max", "--top", "3", "--quiet") == 0
    said = capsys.readouterr().out
    greatest = [float(line.split()[4]) for line in said.splitlines() if line.strip().startswith("0:")]
    assert greatest == sorted(greatest, reverse=True)
    assert len(greatest) == 3
    assert (place / "phosphene-out/units/0/wall.png").is_file()


def test_json_is_all_that_standard_output_gets(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("units", "run", "--layer", "0", "--sort", "index", "--json", "--quiet", "-o", "wall") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((place / "wall/result.json").read_text())
    assert [row["channel"] for row in printed["units"]] == list(range(8))
    assert printed["model"]["name"] == "net.py:make"


def test_the_units_of_a_class(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("classes", "run", "goldfish", "--k", "3", "--quiet") == 0
    assert "goldfish, on the 4 images labeled goldfish" in capsys.readouterr().out
    manifest = json.loads((place / "phosphene-out/classes/goldfish/result.json").read_text())
    assert len(manifest["contributions"]) == 3
    assert list(manifest["selective"]) == ["0"]


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (("unit", "none", "0:3"), "none"),
        (("units", "run", "--layer", "1"), "no layer '1'"),
        (("classes", "run", "goldfih"), "did you mean 'goldfish'"),
    ],
)
def test_errors_are_one_line(place: Path, capsys: pytest.CaptureFixture[str], args: tuple[str, ...], text: str) -> None:
    assert run(*args, "--quiet") == 2
    said = capsys.readouterr().err.strip()
    assert text in said
    assert "\n" not in said
