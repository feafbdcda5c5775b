"""The ablation sheet: one switch at a time, all else the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

import nets
from phosphene.synthesis.recipes.ablation import ABLATIONS, ablate
from phosphene.synthesis.recipes.preset import Lecture
from phosphene.synthesis.recipes.visualize import visualize


def test_the_sheet_shows_each_alone_from_the_same_start() -> None:
    network = nets.build("gap")
    sheet = ablate(network, ["goldfish", "features.5:3"], manner=Lecture(12))
    assert list(sheet.columns) == [name for name, _ in ABLATIONS]
    alone = visualize(network, ["goldfish", "features.5:3"], manner=Lecture(12, decay=0, blur=0))
    assert torch.equal(sheet.columns["none of them"].synthesis.images, alone.synthesis.images)
    rough = sheet.roughness()
    assert rough["Gaussian blur"][0] < rough["none of them"][0]
    assert rough["L2 decay"][0] < rough["none of them"][0]
    assert sheet.picture().shape[1] > 6 * 32


def test_strengths_and_steps_of_ones_own() -> None:
    network = nets.build("gap")
    sheet = ablate(network, "goldfish", manner=Lecture(6, lr=0.02, blur=2.0))
    blurred = visualize(network, "goldfish", manner=Lecture(6, lr=0.02, decay=0, blur=2.0))
    assert torch.equal(sheet.columns["Gaussian blur"].synthesis.images, blurred.synthesis.images)


def test_a_killed_sheet_goes_on_with_the_column_it_was_at(tmp_path: Path) -> None:
    told: list[int] = []

    def die(step: int, images: Tensor, scores: Tensor) -> None:
        told.append(step)
        if len(told) == 15:
            raise KeyboardInterrupt

    network, manner = nets.build("gap"), Lecture(6)
    with pytest.raises(KeyboardInterrupt):
        ablate(network, "goldfish", manner=manner, state=tmp_path, watch=die)
    told.clear()
    sheet = ablate(network, "goldfish", manner=manner, state=tmp_path, watch=lambda step, *_: told.append(step))
    assert len(told) == 4 * 6  # two columns had been finished
    assert (sheet.picture() == ablate(network, "goldfish", manner=manner).picture()).all()
