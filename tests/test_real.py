"""Real runs: the embedded network on real photographs, judged by numbers."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest
import torch

import phosphene as ph
from phosphene.core.images.image import Picture, find, resize
from phosphene.zoo.samples import SAMPLES, sample

CATS = {"tabby", "tiger cat", "Egyptian cat"}


@pytest.fixture(scope="module")
def network() -> ph.Network:
    return ph.load()


@pytest.fixture(scope="module")
def beside(network: ph.Network) -> torch.Tensor:
    """The cat in the upper left quarter, three other photographs in the others."""
    cells = [
        resize(network.prepare(ph.image(sample(name))).images, (112, 112))
        for name in ("cat", "coffee", "rocket", "flower")
    ]
    return torch.cat([torch.cat(cells[:2], 3), torch.cat(cells[2:], 3)], 2)


@pytest.mark.parametrize("name", SAMPLES)
def test_every_sample_can_be_read(name: str) -> None:
    assert min(ph.image(sample(name)).pixels.shape[:2]) > 200


def test_the_cat_is_a_cat(network: ph.Network) -> None:
    best = network.predict(network.prepare(ph.image(sample("cat"))).images)[0]
    assert best[0].label in CATS
    assert CATS == {each.label for each in best[:3]}


OCCLUSION = ph.Occlusion(patch=32, stride=32, fill="blur")


@pytest.mark.parametrize("method", ["grad-cam", "cam", "layer-cam", "guided-grad-cam", OCCLUSION], ids=str)
def test_maps_of_the_cat_lie_on_the_cat(network: ph.Network, beside: torch.Tensor, method: str) -> None:
    values = ph.attribute(network, beside, "tabby", method=method).values
    mass = values.abs().sum(1)[0] if values.shape[1] == 3 else values[0, 0].clamp(min=0)
    assert mass[:112, :112].sum() > 0.5 * mass.sum()  # a map that knows nothing has a quarter there


def test_grad_cam_tells_the_cat_from_the_cup(network: ph.Network, beside: torch.Tensor) -> None:
    cat, cup = (ph.attribute(network, beside, label, method="grad-cam").values[0, 0] for label in ("tabby", "espresso"))
    assert cat[:112, :112].sum() > cat[:112, 112:].sum()
    assert cup[:112, 112:].sum() > cup[:112, :112].sum()


def test_integrated_gradients_add_up_on_a_photograph(network: ph.Network) -> None:
    images = network.prepare(ph.image(sample("coffee"))).images
    found = ph.attribute(network, images, "espresso", method=ph.IntegratedGradients(steps=50))
    with torch.no_grad():
        start = network(torch.full_like(images, 0.5))[0, network.index("espresso")].item()
    assert found.values.sum().item() == pytest.approx(found.scores.item() - start, rel=0.15)


def test_the_labels_of_a_folder_of_photographs(network: ph.Network) -> None:
    """Most best guesses are right on the folder named by PHOSPHENE_IMAGES, and without it on samples."""
    folder = os.environ.get("PHOSPHENE_IMAGES")
    table = Path(folder).with_name("images.csv") if folder else None
    if table is not None and table.is_file():
        rows = list(csv.DictReader(table.read_text().splitlines()))[::5]
        pairs = [(Path(str(folder)) / row["file"], int(row["index"])) for row in rows]
    else:
        pairs = [(sample("coffee"), network.index("espresso")), (sample("rocket"), network.index("missile"))]
    best = [network.predict(network.prepare(ph.image(path)).images, 1)[0][0].index for path, _ in pairs]
    right = sum(guess == index for guess, (_, index) in zip(best, pairs, strict=True))
    assert right >= (0.8 * len(pairs) if folder else 1)


def test_a_folder_of_photographs_is_read_to_the_last(network: ph.Network, tmp_path: Path) -> None:
    folder = os.environ.get("PHOSPHENE_IMAGES")
    paths = list(find([folder]))[::25] if folder else [sample(name) for name in SAMPLES]
    for path in paths:
        picture = ph.image(path)
        images, box = network.prepare(picture)
        assert isinstance(picture, Picture)
        assert images.shape == (1, 3, 224, 224)
        assert 0 <= images.min() <= images.max() <= 1
        assert 0 <= box.top < box.bottom <= picture.height
        assert 0 <= box.left < box.right <= picture.width
