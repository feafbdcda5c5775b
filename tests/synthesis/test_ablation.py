"""The ablation sheet: one switch at a time, all else the same."""

from __future__ import annotations

import torch

import nets
from phosphene.synthesis.ablation import ABLATIONS, ablate
from phosphene.synthesis.visualize import Lecture, visualize


def test_the_sheet_shows_each_alone_from_the_same_start() -> None:
    network = nets.build("gap")
    sheet = ablate(network, ["goldfish", "features.5:3"], steps=12)
    assert list(sheet.columns) == [name for name, _ in ABLATIONS]
    alone = visualize(network, ["goldfish", "features.5:3"], manner=Lecture(12, decay=0, blur=0))
    assert torch.equal(sheet.columns["none of them"].synthesis.images, alone.synthesis.images)
    rough = sheet.roughness()
    assert rough["Gaussian blur"][0] < rough["none of them"][0]
    assert rough["L2 decay"][0] < rough["none of them"][0]
    assert sheet.picture().shape[1] > 6 * 32
