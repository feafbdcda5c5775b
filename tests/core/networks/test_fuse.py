"""Fused networks: the same activations and names, fewer operations, and no layer changed that is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

import nets
from phosphene.core.errors import NetworkError
from phosphene.core.networks.fuse import fused
from phosphene.core.networks.network import Network, Preprocess
from phosphene.zoo import load

WHITE = Preprocess((32, 32), (0.0,) * 3, (1.0,) * 3)


def disturbed(module: nn.Module) -> nn.Module:
    """In evaluation mode, with batch norms that change their input."""
    generator = torch.Generator().manual_seed(0)
    for norm in module.modules():
        if isinstance(norm, nn.modules.batchnorm._BatchNorm) and norm.running_var is not None:
            for values, low, high in ((norm.running_mean, -0.3, 0.3), (norm.running_var, 0.5, 1.5)):
                values.uniform_(low, high, generator=generator)
            if norm.affine:
                nn.init.uniform_(norm.weight, 0.5, 1.5, generator=generator)
                nn.init.uniform_(norm.bias, -0.3, 0.3, generator=generator)
    return module.eval()


def small(module: nn.Module) -> Network:
    return Network(disturbed(module), WHITE)


def norms(network: Network) -> int:
    """The number of batch norms that are not folded."""
    return sum(getattr(module, "running_var", None) is not None for module in network.module.modules())


def assert_same(one: Network, other: Network, layers: Iterable[str], images: Tensor) -> None:
    """The same values at some layers, and the same gradient of all of them."""
    layers = [*layers, "logits"]
    values, expected, gradients = {}, {}, []
    for network, into in ((other, values), (one, expected)):
        leaf = images.clone().requires_grad_()
        into.update(network.tap(leaf, layers))
        total = sum(maps.square().mean() for maps in into.values())
        gradients.append(torch.autograd.grad(total, leaf)[0])
    # Within rounding of 0 a ReLU may be active or not, so gradients agree in direction, not in every pixel.
    assert torch.cosine_similarity(*(maps.flatten() for maps in gradients), dim=0) > 0.9999
    for name, maps in expected.items():
        apart = (values[name] - maps).abs().max() / maps.abs().max().clamp(min=1e-12)
        assert apart < 1e-4, f"{name} differs by {apart:.1e} of its largest value"
        assert values[name].shape == maps.shape


REAL: dict[str, Callable[[], Network]] = {
    "efficientnet-lite0": load,
    "resnet50": lambda: Network(disturbed(timm.create_model("resnet50")), Preprocess((64, 64))),
    "densenet": lambda: Network(disturbed(timm.create_model("densenet121")), Preprocess((64, 64))),
    "convnext": lambda: Network(timm.create_model("convnext_tiny").eval(), Preprocess((64, 64))),
    "vit": lambda: Network(timm.create_model("vit_small_patch16_224", img_size=64).eval(), Preprocess((64, 64))),
}


@pytest.mark.parametrize("name", nets.NETS)
def test_a_fused_tiny_network_is_the_same(name: str) -> None:
    network = nets.build(name)
    fast = fused(network)
    layers = [name for name, layer in network.layers.items() if layer.kind != "Conv2d" and layer.layout != "other"]
    assert_same(network, fast, layers, nets.pictures())
    assert norms(fast) == 0


@pytest.mark.parametrize(("name", "left"), [("efficientnet-lite0", 0), ("resnet50", 0), ("densenet", 62)])
def test_real_networks_are_fused_and_unchanged(name: str, left: int) -> None:
    network = REAL[name]()
    network.module.train()
    before = {key: value.clone() for key, value in network.module.state_dict().items()}
    layers = [key for key in network.layers if key.endswith(("bn1", "norm1", "act", "conv3", "2"))][:40]
    fast = fused(network, layers)
    assert fast.layers == network.layers
    assert norms(fused(network)) <= left < norms(network)
    images = torch.rand(2, 3, *network.preprocess.size)
    assert_same(network, fast, layers, images)
    after = network.module.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items())
    assert network.module.training
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.module.modules())


@pytest.mark.parametrize("name", ["convnext", "vit"])
def test_without_batch_norms_there_is_nothing_to_fold(name: str) -> None:
    network = REAL[name]()
    assert_same(network, fused(network), list(network.layers)[:12], torch.rand(1, 3, 64, 64))


def test_a_fused_copy_shares_all_weights_but_the_folded_ones() -> None:
    network = nets.build("gap")
    fast = fused(network, channels_last=False)
    mine, theirs = dict(fast.module.named_parameters()), dict(network.module.named_parameters())
    assert {name for name in theirs if name not in mine} == {"features.1.weight", "features.1.bias"}
    assert {name for name, weight in mine.items() if weight is not theirs[name]} == {
        "features.0.weight",
        "features.0.bias",
    }


def test_fusing_a_fused_copy_again_returns_it() -> None:
    fast = fused(nets.build("gap"), ["features.2"])
    assert fused(fast, ["features.2"]) is fused(fast) is fast
    assert fused(fast, ["features.5"]) is not fast


def test_a_convolution_that_is_read_is_not_folded() -> None:
    network = nets.build("gap")
    assert norms(fused(network, ["features.0"])) == norms(network) == 1
    assert_same(network, fused(network, ["features.1"]), ["features.1"], nets.pictures())


def test_a_block_that_returns_the_output_of_a_convolution_counts_as_that_convolution() -> None:
    network = small(nn.Sequential(nn.Sequential(nn.Conv2d(3, 8, 3)), nn.BatchNorm2d(8), nn.AdaptiveAvgPool2d(1)))
    assert norms(fused(network)) == 0
    assert norms(fused(network, ["0"])) == norms(fused(network, ["0.0"])) == 1


class Net(nn.Module):
    """A convolution and a batch norm, called in different ways."""

    def __init__(self, way: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.stem, self.first = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)
        self.conv, self.norm = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.same, self.way = [self.norm], way

    def forward(self, x: Tensor) -> Tensor:
        return self.way(self, self.first(self.stem(x)).relu()).mean((2, 3))


def around(net: Net, x: Tensor) -> Tensor:
    y = net.conv(x)
    return net.norm(y) + y


WAYS: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "a skip around the norm": around,
    "an operation between them": lambda net, x: net.norm(net.conv(x) * 2),
    "another, in place": lambda net, x: net.norm(net.conv(x).relu_()),
    "the convolution twice": lambda net, x: net.norm(net.conv(net.conv(x))),
    "the norm twice": lambda net, x: net.norm(net.norm(net.conv(x))),
    "its weight, too": lambda net, x: net.norm(net.conv(x)) * net.norm.weight.mean(),
    "a reference of its own": lambda net, x: net.same[0](net.conv(x)),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_convolution_used_elsewhere_too_is_not_folded(way: str) -> None:
    network = small(Net(WAYS[way]))
    fast = fused(network)
    assert isinstance(fast.module.norm, nn.BatchNorm2d)
    assert not isinstance(fast.module.first, nn.BatchNorm2d)
    assert_same(network, fast, ["first", "norm"], nets.pictures())


def test_groups_strides_no_bias_no_affine_and_linear_layers_fold() -> None:
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, bias=False), nn.BatchNorm2d(8, affine=False), nn.ReLU(),
        nn.Conv2d(8, 16, 3, groups=4, dilation=2), nn.BatchNorm2d(16, eps=0.1), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        nn.Linear(64, 10), nn.BatchNorm1d(10), nn.Tanh(), nn.Linear(10, 4, bias=False), nn.BatchNorm1d(4),
    )  # fmt: skip
    network = small(module)
    fast = fused(network)
    assert norms(fast) == 0
    assert_same(network, fast, ["1", "4", "8", "11"], nets.pictures())


def test_norms_by_batch_statistics_and_standardized_weights_are_not_folded() -> None:
    standardized = timm.layers.StdConv2d(8, 8, 3)
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8, track_running_stats=False), standardized, nn.BatchNorm2d(8),
        nn.utils.parametrizations.weight_norm(nn.Conv2d(8, 8, 3)), nn.BatchNorm2d(8), nn.AdaptiveAvgPool2d(1),
    )  # fmt: skip
    network = small(module)
    assert norms(fused(network)) == norms(network)


def test_a_network_that_cannot_be_copied_is_returned_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Network) -> Network:
        raise NetworkError("no")

    network = nets.build("gap")
    monkeypatch.setattr(Network, "replicate", refuse)
    assert fused(network) is network


def test_a_network_that_relies_on_channels_first_in_memory_keeps_them() -> None:
    class Viewing(nets.Gap):
        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.features(x).view(len(x), -1)[:, :12])

    for module, last in ((Viewing(), False), (nets.Gap(), True)):
        fast = fused(small(module))
        assert norms(fast) == 0
        assert fast.module.features[0].weight.is_contiguous(memory_format=torch.channels_last) == last
