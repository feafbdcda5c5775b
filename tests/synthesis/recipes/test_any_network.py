"""visualize() on networks of every kind: it climbs, the picture shows something, and the network is left as found."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import timm
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn

from phosphene import zoo
from phosphene.core.networks.network import Network, Preprocess
from phosphene.synthesis.recipes.visualize import Visualization, visualize
from phosphene.synthesis.settings.preset import Best, Lecture


def small(network: Network, side: int) -> Network:
    """The same network for small pictures."""
    return dataclasses.replace(network, preprocess=dataclasses.replace(network.preprocess, size=(side, side)))


def vit() -> Network:
    torch.manual_seed(0)
    module = timm.create_model("vit_small_patch16_224", pretrained=False, img_size=64, num_classes=10)
    return Network(module.eval(), Preprocess((64, 64)), name="vit_small")


# Layers of every sort: a linear bottleneck, a ReLU6 inside a norm, the sum of a residual block, channels last, tokens.
NETWORKS: dict[str, tuple[Callable[[], Network], list[str]]] = {
    "efficientnet-lite0": (lambda: small(zoo.load(), 64), ["goldfish", "blocks.2.1:5", "blocks.3.0.bn1:7"]),
    "resnet50": (lambda: small(zoo.load("torchvision:resnet50", weights="random"), 64), ["goldfish", "layer2:5"]),
    "vgg16": (lambda: small(zoo.load("torchvision:vgg16", weights="random"), 32), ["goldfish", "features.15:5"]),
    "convnext_tiny": (lambda: small(zoo.load("timm:convnext_tiny", weights="random"), 64), ["3", "stages.1:5"]),
    "vit_small": (vit, ["3", "blocks.5:5"]),
}

# What means something survives crops; random weights mean nothing, and are asked about the picture as it is.
STILL = Best(steps=24, crops=1, min_crop=1.0, noise=0.0, color_shift=0.0, mirror=False)


@pytest.mark.parametrize("name", NETWORKS)
def test_any_network(name: str) -> None:
    make, targets = NETWORKS[name]
    network = make()
    network.module.train()
    before = {key: value.clone() for key, value in network.module.state_dict().items()}
    learns = [parameter.requires_grad for parameter in network.module.parameters()]
    result = visualize(network, targets, preset=Best(steps=24) if name.startswith("efficientnet") else STILL)
    shows_something(result)
    assert (result.scores[-4:].mean(0) > result.scores[:4].mean(0)).all()
    assert network.module.training
    assert all(torch.equal(value, before[key]) for key, value in network.module.state_dict().items())
    assert [parameter.requires_grad for parameter in network.module.parameters()] == learns
    assert all(parameter.grad is None for parameter in network.module.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.module.modules())


def shows_something(result: Visualization) -> None:
    images = result.images
    assert images.isfinite().all()
    assert images.flatten(1).std(1).min() > 0.02  # not grey
    assert ((images < 0.01) | (images > 0.99)).float().flatten(1).mean(1).max() < 0.2  # not saturated


@pytest.fixture(scope="module")
def digits() -> Network:
    """Three layers, 28 × 28 grey pixels, trained on digits that are moved a little and noisy."""
    pixels, labels = load_digits(return_X_y=True)
    images = F.interpolate(torch.tensor(pixels / 16).float().view(-1, 1, 8, 8), (28, 28), mode="bilinear")
    digit, generator = torch.tensor(labels), torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    convolutions = (nn.Conv2d(1, 16, 5, 2, 2), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU())
    module = nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(32 * 7 * 7, 10))
    adam = torch.optim.Adam(module.parameters(), 2e-3)
    for batch in torch.randint(1200, (250, 50), generator=generator):
        moved = images[batch].roll(torch.randint(-2, 3, (2,), generator=generator).tolist(), (2, 3))
        moved = moved + 0.3 * torch.randn(moved.shape, generator=generator)
        loss = F.cross_entropy(module((moved - 0.2) / 0.35), digit[batch])
        adam.zero_grad()
        loss.backward()
        adam.step()
    network = Network(module.eval(), Preprocess((28, 28), (0.2,), (0.35,), crop=1.0, order="grey"), name="digits")
    answers = network(images[1200:].expand(-1, 3, -1, -1)).argmax(1)
    assert (answers == digit[1200:]).float().mean() > 0.9
    return network


def test_digits_as_a_small_grey_network_wants_them(digits: Network) -> None:
    result = visualize(digits, range(10))
    shows_something(result)
    images = result.images
    assert images.shape == (10, 3, 28, 28)
    assert torch.equal(images[:, 0], images[:, 1])
    assert torch.equal(images[:, 0], images[:, 2])
    assert sum(rank == 1 for rank in result.ranks) >= 9
    assert [note for note in result.notes if "mirrored" in note or "no colors" in note or "small" in note]
    assert matches(images[:, 0]) >= 8


def matches(pictures: Tensor) -> int:
    """How many of ten pictures look most like the mean of their own digit, as people write it."""
    pixels, labels = load_digits(return_X_y=True)
    written = torch.stack([torch.tensor(pixels[labels == digit]).float().mean(0) for digit in range(10)])
    seen = F.interpolate(pictures[:, None], (8, 8), mode="bilinear", antialias=True).flatten(1)
    alike = torch.corrcoef(torch.cat([seen, written]))[:10, 10:]
    return int((alike.argmax(1) == torch.arange(10)).sum())


def test_a_network_of_one_oblong_size() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 8, 5, 2, 2), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 12 * 20, 4))
    network = Network(module.eval(), Preprocess((24, 40), (0.5,) * 3, (0.25,) * 3), name="oblong")
    result = visualize(network, [0, "1:5"], preset=Best(steps=8))
    assert result.images.shape == (2, 3, 24, 40)


class Dead(nn.Module):
    """Channel 0 rests far below its threshold, channel 1 has lost its weights, channel 2 is well."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.relu = nn.Conv2d(3, 3, 3, padding=1), nn.ReLU(inplace=True)
        self.conv.bias.data = torch.tensor([-50.0, -1.0, 0.0])
        self.conv.weight.data[1] = 0

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.conv(x)).mean((2, 3))


@pytest.mark.parametrize("preset", [Best(steps=20), Lecture(steps=20)])
def test_the_dead_are_called_dead_and_do_not_spoil_the_others(preset: Best | Lecture) -> None:
    network = Network(Dead(), Preprocess((32, 32), (0.5,) * 3, (0.25,) * 3), name="ailing")
    result = visualize(network, ["relu:0", "relu:1", "relu:2"], preset=preset, size=(32, 32))
    assert result.images.isfinite().all()
    assert result.activations[:2] == (0.0, 0.0)
    assert result.activations[2] > 0.1
    notes = "\n".join(result.notes)
    assert "no gradient of relu:0 reaches the first picture: ReLUs are redirected in the first 16 steps" in notes
    assert "relu:1 is dead: 0 on all photographs" in notes
