"""The ablation sheet: one switch at a time, all else the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import nets
from phosphene.core.progress import Progress
from phosphene.synthesis.recipes.ablation import ABLATIONS, ablate
from phosphene.synthesis.recipes.visualize import visualize
from phosphene.synthesis.settings.preset import Lecture


def test_the_sheet_shows_each_alone_from_the_same_start() -> None:
    network = nets.build("gap")
    sheet = ablate(network, ["goldfish", "features.5:3"], preset=Lecture(12))
    assert list(sheet.columns) == [name for name, _ in ABLATIONS]
    alone = visualize(network, ["goldfish", "features.5:3"], preset=Lecture(12, decay=0, blur=0))
    assert torch.equal(sheet.columns["none of them"].images, alone.images)
    rough = sheet.roughness()
    assert rough["Gaussian blur"][0] < rough["none of them"][0]
    assert rough["L2 decay"][0] < rough["none of them"][0]
    assert sheet.picture().shape[1] > 6 * 32


def test_strengths_and_steps_of_ones_own() -> None:
    network = nets.build("gap")
    sheet = ablate(network, "goldfish", preset=Lecture(6, lr=0.02, blur=2.0))
    blurred = visualize(network, "goldfish", preset=Lecture(6, lr=0.02, decay=0, blur=2.0))
    assert torch.equal(sheet.columns["Gaussian blur"].images, blurred.images)


def test_a_killed_sheet_goes_on_with_the_column_it_was_at(tmp_path: Path) -> None:
    told: list[int] = []

    def die(progress: Progress) -> None:
        told.append(progress.done)
        if len(told) == 15:
            raise KeyboardInterrupt

    network, preset = nets.build("gap"), Lecture(6)
    with pytest.raises(KeyboardInterrupt):
        ablate(network, "goldfish", preset=preset, state=tmp_path, watch=die)
    told.clear()
    sheet = ablate(
        network, "goldfish", preset=preset, state=tmp_path, watch=lambda progress: told.append(progress.done)
    )
    assert len(told) == 4 * 6  # two columns had been finished
    assert (sheet.picture() == ablate(network, "goldfish", preset=preset).picture()).all()
