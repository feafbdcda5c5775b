"""Which layer feeds which, on networks with the habits that mislead tools."""

from __future__ import annotations

import timm
import torch
import torchvision
from torch import Tensor, nn

import nets
from phosphene.core.networks.connections import wiring
from phosphene.core.networks.network import Network, Preprocess


def test_a_chain_with_relu_in_place() -> None:
    given = wiring(nets.build("gap")).given
    # The in-place ReLU returns the tensor of the batch norm; the pool is given what the ReLU made of it.
    assert [given[f"features.{place}"] for place in range(1, 6)] == [f"features.{place}" for place in range(5)]
    assert "features.0" not in given  # the picture
    assert given["pool"] == "features.5"  # the leaf, not the block that ends with it


def test_the_calls_of_a_shared_module_are_told_apart() -> None:
    given = wiring(nets.build("shared")).given
    assert (given["relu"], given["relu#1"]) == ("one", "two")


def test_what_was_made_by_no_module_feeds_as_nothing() -> None:
    given = wiring(nets.build("residual")).given
    assert given["bn"] == "conv"
    assert "head" not in given


def test_the_activation_inside_a_norm_of_timm() -> None:
    module = timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=2)
    found = wiring(Network(module, Preprocess((32, 32))))
    given = found.given
    assert given["bn1"] == "conv_stem"
    assert given["bn1.act"] == "bn1.drop"
    assert given["blocks.1.0.bn3"] == "blocks.1.0.conv_pwl"
    assert found.before("bn1") == "bn1.drop"  # what the ReLU6 bends


def test_what_was_added_in_place_is_no_longer_what_the_layer_made() -> None:
    module = torchvision.models.resnet18(weights=None)
    found = wiring(Network(module, Preprocess((32, 32))))
    assert found.before("layer1.0.relu") == "layer1.0.bn1"
    assert found.before("layer1.0") is None  # its ReLU bends bn2 + skip, which no layer makes


def test_the_network_is_left_as_found() -> None:
    class Training(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 2, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x).mean((2, 3))

    module = Training().train()
    wiring(Network(module, Preprocess((8, 8))))
    assert module.training
    assert not module.conv._forward_pre_hooks
    assert not module.conv._forward_hooks


def test_a_network_of_double_precision() -> None:
    assert wiring(nets.build("gap", torch.float64)).given["features.1"] == "features.0"


def test_inference_mode_around_it_changes_nothing() -> None:
    network = nets.build("residual")
    with torch.inference_mode():
        found = wiring(network)
    assert found == wiring(network)
