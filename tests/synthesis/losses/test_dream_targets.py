"""Objectives of dreams: energies, guides, and the layer that is chosen."""

from __future__ import annotations

import pytest
import torch

import nets
from phosphene.core.errors import LayerError, OptionError, TargetError
from phosphene.core.images.image import Picture
from phosphene.core.objectives.classes import Logit
from phosphene.core.objectives.objective import Sum
from phosphene.core.objectives.units import Channel
from phosphene.synthesis.losses import dream_targets
from phosphene.synthesis.losses.dream_targets import Energy, GuideMatch, dream_target


def test_the_gradient_of_energy_is_the_activation_itself() -> None:
    maps = torch.randn(2, 3, 4, 5, requires_grad=True)
    Energy("layer")({"layer": maps}).sum().backward()
    assert maps.grad is not None
    assert torch.allclose(maps.grad, maps.detach() / 60)


@pytest.mark.parametrize("products", [1, 7, 1 << 20])
def test_the_match_is_the_dot_product_with_the_most_similar_place(
    products: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dream_targets, "_PRODUCTS", products)
    maps, features = torch.randn(2, 3, 4, 5, requires_grad=True), torch.randn(3, 7)
    scores = GuideMatch("layer", features)({"layer": maps})
    every = torch.einsum("nchw,cq->nhwq", maps, features)
    assert torch.allclose(scores, every.amax(3).mean((1, 2)), atol=1e-6)
    scores.sum().backward()
    assert maps.grad is not None
    chosen = features[:, every.argmax(3)].transpose(0, 1)  # as the notebook has it: the gradient is the guide's place
    assert torch.allclose(maps.grad, chosen / 20, atol=1e-6)


def test_the_match_of_a_layer_without_places() -> None:
    network = nets.build("gap")
    match = GuideMatch.of(network, nets.pictures(1), "head")
    assert match.features.shape == (5, 1)
    logits = network(nets.pictures(2))
    assert torch.allclose(match({"head": logits}), logits @ match.features[:, 0])


def test_a_network_without_maps_dreams_of_targets_alone() -> None:
    with pytest.raises(LayerError, match="linear has no layer with maps to dream of; name a target"):
        dream_target(nets.build("linear"))
    assert dream_target(nets.build("linear"), "goldfish") == Logit(2)


def test_several_layers_have_equal_weight() -> None:
    network = nets.build("gap")
    both = dream_target(network, layers=["features.0", "features.5"])
    assert isinstance(both, Sum)
    noise = 0.5 + 0.1 * torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    read = network.tap(noise.clamp(0, 1), both.reads)
    assert [weight * term(read).item() for weight, term in both.terms] == pytest.approx([1, 1], rel=0.01)


def test_what_excludes_each_other_and_what_is_not_there() -> None:
    network, cat = nets.build("gap"), Picture.from_array(nets.pictures(1)[0], "cat.png")
    assert dream_target(network, layers=["features.2"], channel=1) == Channel("features.2", 1)
    assert str(dream_target(network, guide=cat)) == "features like cat"
    with pytest.raises(OptionError, match="a dream of goldfish takes no layer, channel or guide"):
        dream_target(network, "goldfish", layers=["features.2"])
    with pytest.raises(OptionError, match="channel 1 is of one layer, without a guide"):
        dream_target(network, channel=1, guide=cat)
    with pytest.raises(LayerError, match=r"has no layer 'features.9'"):
        dream_target(network, layers=["features.9"])
    with pytest.raises(TargetError, match="has no channel 99"):
        dream_target(network, layers=["features.2"], channel=99)
