"""What an image is to share with another: relative distance, normalization, how far colors go."""

from __future__ import annotations

import pytest
import torch

import nets
from phosphene.core.errors import LayerError, OptionError
from phosphene.synthesis.loop.loop import synthesize
from phosphene.synthesis.losses.feature_match import Match
from phosphene.synthesis.losses.priors import AlphaNorm, TotalVariation


@pytest.mark.parametrize("name", [net for net in nets.NETS if net not in {"dead", "tokens"}])
def test_the_distance_is_that_of_the_module_on_normalized_pixels(name: str) -> None:
    # A peer reads the features to match from pixels that were never normalized.
    network, (first, second) = nets.build(name), nets.pictures().split(1)
    with torch.no_grad():
        wanted, result = ((network.module((value - 0.5) / 0.25)) for value in (first, second))
        wanted, result = (value[0] if isinstance(value, tuple) else value for value in (wanted, result))
        distance = (wanted - result).square().sum() / wanted.square().sum()
        mine = Match.of(network, first, "logits")(network.tap(torch.cat([first, second]), ["logits"]))
    assert mine.tolist() == pytest.approx([0, distance.item()], rel=1e-5, abs=1e-12)


def test_tokens_are_matched_as_maps_without_the_class_token() -> None:
    network, picture = nets.build("tokens"), nets.pictures(1)
    assert Match.of(network, picture, "norm").features.shape == (12, 4, 4)


def test_what_cannot_be_matched() -> None:
    dead = nets.build("dead")
    with pytest.raises(LayerError, match=r"features.5 of dead is zero everywhere on this picture"):
        Match.of(dead, nets.pictures(1), "features.5")
    with pytest.raises(LayerError, match=r"no layer 'features.9'"):
        Match.of(dead, nets.pictures(1), "features.9")
    with torch.no_grad():
        dead.module.features[0].bias.fill_(float("nan"))
    with pytest.raises(LayerError, match="is not finite"):
        Match.of(dead, nets.pictures(1), "features.0")


def test_another_size_is_refused_with_both() -> None:
    network = nets.build("gap")
    match = Match.of(network, nets.pictures(1), "features.2")
    with pytest.raises(LayerError, match=r"is 8 × 20 × 20 on these images and 8 × 16 × 16 on the one to match"):
        synthesize(network, -match, size=(40, 40), steps=1)


def test_features_read_in_inference_mode_can_still_be_matched() -> None:
    network = nets.build("gap")
    with torch.inference_mode():
        match = Match.of(network, nets.pictures(1), "features.2")
    assert synthesize(network, -match, steps=2).scores.shape == (2, 1)


def test_alpha_norm_is_measured_from_the_color_that_the_network_sees_as_zero() -> None:
    network, grey = nets.build("gap"), torch.full((1, 3, 4, 4), 0.5)
    norm = AlphaNorm().bind(network)
    assert norm({"input": grey}).item() == 0
    assert norm({"input": grey + 0.25}).item() == pytest.approx(0.5**6)
    with pytest.raises(OptionError, match="alpha-norm wants at least 1"):
        AlphaNorm(alpha=0.5)


def test_what_is_smooth_does_not_pay_for_the_jump_from_edge_to_edge() -> None:
    # A peer takes differences around the border, as on a torus: a ramp then costs as much as an edge.
    ramp = torch.linspace(0, 1, 33).expand(1, 3, 33, 33)
    for beta in (2.0, 1.5):
        result = TotalVariation(beta)({"input": ramp}).item()
        assert result == pytest.approx((1 / 32) ** beta, rel=1e-4)
