"""Which layers a survey listens to, on networks that people have."""

from __future__ import annotations

import pytest
import timm
import torchvision

import nets
from phosphene.core.errors import LayerError
from phosphene.core.networks.network import Network
from phosphene.survey.engine.layer_patterns import blocks, choose

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
    found = blocks(Network(module))
    assert found[:4] == ("conv1", "conv2", "conv3", "inception3a")
    assert len(found) == 12


def test_block_outputs_of_a_transformer() -> None:
    network = Network(timm.create_model("vit_tiny_patch16_224", pretrained=False).eval())
    assert blocks(network) == tuple(f"blocks.{number}" for number in range(12))


@pytest.mark.parametrize(
    ("name", "expected"),
    [("gap", ("features.2", "features.5")), ("functional", ("one", "two")), ("shared", ("relu", "relu#1"))],
)
def test_without_blocks_it_is_relus_or_else_convolutions(name: str, expected: tuple[str, ...]) -> None:
    assert choose(nets.build(name)) == (*expected, "logits")


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["features.*"], [f"features.{number}" for number in range(6)]),
        (["features.?"], [f"features.{number}" for number in range(6)]),
        (["**"], [*(f"features.{number}" for number in range(6)), "pool", "head", "logits"]),
        (["logits, features.2", "features.2"], ["features.2", "logits"]),
        (["pool"], ["pool"]),
    ],
)
def test_patterns(patterns: list[str], expected: list[str]) -> None:
    assert [name for name in choose(nets.build("gap"), patterns) if name != "features"] == expected


def test_a_star_stays_within_a_step() -> None:
    with pytest.raises(LayerError, match=r"no layer of .* matches 'f\*.x'; .*phosphene layers"):
        choose(nets.build("gap"), ["f*.x"])
