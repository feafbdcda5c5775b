"""A real survey of a tiny network over a few small pictures, for tests that want numbers which hold together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

import nets
from phosphene.core.networks.network import Network
from phosphene.survey.engine.survey import survey
from phosphene.survey.store.run import Run

CLASSES = ("goldfish", "otter", "tabby")
PER_CLASS = 4


def surveyed(folder: Path, name: str = "gap", *, labels: str = "auto", k: int = 5) -> tuple[Run, Network]:
    """A tiny network, and its survey over four pictures of each of three classes; the network knows no otter.

    Args:
        folder: for the photographs and the run.
        name: of the network.
        labels: as `survey` takes it.
        k: patches of each unit.
    """
    network = nets.build(name)
    for number in range(PER_CLASS * len(CLASSES)):
        random = np.random.default_rng(number)
        small = Image.fromarray(random.integers(0, 256, (6, 9, 3), np.uint8))
        path = folder / "photos" / CLASSES[number % 3] / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        small.resize((60, 40), Image.Resampling.BICUBIC).save(path)
    layers = [layer for layer in ("features.3", "features", "norm") if layer in network.layers]
    return survey(
        network, folder / "photos", folder / "run", layers=[*layers, "logits"], k=k, labels=labels, workers=1
    ), network
