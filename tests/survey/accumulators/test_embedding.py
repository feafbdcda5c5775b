"""The last layer before the classifier, and the row it gives each image."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch
import torchvision

import nets
from phosphene.core.errors import LayerError
from phosphene.core.images.image import Picture
from phosphene.core.networks.network import Network
from phosphene.survey.accumulators.embedding import Embeddings, embed, penultimate, thumbnail


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (lambda: torchvision.models.resnet18(weights=None), "avgpool"),
        (lambda: torchvision.models.vgg11(weights=None), "classifier.5"),
        (lambda: timm.create_model("vit_tiny_patch16_224", pretrained=False), "head_drop"),
        (lambda: timm.create_model("tf_efficientnet_lite0", pretrained=False), "global_pool"),
    ],
)
def test_it_is_what_the_classifier_weighs(module: object, expected: str) -> None:
    network = Network(module().eval())  # type: ignore[operator]
    assert penultimate(network) == expected


def test_a_network_of_one_layer_has_none() -> None:
    with pytest.raises(LayerError, match=r"no layer before its logits to embed images by; give Embeddings\(layer=…\)"):
        penultimate(nets.build("linear"))


def test_a_row_is_the_mean_over_the_places() -> None:
    network = nets.build("gap")
    picture = Picture.from_array(np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8))
    row, small = embed(network, "features.5", picture)
    images = network.prepare(picture).images
    expected = network.tap(images, ["features.5"])["features.5"][0].mean((1, 2)).half()
    assert torch.equal(row, expected)
    assert torch.equal(small, thumbnail(images)[0])
    assert (small.shape, small.dtype) == ((32, 32, 3), torch.uint8)


def test_the_layer_may_be_chosen() -> None:
    network = nets.build("gap")
    assert Embeddings("features.2").layers(network, ("logits",)) == ("features.2",)
    assert Embeddings().layers(network, ("logits",)) == ("pool",)
