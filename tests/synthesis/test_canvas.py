"""Canvases: where they start, that they stay in [0, 1], and what they make easy."""

from __future__ import annotations

import dataclasses

import pytest
import torch

import nets
from phosphene.core.errors import OptionError
from phosphene.synthesis.canvas import Canvas, Fourier, Pixels, frequencies, mean_color

CANVASES = [Pixels(), Pixels(start="noise"), Fourier(), Fourier(decay=1.5)]


def begin(canvas: Canvas, size: tuple[int, int] = (24, 33), count: int = 2, seed: int = 0):
    return canvas.begin(nets.build("gap"), count, size, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("canvas", CANVASES)
def test_it_starts_at_the_mean_color_and_stays_in_range(canvas: Canvas) -> None:
    painting = begin(canvas)
    images, mean = painting(), mean_color(nets.build("gap"))
    assert images.shape == (2, 3, 24, 33)
    assert (images.mean((0, 2, 3)) - mean.flatten()).abs().max() < 0.05
    with torch.no_grad():
        for each in painting.parameters():
            each.add_(100 * torch.randn(each.shape))
    painting.project()
    assert 0 <= painting().min() <= painting().max() <= 1


def test_the_zero_image_of_the_lecture_is_the_mean() -> None:
    assert torch.equal(begin(Pixels())(), mean_color(nets.build("gap")).expand(2, 3, 24, 33))


@pytest.mark.parametrize("canvas", [Pixels(start="noise"), Fourier()])
def test_noise_is_of_the_seed_and_differs_between_images(canvas: Canvas) -> None:
    assert torch.equal(begin(canvas, seed=1)(), begin(canvas, seed=1)())
    assert not torch.equal(begin(canvas, seed=1)(), begin(canvas, seed=2)())
    assert not torch.equal(*begin(canvas)())


def test_waves_of_equal_coefficients_fall_with_their_frequency() -> None:
    painting = begin(Fourier(decay=1.0, noise=0.02), (64, 64), 8)
    spectrum = torch.fft.rfft2(painting().mean(1) - 0.5).abs().mean(0)
    at = frequencies((64, 64))
    low, high = (spectrum[(at > a) & (at <= 2 * a)].mean() for a in (0.05, 0.2))
    assert 3 < low / high < 5  # four octaves of 1/f are two


def test_the_mean_color_is_in_rgb_whatever_the_network_wants() -> None:
    network = nets.build("gap")
    bgr = dataclasses.replace(network.preprocess, mean=(0.1, 0.2, 0.3), order="bgr")
    grey = dataclasses.replace(network.preprocess, mean=(0.4,), std=(0.2,), order="grey")
    for preprocess, expected in ((bgr, [0.3, 0.2, 0.1]), (grey, [0.4] * 3)):
        color = mean_color(dataclasses.replace(network, preprocess=preprocess))
        assert color.flatten().tolist() == pytest.approx(expected)


def test_a_decay_out_of_range_is_refused() -> None:
    with pytest.raises(OptionError, match=r"decay is -1; fourier wants 0 … 3"):
        Fourier(decay=-1)
