"""Networks of torchvision: their own preprocessing and labels, weights from a file, and no internet."""

import urllib.error

import pytest
import torch
from torchvision import models

from phosphene import zoo
from phosphene.core.checkpoints import checkpoint
from phosphene.core.errors import CheckpointError, NetworkError


@pytest.fixture(scope="module")
def resnet():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return models.resnet18(weights=None).eval()


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_weights_from_a_file(ending, resnet, tmp_path):
    path = tmp_path / f"mine{ending}"
    if ending == ".pth":
        torch.save({"state_dict": {f"module.{name}": value for name, value in resnet.state_dict().items()}}, path)
    else:
        checkpoint.save(resnet, path)
    network = zoo.load("torchvision:resnet18", weights=path)
    images = torch.rand(2, 3, 224, 224)
    with torch.no_grad():
        assert torch.allclose(network(images), resnet(network.preprocess.normalize(images)), atol=1e-5)
    assert network.name == "torchvision:resnet18"
    assert network.labels[281] == "tabby"
    assert network.sha256 == checkpoint.load(path).sha256
    assert network.notes[0] == "preprocessing of ResNet18_Weights.IMAGENET1K_V1"


def test_classes_of_the_file(tmp_path):
    path = checkpoint.save(models.resnet18(num_classes=10), tmp_path / "ten.safetensors")
    network = zoo.load("torchvision:resnet18", weights=path, classes=10)
    assert (network.labels, network.module.fc.out_features) == ((), 10)
    with pytest.raises(CheckpointError, match="the file has 10 classes and the network 1000: pass classes=10"):
        zoo.load("torchvision:resnet18", weights=path)


@pytest.mark.parametrize(
    ("name", "size", "crop", "interpolation"),
    [
        ("resnet50", 224, 224 / 232, "bilinear"),
        ("resnet50.IMAGENET1K_V1", 224, 224 / 256, "bilinear"),
        ("efficientnet_b3", 300, 300 / 320, "bicubic"),
    ],
)
def test_preprocessing_is_that_of_the_weights(name, size, crop, interpolation):
    wanted = zoo.load(f"torchvision:{name}", weights="random").preprocess
    assert (wanted.size, wanted.crop, wanted.interpolation) == ((size, size), crop, interpolation)
    assert wanted.mean == (0.485, 0.456, 0.406)


def test_old_names_of_densenet(tmp_path):
    module = models.densenet121(weights=None)
    old = {
        name.replace(".norm1.", ".norm.1.").replace(".conv2.", ".conv.2."): value
        for name, value in module.state_dict().items()
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    network = zoo.load("torchvision:densenet121", weights=checkpoint.save(old, tmp_path / "old.safetensors"))
    assert torch.equal(network.module.features.conv0.weight, module.features.conv0.weight)


@pytest.mark.parametrize("aux", [True, False])
def test_googlenet_with_and_without_auxiliary_heads(aux, tmp_path):
    module = models.googlenet(weights=None, init_weights=False, aux_logits=aux)
    network = zoo.load("torchvision:googlenet", weights=checkpoint.save(module, tmp_path / "g.safetensors"))
    assert network.module.transform_input
    assert network(torch.rand(1, 3, 224, 224)).shape == (1, 1000)


def test_own_weights_are_fetched_once_and_read_by_our_loader(resnet, tmp_path, monkeypatch):
    fetched = []

    def fetch(url, target, digits, progress):
        fetched.append((url, digits))
        torch.save(resnet.state_dict(), target)

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    for _ in range(2):
        network = zoo.load("torchvision:resnet18")
        assert torch.equal(network.module.fc.weight, resnet.fc.weight)
        assert len(network.sha256) == 64
    ((url, digits),) = fetched
    assert digits in url
    assert len(digits) == 8


@pytest.mark.parametrize("error", [urllib.error.URLError("no route to host"), RuntimeError("invalid hash value")])
def test_without_the_internet(error, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    with pytest.raises(
        NetworkError, match=r"torchvision:resnet18 are not on this computer.*pass weights with a file"
    ) as caught:
        zoo.load("torchvision:resnet18")
    assert "://" not in str(caught.value)


def test_unknown_weights():
    with pytest.raises(NetworkError, match="has no weights 'V1'; "):
        zoo.load("torchvision:resnet18.V1")
