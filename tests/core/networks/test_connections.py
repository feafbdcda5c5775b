"""Which layer's output is which layer's input, on networks that mislead tools."""

from __future__ import annotations

import timm
import torch
import torchvision
from torch import Tensor, nn

import nets
from phosphene.core.networks.connections import connections
from phosphene.core.networks.network import Network, Preprocess


def test_a_chain_with_relu_in_place() -> None:
    input_from = connections(nets.build("gap")).input_from
    # The in-place ReLU returns the tensor of the batch norm; the pool's input is what the ReLU wrote into it.
    assert [input_from[f"features.{place}"] for place in range(1, 6)] == [f"features.{place}" for place in range(5)]
    assert "features.0" not in input_from  # the picture
    assert input_from["pool"] == "features.5"  # the leaf, not the block that ends with it


def test_the_calls_of_a_shared_module_are_told_apart() -> None:
    input_from = connections(nets.build("shared")).input_from
    assert (input_from["relu"], input_from["relu#1"]) == ("one", "two")


def test_the_output_of_no_module_is_not_listed() -> None:
    input_from = connections(nets.build("residual")).input_from
    assert input_from["bn"] == "conv"
    assert "head" not in input_from


def test_the_activation_inside_a_norm_of_timm() -> None:
    module = timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=2)
    direct = connections(Network(module, Preprocess((32, 32))))
    input_from = direct.input_from
    assert input_from["bn1"] == "conv_stem"
    assert input_from["bn1.act"] == "bn1.drop"
    assert input_from["blocks.1.0.bn3"] == "blocks.1.0.conv_pwl"
    assert direct.pre_activation("bn1") == "bn1.drop"  # the input of its ReLU6


def test_after_an_addition_in_place_a_tensor_is_no_longer_the_output_of_its_layer() -> None:
    module = torchvision.models.resnet18(weights=None)
    direct = connections(Network(module, Preprocess((32, 32))))
    assert direct.pre_activation("layer1.0.relu") == "layer1.0.bn1"
    assert direct.pre_activation("layer1.0") is None  # the input of its ReLU is bn2 + skip, which no layer returns


def test_the_network_is_left_as_found() -> None:
    class Training(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 2, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x).mean((2, 3))

    module = Training().train()
    connections(Network(module, Preprocess((8, 8))))
    assert module.training
    assert not module.conv._forward_pre_hooks
    assert not module.conv._forward_hooks


def test_a_network_of_double_precision() -> None:
    assert connections(nets.build("gap", torch.float64)).input_from["features.1"] == "features.0"


def test_inference_mode_around_it_changes_nothing() -> None:
    network = nets.build("residual")
    with torch.inference_mode():
        direct = connections(network)
    assert direct == connections(network)
