"""Which layer feeds which, on networks with the habits that mislead tools."""

from __future__ import annotations

import timm
from torch import Tensor, nn

import nets
from phosphene.core.network import Network, Preprocess
from phosphene.synthesis.wiring import feeds


def test_a_chain_with_relu_in_place() -> None:
    given = feeds(nets.build("gap"))
    # The in-place ReLU returns the tensor of the batch norm; the pool is given what the ReLU made of it.
    assert [given[f"features.{place}"] for place in range(1, 6)] == [f"features.{place}" for place in range(5)]
    assert "features.0" not in given  # the picture
    assert given["pool"] == "features.5"  # the leaf, not the block that ends with it


def test_the_calls_of_a_shared_module_are_told_apart() -> None:
    assert {name: feeds(nets.build("shared"))[name] for name in ("relu", "relu#1")} == {"relu": "one", "relu#1": "two"}


def test_what_was_made_by_no_module_feeds_as_nothing() -> None:
    given = feeds(nets.build("residual"))
    assert given["bn"] == "conv"
    assert "head" not in given


def test_the_activation_inside_a_norm_of_timm() -> None:
    module = timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=2)
    given = feeds(Network(module, Preprocess((32, 32))))
    assert given["bn1"] == "conv_stem"
    assert given["bn1.act"] == "bn1.drop"
    assert given["blocks.1.0.bn3"] == "blocks.1.0.conv_pwl"


def test_the_network_is_left_as_found() -> None:
    class Training(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 2, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x).mean((2, 3))

    module = Training().train()
    feeds(Network(module, Preprocess((8, 8))))
    assert module.training
    assert not module.conv._forward_pre_hooks
    assert not module.conv._forward_hooks
