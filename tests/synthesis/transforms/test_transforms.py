"""Transforms: what they move, where to, and that gradients pass."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

import nets
from phosphene.core.errors import OptionError
from phosphene.core.networks.network import Images
from phosphene.core.objectives.classes import Logit
from phosphene.synthesis.canvas.canvas import Pixels
from phosphene.synthesis.loop.loop import synthesize
from phosphene.synthesis.loop.optimizers import Adam
from phosphene.synthesis.transforms.transforms import Affine, ColorShift, Crops, Flip, Pad, Transform


def smooth(count: int = 2, height: int = 40, width: int = 60) -> Tensor:
    rows, columns = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    image = torch.stack([rows, columns, (rows * columns).sqrt()])
    return image.expand(count, -1, -1, -1).clone()


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("transform", [Affine(), Pad(3), Crops(2), Crops(3, noise=0.1), ColorShift(), Flip()])
def test_laws(transform: Transform) -> None:
    images = smooth().requires_grad_()
    result = transform(images, draw())
    assert torch.equal(result, transform(images, draw()))
    assert result.isfinite().all()
    assert len(result) % len(images) == 0
    result.sum().backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0


def test_an_affine_that_moves_nothing_is_the_identity() -> None:
    images = torch.rand(2, 3, 20, 30)
    assert torch.allclose(Affine(0, (1, 1), 0)(images, draw()), images, atol=1e-5)


@pytest.mark.parametrize("size", [(40, 60), (60, 40)])
def test_a_quarter_turn_keeps_shapes_round(size: tuple[int, int]) -> None:
    rows, columns = torch.meshgrid(torch.arange(size[0]), torch.arange(size[1]), indexing="ij")
    far = torch.hypot(rows - (size[0] - 1) / 2, columns - (size[1] - 1) / 2)
    disc = (far < 12).float().expand(1, 3, -1, -1)
    turned = Affine(0, (1, 1), 180)(disc, draw(3))
    assert (turned - disc).abs().mean() < 0.01


def test_shifts_reach_as_far_as_told_either_way_and_every_image_goes_its_own() -> None:
    spot = torch.zeros(200, 3, 41, 61)
    spot[:, :, 20, 30] = 1
    moved = Affine(8, (1, 1), 0)(spot, draw()).mean(1)
    mass = moved.sum((1, 2))
    down = (moved.sum(2) * torch.arange(41)).sum(1) / mass - 20
    across = (moved.sum(1) * torch.arange(61)).sum(1) / mass - 30
    for shift in (down, across):
        assert -8.1 < shift.min() < -6
        assert 6 < shift.max() < 8.1
        assert abs(shift.mean()) < 1.5


def test_zoom_is_as_likely_out_as_in() -> None:
    rows, columns = torch.meshgrid(torch.arange(61.0) - 30, torch.arange(61.0) - 30, indexing="ij")
    disc = (torch.hypot(rows, columns) < 10).float().expand(300, 3, -1, -1)
    area = Affine(0, (0.5, 2), 0)(disc, draw()).mean(1).sum((1, 2))
    zoom = (area / disc[0, 0].sum()).sqrt()
    assert 0.45 < zoom.min() < 0.6
    assert 1.7 < zoom.max() < 2.1
    assert abs(zoom.log().mean()) < 0.1


def test_what_comes_in_from_outside_is_the_color_of_the_border() -> None:
    # A peer lets black in.
    flat = torch.tensor([0.9, 0.2, 0.6]).view(1, 3, 1, 1).expand(50, 3, 20, 30)
    assert torch.allclose(Affine(8, (0.4, 1.5), 45)(flat, draw()), flat, atol=1e-6)
    ramp = torch.linspace(0.2, 0.9, 21).view(1, 1, 21, 1).expand(50, 3, 21, 11)  # neither mirrored nor wrapped around
    moved = Affine(8, (1, 1), 0)(ramp, draw())
    assert moved.diff(dim=2).min() > -1e-5
    assert [moved[..., 0, :].amin().item(), moved[..., -1, :].amax().item()] == pytest.approx([0.2, 0.9], abs=1e-5)
    assert (moved[..., 5, :] - 0.2).abs().min() < 1e-5  # in some, the first six rows came in


@pytest.mark.parametrize("transform", [Affine(), Crops(2)])
def test_the_image_itself_is_never_transformed(transform: Transform) -> None:
    # A peer resamples the image at each step, and so blurs it away.
    def rough(images: Images) -> Tensor:
        return images.diff(dim=2).abs().mean() + images.diff(dim=3).abs().mean()

    sharp = torch.rand(1, 3, 32, 32, generator=draw())
    assert rough(transform(sharp, draw())) < 0.9 * rough(sharp)
    how: dict[str, Any] = {"start": sharp, "transforms": [transform], "optimizer": Adam(1e-9), "steps": 5}
    assert torch.allclose(synthesize(nets.build("gap"), Logit(0), Pixels(), **how).images, sharp, atol=1e-6)


def test_a_margin_is_grey_and_of_its_width() -> None:
    result = Pad(3, 0.25)(torch.ones(1, 3, 4, 5), draw())
    assert result.shape == (1, 3, 10, 11)
    assert (result[..., :3, :] == 0.25).all()
    assert result.sum() == 60 + 0.25 * (330 - 60)


def test_crops_of_one_image_stand_together_and_keep_its_proportions() -> None:
    images = torch.stack([smooth(1)[0], torch.zeros(3, 40, 60)])
    result = Crops(4, 0.5, 0.5)(images, draw())
    assert result.shape == (8, 3, 40, 60)
    assert (result[4:] == 0).all()
    for color, steps in ((0, 39), (1, 59)):  # one grows downwards, one across
        extent = result[:4, color].amax((1, 2)) - result[:4, color].amin((1, 2))
        assert torch.allclose(extent, torch.full((4,), ((steps + 1) / 2 - 1) / steps), atol=0.03)


def boxes(images: Tensor, transform: Crops) -> tuple[Tensor, ...]:
    """Top, left, height and width of crops of `smooth` images: of the colors, one grows downwards, one across."""
    result = transform(images, draw())
    steps = torch.tensor(images.shape[2:]) - 1
    least, most = (find(result[:, :2], dim=(2, 3)) * steps for find in (torch.amin, torch.amax))
    return *least.round().T, *((most - least).round() + 1).T


def test_sizes_of_crops_are_spread_from_low_to_high() -> None:
    # A peer draws them between high and 2 · high - low.
    _, _, high, wide = boxes(smooth(2, 41, 161), Crops(400, 0.25, 0.5))
    assert (high / 41 - wide / 161).abs().max() < 0.02
    assert [wide.min(), wide.max()] == [40, 80]
    spread = torch.histc(wide / 161, 5, 0.25, 0.5) / len(wide)
    assert (spread - 0.2).abs().max() < 0.05
    for mine in wide.view(2, 400):  # each image has its own, and all kinds
        assert len(set(mine.tolist())) > 35
    assert not torch.equal(*wide.view(2, 400))


def test_crops_reach_every_corner_and_stand_at_the_border_as_often_as_told() -> None:
    top, left, high, wide = boxes(smooth(1, 41, 61), Crops(3000, 0.5, 0.5))
    assert set(high.tolist()) == {20}
    assert set(wide.tolist()) == {30}
    sides = [(top == 0, top == 21), (left == 0, left == 31)]
    told = [(0.2 + 0.5 / free) / 1.4 for free in (21, 31)]  # a seventh beyond each end, and half a pixel
    for pair, share in zip(sides, told, strict=True):
        assert [side.float().mean().item() for side in pair] == pytest.approx([share] * 2, abs=0.025)
    for vertical, across in itertools.product(*sides):
        assert (vertical & across).float().mean().item() == pytest.approx(told[0] * told[1], abs=0.012)
    assert len(set(top.tolist())) == 22
    assert len(set(left.tolist())) == 32


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        *((Affine, {"jitter": -1}), (Affine, {"scale": (2, 1)}), (Affine, {"scale": (0, 1)}), (Crops, {"low": 0})),
        *((Crops, {"count": 0}), (Crops, {"low": 0.8, "high": 0.5}), (Crops, {"noise": -1})),
    ],
)
def test_options_out_of_range(kind: Any, options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match="wants"):
        kind(**options)


def test_colors_shift_around_grey_each_on_its_own() -> None:
    flat = torch.tensor([0.5, 0.9]).view(2, 1, 1, 1).expand(2, 3, 4, 4)
    result = ColorShift(0.5, 0.0)(flat, draw())
    assert torch.allclose(result[0], flat[0])
    assert len(result[1, :, 0, 0].unique()) == 3
    shifted = ColorShift(0.0, 0.1)(flat, draw()) - flat
    assert shifted.abs().max() <= 0.1
    assert torch.allclose(shifted, shifted[:, :, :1, :1].expand_as(shifted), atol=1e-6)


def test_half_of_the_images_are_mirrored() -> None:
    images = torch.rand(1, 3, 4, 5).expand(400, -1, -1, -1)
    same = (Flip()(images, draw()) == images).flatten(1).all(1)
    assert torch.equal(Flip()(images, draw())[~same], images[~same].flip(3))
    assert 150 < same.sum() < 250
