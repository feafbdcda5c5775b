"""A survey whose photographs and network are there: what projections, plates and their parts are tested on."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

import nets
from phosphene.core.networks.network import Network
from phosphene.survey.engine.survey import survey
from phosphene.survey.store.run import Run

PICTURES = 7


class Plated(NamedTuple):
    """A network with a hash of its weights, and its survey of seven photographs, the last a copy of the first."""

    network: Network
    run: Run


@pytest.fixture(scope="module")
def plated(tmp_path_factory: pytest.TempPathFactory) -> Plated:
    return plate_of("gap", tmp_path_factory.mktemp("plated"))


@pytest.fixture
def own(tmp_path: Path) -> Plated:
    """The same, to be damaged."""
    return plate_of("gap", tmp_path)


@pytest.fixture
def dead(tmp_path: Path) -> Plated:
    """The same of a network whose last layer never fires."""
    return plate_of("dead", tmp_path)


def plate_of(name: str, folder: Path) -> Plated:
    network = dataclasses.replace(nets.build(name), sha256="5" * 64)
    photos = folder / "photos"
    photos.mkdir()
    for number in range(PICTURES - 1):
        small = np.random.default_rng(number).integers(0, 256, (7, 10, 3), np.uint8)
        Image.fromarray(small).resize((70, 50), Image.Resampling.BICUBIC).save(photos / f"{number}.png")
    shutil.copyfile(photos / "0.png", photos / f"{PICTURES - 1}.png")
    layers = [name for name in ("features.0", "features.5", "two") if name in network.layers]
    return Plated(network, survey(network, photos, folder / "run", layers=[*layers, "logits"], k=PICTURES, workers=1))
