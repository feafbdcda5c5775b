"""The guesses about networks, on well-known architectures."""

from __future__ import annotations

import pytest
import timm
import torchvision
from torch import nn

import nets
import phosphene as ph
from phosphene.core.errors import LayerError
from phosphene.core.networks.anatomy import (
    blocks,
    classifier,
    deepest_spatial_layer_read,
    dream_layer,
    embedding_layer,
    has_max_pooling,
    has_relu_below,
    last_spatial_layer,
    pooled_layer,
    spread_layers,
    stages,
)
from phosphene.core.networks.network import Network, Preprocess
from phosphene.core.objectives.classes import Logit
from phosphene.core.objectives.units import Channel

RESNET50 = [f"layer{stage}.{block}" for stage, count in enumerate((3, 4, 6, 3), 1) for block in range(count)]
VGG11 = [f"features.{number}" for number in (1, 4, 7, 9, 12, 14, 17, 19)]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet50", RESNET50),
        ("vgg11", VGG11),
        ("squeezenet1_1", [f"features.{number}" for number in (3, 4, 6, 7, 9, 10, 11, 12)]),
        ("mobilenet_v2", [f"features.{number}" for number in range(19)]),
    ],
)
def test_block_outputs_of_torchvision_networks(name: str, expected: list[str]) -> None:
    network = Network(torchvision.models.get_model(name, weights=None).eval(), name=name)
    assert blocks(network) == tuple(expected)


def test_block_outputs_of_inception_stand_side_by_side() -> None:
    module = torchvision.models.googlenet(weights=None, init_weights=False, aux_logits=False).eval()
    outputs = blocks(Network(module))
    assert outputs[:4] == ("conv1", "conv2", "conv3", "inception3a")
    assert len(outputs) == 12


def test_block_outputs_of_a_transformer() -> None:
    network = Network(timm.create_model("vit_tiny_patch16_224", pretrained=False).eval())
    assert blocks(network) == tuple(f"blocks.{number}" for number in range(12))


@pytest.mark.parametrize(
    ("name", "expected"),
    [("gap", ("features.2", "features.5", "logits")), ("linear", ("logits",)), ("tokens", ("patch", "logits"))],
)
def test_the_stages_of_networks_without_blocks(name: str, expected: tuple[str, ...]) -> None:
    assert stages(nets.build(name))[-len(expected) :] == expected


def test_the_stages_of_the_embedded_network() -> None:
    assert stages(ph.load()) == ("bn1", *(f"blocks.{number}" for number in range(7)), "logits")


def test_layers_are_spread_from_first_to_last() -> None:
    network = nets.build("gap")
    assert spread_layers(network) == ("features.0", "features.3", "features")
    assert spread_layers(network, 99) == tuple(name for name, layer in network.layers.items() if layer.spatial)
    assert spread_layers(nets.build("linear")) == ()


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (lambda: torchvision.models.resnet18(weights=None), "avgpool"),
        (lambda: torchvision.models.vgg11(weights=None), "classifier.5"),
        (lambda: timm.create_model("vit_tiny_patch16_224", pretrained=False), "head_drop"),
        (lambda: timm.create_model("tf_efficientnet_lite0", pretrained=False), "global_pool"),
    ],
)
def test_the_embedding_layer_is_the_input_of_the_classifier(module: object, expected: str) -> None:
    network = Network(module().eval())  # type: ignore[operator]
    assert embedding_layer(network) == expected


def test_a_network_of_one_layer_has_no_embedding_layer() -> None:
    with pytest.raises(LayerError, match=r"no layer before its logits to embed images by; give Embeddings\(layer=…\)"):
        embedding_layer(nets.build("linear"))


@pytest.mark.parametrize(
    ("name", "layer"), [("gap", "features"), ("residual", "bn"), ("functional", "two"), ("tokens", "gelu")]
)
def test_the_dream_layer_of_small_networks(name: str, layer: str) -> None:
    assert dream_layer(nets.build(name)) == layer


@pytest.mark.parametrize(
    ("module", "layer"),
    [
        (timm.create_model("vit_tiny_patch16_224", img_size=64, depth=2), "blocks"),
        (torchvision.models.VisionTransformer(64, 16, 2, 2, 24, 48), "encoder.layers"),
        (timm.create_model("convnext_atto"), "stages.2"),
    ],
    ids=["vit", "torchvision's", "convnext"],
)
def test_the_dream_layer_is_no_layer_norm(module: nn.Module, layer: str) -> None:
    """The mean square after a layer norm is the same for every picture: its gradient is rounding."""
    assert dream_layer(Network(module.eval(), Preprocess((64, 64)))) == layer


@pytest.mark.parametrize(
    ("name", "target", "layer"),
    [
        ("gap", None, "features"),
        ("gap", Channel("features.3", 0), "features.2"),
        ("functional", Logit(0), "two"),
        ("tokens", None, "norm"),
    ],
)
def test_the_last_spatial_layer_comes_before_the_target(name: str, target: Channel | None, layer: str) -> None:
    assert last_spatial_layer(nets.build(name), target)[0] == layer


def test_a_network_without_spatial_layers_has_no_last_one() -> None:
    with pytest.raises(LayerError, match="no layer of linear before the end keeps a map; use a method of pixels"):
        last_spatial_layer(nets.build("linear"))
    assert deepest_spatial_layer_read(nets.build("linear"), Logit(0)) is None


def test_the_deepest_layer_read_is_the_last_of_the_network_for_a_class() -> None:
    network = nets.build("gap")
    both = Channel("features.0", 1) + Channel("features.3", 1)
    assert deepest_spatial_layer_read(network, both) == "features.3"
    assert deepest_spatial_layer_read(network, Logit(0)) == "features"


def test_the_classifier_and_the_layer_it_pools() -> None:
    network = nets.build("gap")
    head = classifier(network)
    assert head is not None
    assert (head.layer, tuple(head.weight.shape)) == ("head", (5, 12))
    assert pooled_layer(network, 12) == "features"
    assert pooled_layer(network, 13) is None


def test_max_pooling_and_relus_are_detected() -> None:
    assert [has_max_pooling(nets.build(name)) for name in ("gap", "residual", "functional")] == [True, True, False]
    assert [has_relu_below(nets.build("gap"), layer) for layer in ("features.0", "features.5")] == [False, True]
