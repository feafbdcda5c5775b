"""The batch-norm prior, against statistics that are taken one channel at a time."""

from __future__ import annotations

import math
import pickle

import pytest
import torch

import nets
from phosphene import zoo
from phosphene.core.errors import OptionError
from phosphene.core.images import image
from phosphene.core.images.samples import SAMPLES, sample
from phosphene.synthesis.canvas.canvas import Pixels
from phosphene.synthesis.loop.loop import synthesize
from phosphene.synthesis.losses.batchnorm_prior import BatchNormStatistics, running_statistics


def test_it_is_its_definition() -> None:
    network, images = nets.build("gap"), nets.pictures(3)
    prior = BatchNormStatistics().bind(network)
    norm = network.module.features[1]
    maps = network.tap(images, ["features.0"])["features.0"].double()
    for map, result in zip(maps, prior(network.tap(images, prior.reads)), strict=True):
        means = [values.mean().item() for values in map]
        variances = [
            sum((v - m) ** 2 for v in values.flatten().tolist()) / values.numel()
            for values, m in zip(map, means, strict=True)
        ]
        off = math.dist(means, norm.running_mean.tolist()) / math.sqrt(norm.running_var.sum().item())
        spread = math.dist(variances, norm.running_var.tolist()) / norm.running_var.norm().item()
        assert result.item() == pytest.approx(off + spread, rel=1e-5)


def test_the_first_layer_counts_as_often_as_told() -> None:
    network = zoo.load("efficientnet-lite0", weights="random")
    picture = network.prepare(image.load(sample("cat"))).images
    read = network.tap(picture, BatchNormStatistics(narrow=False).bind(network).reads)
    values = [BatchNormStatistics(first, narrow=False).bind(network)(read).item() for first in (0.0, 1.0, 10.0)]
    others, layers = values[0], len(running_statistics(network)) - 1
    alone = values[1] * (layers + 1) - others * layers
    assert values[2] == pytest.approx((10 * alone + layers * others) / (10 + layers), rel=1e-4)


def test_a_photograph_is_nearer_than_grey_and_than_noise() -> None:
    network = zoo.load("efficientnet-lite0")
    prior = BatchNormStatistics(narrow=False).bind(network)
    photographs = torch.cat([network.prepare(image.load(sample(name))).images for name in SAMPLES])
    noise = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        far = prior(network.tap(torch.cat([photographs, torch.full_like(noise, 0.5), noise]), prior.reads))
    assert far[:-2].max() < 1.2
    assert far[-2:].min() > 1.3


def test_wide_maps_are_left_out_unless_asked_for() -> None:
    network = zoo.load("efficientnet-lite0", weights="random")
    reads = BatchNormStatistics().bind(network).reads
    assert len(reads) == 18
    assert {"conv_stem", "blocks.1.0.conv_pwl", "blocks.6.0.conv_pwl"} < reads
    assert not any(name.endswith("0.conv_dw") for name in reads - {"blocks.0.0.conv_dw"})
    assert len(BatchNormStatistics(narrow=False).bind(network).reads) == 49


def test_bound_once_it_stays_as_it_is() -> None:
    bound = BatchNormStatistics().bind(nets.build("gap"))
    assert bound.bind(nets.build("functional")).running is bound.running


def test_it_can_be_minimized() -> None:
    result = synthesize(nets.build("gap"), -BatchNormStatistics(), Pixels("noise"), steps=30)
    assert result.scores[-1] > 0.7 * result.scores[0]  # both are below zero
    assert str(result.objectives[0]) == "-1*batch-norm-statistics"


def test_a_network_without_batch_norm() -> None:
    with pytest.raises(OptionError, match="functional has no batch norm to compare an image with; leave"):
        BatchNormStatistics().bind(nets.build("functional"))


def test_first_below_zero() -> None:
    with pytest.raises(OptionError, match="first is -1; batch-norm-statistics wants at least 0"):
        BatchNormStatistics(-1)


def test_running_statistics_are_copies_and_survive_pickle() -> None:
    network = nets.build("residual")
    (running,) = running_statistics(network)
    assert running.layer == "conv"
    network.module.bn.running_mean.add_(1)
    assert not torch.equal(running.mean, network.module.bn.running_mean)
    prior = pickle.loads(pickle.dumps(BatchNormStatistics().bind(nets.build("residual"))))
    assert torch.equal(prior.running[0].mean, running.mean)
