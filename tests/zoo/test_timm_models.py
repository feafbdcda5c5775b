"""Networks of timm: their configuration, weights from a file, and no internet."""

import pytest
import timm
import torch

from phosphene import zoo
from phosphene.core.checkpoints import checkpoint
from phosphene.core.errors import NetworkError
from phosphene.zoo import timm_models


def test_weights_from_a_file(tmp_path):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        module = timm.create_model("resnet10t", pretrained=False).eval()
    path = checkpoint.save(module, tmp_path / "mine.safetensors")
    network = zoo.load("timm:resnet10t.c3_in1k", weights=path)
    images = torch.rand(2, 3, 176, 176)
    with torch.no_grad():
        assert torch.allclose(network(images), module(network.preprocess.normalize(images)), atol=1e-5)
    assert network.preprocess.size == (176, 176)
    assert network.preprocess.interpolation == "bilinear" or network.preprocess.interpolation == "bicubic"
    assert network.preprocess.crop == module.pretrained_cfg["crop_pct"]
    assert network.labels[1] == "goldfish"


def test_other_classes_have_no_labels():
    network = zoo.load("timm:resnet10t", weights="random", classes=5)
    assert (network.labels, network.classes) == ((), 5)


def test_another_crop_mode_is_noted():
    name = next(
        name for name in timm_models.names() if timm.get_pretrained_cfg(name).crop_mode == "squash" and "tiny" in name
    )
    network = zoo.load(f"timm:{name}", weights="random")
    assert network.notes[-1] == "timm's crop mode is 'squash'; here the center is cut out"


def test_own_weights_are_those_of_timm(monkeypatch):
    made = timm.create_model("resnet10t.c3_in1k", pretrained=False)
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained: made)
    network = zoo.load("timm:resnet10t.c3_in1k")
    assert network.module is made
    assert network.notes == ("weights resnet10t.c3_in1k, read by timm",)
    assert not network.module.training
    with pytest.raises(NetworkError, match="tells 1000 classes apart with its own weights, not 3"):
        zoo.load("timm:resnet10t.c3_in1k", classes=3)


def test_without_the_internet(monkeypatch):
    def fail(*_, **__):
        raise OSError("cannot connect\nat all")

    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(
        NetworkError, match=r"timm:resnet10t are not on this computer .*\(cannot connect\); run once with"
    ):
        zoo.load("timm:resnet10t")
