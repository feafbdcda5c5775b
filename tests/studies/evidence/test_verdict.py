"""What is said under a synthetic picture holds for the file, the photographs and the other network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import nets
from phosphene.core.images import image
from phosphene.core.networks.network import Network, Preprocess
from phosphene.core.objectives.units import Neuron
from phosphene.studies.evidence.reference_levels import reference_levels
from phosphene.studies.evidence.verdict import Verdict, verdicts
from phosphene.synthesis.recipes.visualize import visualize
from phosphene.synthesis.settings.preset import Lecture


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    for number in range(3):
        levels = np.random.default_rng(number).integers(0, 256, (9, 9, 3), np.uint8)
        Image.fromarray(levels).resize((128, 128), Image.Resampling.BICUBIC).save(tmp_path / f"{number}.png")
    return tmp_path


def test_all_that_is_known_is_said(photographs: Path) -> None:
    network, second = nets.build("gap"), nets.build("functional")
    visualization = visualize(network, ["goldfish", "features.5:3"], preset=Lecture(steps=2))
    fish, unit = verdicts(network, visualization, source=photographs, second=second)
    assert str(fish).startswith("goldfish: ")
    assert "of 3 natural images" in str(fish)
    assert "; functional: rank " in str(fish)
    assert fish.second is not None
    assert fish.manifest()["second"]["rank"] == fish.second.rank
    assert unit.second is None
    assert unit.peak is not None
    assert unit.peak >= unit.activation  # the greatest place, and the mean of all
    assert "second" not in unit.manifest()


def test_nothing_is_compared_where_nothing_is_given() -> None:
    network = nets.build("gap")
    (fish,) = verdicts(network, visualize(network, "goldfish", preset=Lecture(steps=2)))
    assert (fish.reference, fish.peak, fish.second) == (None, None, None)
    assert fish.manifest().keys() == {"target", "activation", "rank", "predictions"}


def test_neurons_painted_in_a_window_are_held_against_the_same_neurons(photographs: Path) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
    network = Network(module.eval(), Preprocess((128, 128), (0.5,) * 3, (0.25,) * 3))
    wish = Neuron("0", 1, 40, 50) - Neuron("0", 2, 42, 50)
    visualization = visualize(network, wish, preset=Lecture(steps=2))
    assert visualization.images.shape[2:] != (128, 128)
    (told,) = verdicts(network, visualization, source=photographs)
    assert told.reference is not None
    assert told.reference == reference_levels(photographs, network, [wish]).levels[0]
    images = [network.prepare(image.load(path)).images for path in photographs.iterdir()]
    assert told.reference.maximum == pytest.approx(
        max(wish(network.tap(pixels, ["0"])).item() for pixels in images), rel=1e-4
    )


def test_only_a_rank_behind_the_first_is_named() -> None:
    assert str(Verdict("fish", 1.0, 1, ())) == "fish: 1"
    assert str(Verdict("fish", 1.0, 2, ())) == "fish: 1; rank 2"
