"""Pictures pushed apart differ more; a single one is what it would be without."""

from __future__ import annotations

import pytest
import torch

import nets
from phosphene.core.errors import OptionError
from phosphene.core.objectives.classes import Logit
from phosphene.synthesis.loop.loop import synthesize
from phosphene.synthesis.losses.diversity import Diverse


def likeness(maps: torch.Tensor) -> float:
    grams = [map.flatten(1) @ map.flatten(1).T for map in maps]
    return torch.cosine_similarity(grams[0].flatten(), grams[1].flatten(), dim=0).item()


def test_the_value_is_the_objective_less_the_mean_cosine_of_grams() -> None:
    network, images = nets.build("gap"), torch.rand(2, 3, 32, 32)
    read = network.tap(images, ["logits", "features.2"])
    plain = Logit(1)(read)
    result = Diverse(Logit(1), "features.2", share=0.5)(read)
    expected = plain - 0.5 * plain.abs() * likeness(read["features.2"])
    assert torch.allclose(result, expected, atol=1e-5)


def test_pictures_grow_apart_and_one_alone_is_left_in_peace() -> None:
    network = nets.build("gap")
    wish = Diverse(Logit(1), "features.5", share=3.0)
    apart, alike = (synthesize(network, [value] * 2, steps=40).images for value in (wish, Logit(1)))
    maps = [network.tap(value, ["features.5"])["features.5"] for value in (apart, alike)]
    assert likeness(maps[0]) < likeness(maps[1]) - 0.01
    single = synthesize(network, wish, steps=5).images
    assert torch.allclose(single, synthesize(network, Logit(1), steps=5).images, atol=1e-6)


def test_a_layer_without_maps_is_refused() -> None:
    with pytest.raises(OptionError, match="has no maps"):
        Diverse(Logit(1), "logits").bind(nets.build("gap"))
    with pytest.raises(OptionError, match="share is -1"):
        Diverse(Logit(1), "features.2", -1)
