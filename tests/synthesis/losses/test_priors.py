"""Priors on the pixels, against their definitions."""

from __future__ import annotations

import pytest
import torch

import nets
from phosphene.core.errors import OptionError
from phosphene.synthesis.canvas.color import mean_color
from phosphene.synthesis.losses.priors import L2, TotalVariation


def test_l2_is_measured_from_the_mean_color() -> None:
    network, images = nets.build("gap"), nets.pictures(3)
    expected = [(image - mean_color(network)[0]).square().mean() for image in images]
    assert torch.allclose(L2().bind(network)({"input": images}), torch.stack(expected))
    assert L2((1.0, 0.0, 0.0)).bind(network) == L2((1.0, 0.0, 0.0))


@pytest.mark.parametrize("beta", [1.0, 1.5, 2.0])
def test_total_variation_is_its_definition(beta: float) -> None:
    images = nets.pictures(2).double().requires_grad_()
    result = TotalVariation(beta)({"input": images})
    for image, value in zip(images, result, strict=True):
        total = 0.0
        for row in range(image.shape[1] - 1):
            down = image[:, row + 1, :-1] - image[:, row, :-1]
            across = image[:, row, 1:] - image[:, row, :-1]
            total += ((down**2 + across**2) ** (beta / 2)).sum().item()
        assert value.item() == pytest.approx(total / (3 * (image.shape[1] - 1) * (image.shape[2] - 1)), rel=1e-6)


def test_a_flat_image_has_no_slope() -> None:
    flat = torch.full((1, 3, 8, 8), 0.3, requires_grad=True)
    TotalVariation(1.0)({"input": flat}).sum().backward()
    assert flat.grad is not None
    assert flat.grad.abs().max() == 0


def test_beta_out_of_range() -> None:
    with pytest.raises(OptionError, match="beta is 0"):
        TotalVariation(0)


def test_they_subtract_from_a_target_by_name() -> None:
    assert str(2 * L2() - 0.5 * TotalVariation()) == "2*l2 - 0.5*total-variation"
