"""Gram matrices as an objective: against the definition, and as a style."""

from __future__ import annotations

import pytest
import torch

import nets
from phosphene.core.errors import LayerError
from phosphene.synthesis.losses.gram import Gram, gram_matrix


def test_the_matrix_is_the_product_of_the_channels() -> None:
    maps = torch.randn(2, 3, 4, 5)
    expected = torch.einsum("nchw,ndhw->ncd", maps, maps)
    assert torch.allclose(gram_matrix(maps), expected, atol=1e-5)


def test_the_same_features_anywhere_are_no_distance() -> None:
    network, images = nets.build("gap"), nets.pictures(1)
    gram = Gram.of(network, images, "features.2")
    maps = network.tap(images, ["features.2"])["features.2"]
    shuffled = maps.flatten(2)[..., torch.randperm(maps[0, 0].numel())].view_as(maps)
    twice = torch.cat([maps, maps], 3)  # of another size
    for moved in (maps, shuffled, twice):
        assert gram({"features.2": moved}).item() == pytest.approx(0, abs=1e-10)
    assert gram({"features.2": 0 * maps}).item() == pytest.approx(1)
    assert gram({"features.2": 2 * maps}).item() == pytest.approx(9, rel=1e-4)
    batch = torch.cat([maps, 0 * maps, 2 * maps])
    assert gram({"features.2": batch}).tolist() == pytest.approx([0, 1, 9], rel=1e-4, abs=1e-10)


def test_products_of_half_precision_do_not_overflow() -> None:
    maps = torch.full((1, 2, 3, 3), 300.0)
    assert Gram("conv", gram_matrix(maps)[0] / maps.numel())({"conv": maps.half()}).item() == pytest.approx(0)


def test_what_has_no_gram_matrix() -> None:
    with pytest.raises(LayerError, match="logits of gap has no maps, so it has no Gram matrix"):
        Gram.of(nets.build("gap"), nets.pictures(1), "logits")
    with pytest.raises(LayerError, match=r"features\.5 of dead is zero everywhere on this picture"):
        Gram.of(nets.build("dead"), nets.pictures(1), "features.5")
    with pytest.raises(LayerError, match=r"has no layer 'features\.9'"):
        Gram.of(nets.build("gap"), nets.pictures(1), "features.9")
    with pytest.raises(LayerError, match=r"has no layer 'features\.9'"):
        Gram("features.9", torch.eye(2)).bind(nets.build("gap"))
