from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

import nets
from phosphene.attribution.baseline import fill_image
from phosphene.attribution.heatmap import attribute_all
from phosphene.attribution.perturbation.copies import Masks
from phosphene.attribution.perturbation.engine import SETUP_PASSES, Engine
from phosphene.attribution.perturbation.rise import RISE, weighted_mean
from phosphene.core.errors import OptionError
from phosphene.core.networks.network import Network, Preprocess
from phosphene.core.objectives.classes import Logit, Probability


def linear(side: int) -> tuple[Network, torch.Tensor, torch.Tensor]:
    """A linear network, an image, and what each pixel of it adds to logit 0 against the mean color."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(3 * side * side, 2)).double().eval()
    network = Network(module, Preprocess((side, side), (0.5,) * 3, (0.25,) * 3))
    image = torch.rand(1, 3, side, side, dtype=torch.float64)
    adds = module[1].weight[0].detach().view(3, side, side) * network.preprocess.normalize(image)[0]
    return network, image, adds.sum(0)


def test_over_all_masks_of_a_small_image_a_pixel_counts_half_of_what_it_adds():
    network, image, adds = linear(3)
    every = torch.tensor(list(itertools.product((0.0, 1.0), repeat=9)), dtype=torch.float64).view(512, 1, 3, 3)
    masks = Masks(512, every.__getitem__, fill_image("mean", network, image))
    scores = Engine(network).run(image, masks, {"logits"}, Logit(0))
    values = weighted_mean(masks, scores)[0, 0]
    assert (values - values[0, 0] - 0.5 * (adds - adds[0, 0])).abs().max() < 1e-12
    base = network(fill_image("mean", network, image))[0, 0].item()
    assert values[0, 0].item() == pytest.approx(base + 0.5 * (adds.sum() + adds[0, 0]).item(), abs=1e-12)


@pytest.mark.parametrize("keep", [0.3, 0.5])
def test_random_masks_give_the_same_slope(keep):
    network, image, adds = linear(6)
    values = RISE(masks=4000, grid=6, keep=keep, seed=1)(network, image, Logit(0))[0, 0]
    x, y = adds.flatten() - adds.mean(), values.flatten() - values.mean()
    assert (x @ y / (x @ x)).item() == pytest.approx(1 - keep, rel=0.15)
    assert torch.corrcoef(torch.stack([x, y]))[0, 1] > 0.95


def test_equals_the_formula_over_masks_drawn_at_once():
    network, image = nets.build("gap", torch.float64), nets.pictures(1, torch.float64)
    method, fill = RISE(masks=70, grid=5, seed=2), fill_image("mean", *(network, image))
    masks = method.random_masks(image, fill).make(slice(0, 70))
    scores = Probability(1)({"logits": network(masks * image + (1 - masks) * fill)}).detach()
    truth = (scores.view(-1, 1, 1, 1) * masks).sum(0) / masks.sum(0)
    assert (method(network, image, Probability(1))[0] - truth).abs().max() < 1e-12


def test_masks_are_smooth_and_shifted_and_every_pixel_is_visible_equally_often():
    drawn = RISE(masks=2000, grid=4, keep=0.3).random_masks(*[nets.pictures(1)] * 2).make(slice(0, 2000))
    assert drawn.shape == (2000, 1, 32, 32)
    assert 0 <= drawn.min() <= drawn.max() <= 1
    assert (drawn.diff(dim=3).abs().max()) < 0.13  # a cell is 8 pixels
    assert (drawn.mean(0) - 0.3).abs().max() < 5 * 0.46 / 2000**0.5
    part = RISE(masks=2000, grid=4, keep=0.3).random_masks(*[nets.pictures(1)] * 2).make(slice(7, 9))
    assert torch.equal(part, drawn[7:9])


def test_a_constant_added_to_the_target_shifts_the_map_and_adds_no_noise():
    network, image = nets.build("gap", torch.float64), nets.pictures(1, torch.float64)
    plain = RISE(masks=20)(network, image, Logit(0))
    network.module.head.bias.data[0] += 100
    assert (RISE(masks=20)(network, image, Logit(0)) - plain - 100).abs().max() < 1e-10


def test_a_batch_equals_its_images_and_the_same_seed_gives_the_same_bytes():
    network, images = nets.build("residual"), nets.pictures(3)
    method = RISE(masks=30, grid=4, fill="noise")
    together = method(network, images, Logit(0))
    assert torch.allclose(
        together, torch.cat([method(network, image, Logit(0)) for image in images[:, None]]), atol=1e-6
    )
    assert torch.equal(together, method(network, images, Logit(0)))
    assert not torch.equal(together, RISE(masks=30, grid=4, fill="noise", seed=1)(network, images, Logit(0)))
    assert method.cost(network, images).forwards == 90 + SETUP_PASSES


def test_a_pixel_that_no_mask_shows_is_zero():
    network, image = nets.build("gap"), nets.pictures(1)
    values = RISE(masks=1, grid=2, keep=1e-9)(network, image, Logit(0))
    assert not values.any()
    assert attribute_all(network, image, [Logit(0)], [RISE(masks=1, keep=1e-9)])[0].notes


@pytest.mark.parametrize("options", [{"masks": 0}, {"grid": 0}, {"keep": 0.0}, {"keep": 1.0}])
def test_options_that_make_no_masks_are_refused(options):
    with pytest.raises(OptionError, match="choose at least one mask"):
        RISE(**options)
