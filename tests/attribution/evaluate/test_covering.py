"""Covering the pixels that a map shows lowers the target more than covering others."""

from __future__ import annotations

import pytest
import torch

import nets
from phosphene.attribution import attribute
from phosphene.attribution.evaluate.covering import covering
from phosphene.attribution.perturbation.engine import SETUP_PASSES
from phosphene.core.errors import ImageError, OptionError
from phosphene.core.objectives.units import ChannelMax


def test_on_a_linear_network_the_fall_is_the_sum_over_the_covered_pixels() -> None:
    network, images = nets.build("linear", torch.float64), nets.pictures(dtype=torch.float64)
    weight = network.module.head.weight[2].detach().view(1, 3, 32, 32)
    parts = (weight * network.preprocess.normalize(images)).sum(1, keepdim=True)
    covered = covering(network, images, parts, 2, share=0.1, fill="mean")
    strongest = parts.flatten(1).topk(102).values.sum(1)
    torch.testing.assert_close(covered.fall, strongest)
    assert covered.control.shape == (2, 10)
    assert (covered.beats == 1).all()
    assert covered.shares.tolist() == pytest.approx([102 / 1024] * 2)
    assert (covered.control.mean(1).abs() < covered.fall / 2).all()


def test_controls_have_the_shape_of_the_cover() -> None:
    network, images = nets.build("linear", torch.float64), torch.ones(1, 3, 32, 32, dtype=torch.float64)
    weight = network.module.head.weight[1].detach().view(3, 32, 32).sum(0)
    values = torch.zeros(1, 1, 32, 32)
    values[..., 3:6, 10:20] = 1
    covered = covering(network, images, values, 1, fill="mean")
    step = (1 - 0.5) / 0.25
    windows = {
        round(step * weight.roll((-down, -right), (0, 1))[3:6, 10:20].sum().item(), 9)
        for down in range(32)
        for right in range(32)
    }
    assert all(round(fall, 9) in windows for fall in covered.control[0].tolist())
    assert covered.shares.item() == pytest.approx(30 / 1024)


def test_the_strongest_activation_is_measured_where_it_was() -> None:
    network, images = nets.build("gap"), nets.pictures()
    target = ChannelMax("features.2", 3)
    projection = attribute(network, images, target, method="deconvnet").values
    covered = covering(network, images, projection, target, fill="mean")
    maps = network.tap(images, ["features.2"])["features.2"][:, 3].detach()
    for i, name in enumerate(covered.targets):
        row, column = map(int, name.rpartition("@")[2].split(","))
        assert maps[i, row, column] == maps[i].max()
    torch.testing.assert_close(covered.before, maps.amax((1, 2)))
    assert (covered.shares <= 9 / 1024).all(), "the unit sees 3 × 3 pixels, and nothing else may be covered"
    assert (covered.fall > 0).all()
    assert (covered.ratio.abs() > 2).all()


def test_a_blank_map_covers_nothing() -> None:
    network, images = nets.build("gap"), nets.pictures()
    covered = covering(network, images, torch.zeros(2, 3, 32, 32), "features.5:3")
    assert covered.fall.abs().max() < 1e-6
    assert covered.shares.tolist() == [0, 0]
    assert covered.beats.tolist() == [0, 0]


def test_the_same_seed_gives_the_same_controls() -> None:
    network, images, values = nets.build("gap"), nets.pictures(), torch.randn(2, 3, 32, 32)
    one, same, other = (covering(network, images, values, "tabby", seed=seed).as_dict() for seed in (1, 1, 2))
    assert one == same
    assert one["control_mean"] != other["control_mean"]
    assert one["fall"] == other["fall"]
    assert one["cost"]["forwards"] == 24 + SETUP_PASSES


def test_what_makes_no_sense_is_refused() -> None:
    network, images, values = nets.build("gap"), nets.pictures(), torch.randn(2, 3, 32, 32)
    for share in (0, 1e-6, 1 - 1e-6):  # none or all of 1,024 pixels
        with pytest.raises(OptionError, match="covers some pixels"):
            covering(network, images, values, 1, share=share)
    with pytest.raises(OptionError, match="covers some pixels"):
        covering(network, images, values, 1, controls=0)
    with pytest.raises(ImageError, match="one map of its size"):
        covering(network, images, values[:1], 1)
