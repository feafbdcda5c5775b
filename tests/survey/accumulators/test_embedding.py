"""The last layer before the classifier, and the row it gives each image."""

from __future__ import annotations

import numpy as np
import torch

import nets
from phosphene.core.images.image import Picture
from phosphene.survey.accumulators.embedding import Embeddings, embed, thumbnail


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
