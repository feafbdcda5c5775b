"""`phosphene plate` as a user types it."""

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


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a network, five pictures and their survey."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "photos").mkdir()
    for seed in range(5):
        levels = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
        resized = Image.fromarray(levels).resize((64, 48), Image.Resampling.BICUBIC)
        resized.save(tmp_path / "photos" / f"{seed}.png")
    options = ("--model", "net.py:make", "--layers", "0.1", "--layers", "0.3", "--workers", "1", "--quiet")
    assert run("survey", "photos", "-o", "run", *options) == 0
    return tmp_path


def run(*args: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main([*args])
    return int(caught.value.code or 0)


def test_a_plate_and_what_stands_on_it(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    options = ("--units", "1,3", "--k", "4", "--model", "net.py:make", "--check", "-o", "out", "--quiet")
    assert run("plate", "run", "--layer", "0.3", *options) == 0
    said = capsys.readouterr().out
    assert "0.3: 2 units" in said
    assert "projected by guided-backprop: net.py:make has no max pooling" in said
    assert "falls by" in said
    manifest = json.loads((place / "out/result.json").read_text())
    assert manifest["verb"] == "plate"
    assert manifest["units"] == ["0.3:1", "0.3:3"]
    assert manifest["options"]["method"] == "guided-backprop"
    assert all((place / "out" / entry["path"]).is_file() for entry in manifest["files"])


def test_several_layers_go_into_folders_and_one_that_is_not_there_stops_none(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--layer", "0.1", "--layer", "0.9", "--layer", "0.3", "--model", "net.py:make", "-o", "out", "--quiet")
    assert run("plate", "run", *options) == 3
    assert "LayerError" in capsys.readouterr().err
    assert (place / "out/0.1/plate-0.1.png").is_file()
    assert (place / "out/0.3/plate-0.3.png").is_file()


def test_another_network_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = ("--model", "torchvision:resnet18", "--weights", "random")
    code = run("plate", "run", "--layer", "0.3", *other, "-o", "out", "--quiet")
    said = capsys.readouterr().err
    assert code == 2
    assert "RunError: run is a survey of net.py:make (weights from no file), and this is" in said
