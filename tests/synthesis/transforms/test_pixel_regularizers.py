"""The pixel regularizers against their definitions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from phosphene.core.errors import OptionError
from phosphene.core.images.image import blurred
from phosphene.synthesis.transforms.pixel_regularizers import Blur, ClipContribution, ClipNorm, Decay, PixelRegularizer

VALUE = torch.randn(2, 3, 16, 20, generator=torch.Generator().manual_seed(0))
SLOPE = torch.randn(2, 3, 16, 20, generator=torch.Generator().manual_seed(1))


def test_decay_shrinks() -> None:
    assert torch.equal(Decay(0.25)(VALUE, SLOPE, 1), 0.75 * VALUE)


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.3])
def test_blur_is_gaussian(sigma: float) -> None:
    expected = gaussian_filter(
        VALUE.double().numpy(), (0, 0, sigma, sigma), mode="nearest", radius=[0, 0] + 2 * [int(np.ceil(3 * sigma))]
    )
    assert np.allclose(blurred(VALUE.double(), sigma).numpy(), expected, atol=1e-12)


def test_blur_comes_every_so_many_steps() -> None:
    changed = [not torch.equal(Blur(1, 3)(VALUE, SLOPE, step), VALUE) for step in range(1, 10)]
    assert changed == [step % 3 == 0 for step in range(1, 10)]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_small_pixels_are_cleared_and_the_others_left(share: float) -> None:
    result = ClipNorm(share)(VALUE, SLOPE, 1)
    for image, before in zip(result, VALUE, strict=True):
        cleared = (image == 0).all(0)
        assert abs(cleared.float().mean() - share) < 0.01
        assert torch.equal(image[:, ~cleared], before[:, ~cleared])
        assert before.norm(dim=0)[cleared].max() <= before.norm(dim=0)[~cleared].min()


def test_small_contributions_are_cleared() -> None:
    result = ClipContribution(0.4)(VALUE, SLOPE, 1)
    worth = (VALUE * SLOPE).sum(1).abs()
    for image, value in zip(result, worth, strict=True):
        cleared = (image == 0).all(0)
        assert abs(cleared.float().mean() - 0.4) < 0.01
        assert value[cleared].max() <= value[~cleared].min()


def test_a_share_of_nothing_clears_nothing() -> None:
    zeros = torch.zeros(1, 3, 4, 4)
    assert torch.equal(ClipNorm(0.0)(VALUE, SLOPE, 1), VALUE)
    assert torch.equal(ClipNorm(0.5)(zeros, zeros, 1), zeros)


@pytest.mark.parametrize(("kind", "options"), [(Decay, {"rate": 1}), (Blur, {"sigma": 0}), (ClipNorm, {"share": 1})])
def test_options_out_of_range(kind: type[PixelRegularizer], options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match="wants"):
        kind(**options)
