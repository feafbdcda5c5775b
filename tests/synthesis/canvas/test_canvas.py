"""Canvases: where they start, that they stay in [0, 1], and what they make easy."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

import nets
from phosphene.core.errors import ImageError, OptionError
from phosphene.core.images import image
from phosphene.core.networks.network import Images
from phosphene.synthesis.canvas.canvas import Canvas, Fourier, Painting, Perturbation, Pixels
from phosphene.synthesis.canvas.color import ColorDecorrelation, frequencies, mean_color
from phosphene.synthesis.canvas.maco import MACO
from phosphene.synthesis.canvas.pyramid import Pyramid

CANVASES = [Pixels(), Pixels(start="noise"), Fourier(), Fourier(decay=1.5), Pyramid(), MACO()]


def begin(
    canvas: Canvas, size: tuple[int, int] = (24, 33), count: int = 2, seed: int = 0, start: Images | None = None
) -> Painting:
    return canvas.begin(nets.build("gap"), count, size, generator=torch.Generator().manual_seed(seed), start=start)


@pytest.mark.parametrize("canvas", CANVASES)
def test_it_starts_at_the_mean_color_and_stays_in_range(canvas: Canvas) -> None:
    painting = begin(canvas)
    images, mean = painting(), mean_color(nets.build("gap"))
    assert images.shape == (2, 3, 24, 33)
    assert (images.mean((0, 2, 3)) - mean.flatten()).abs().max() < 0.05
    with torch.no_grad():
        for parameter in painting.parameters():
            parameter.add_(100 * torch.randn(parameter.shape))
    painting.project()
    assert 0 <= painting().min() <= painting().max() <= 1


def test_the_zero_image_of_the_lecture_is_the_mean() -> None:
    assert torch.equal(begin(Pixels())(), mean_color(nets.build("gap")).expand(2, 3, 24, 33))


@pytest.mark.parametrize("canvas", [Pixels(start="noise"), Fourier(), Pyramid(), MACO()])
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


@pytest.mark.parametrize("canvas", [Pixels(), Fourier(), Fourier(decay=1.5), Pyramid(), Perturbation()])
@pytest.mark.parametrize("size", [(24, 32), (23, 31)])
def test_it_begins_with_the_images_it_is_given(canvas: Canvas, size: tuple[int, int]) -> None:
    images = 0.05 + 0.9 * torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(3))
    assert (begin(canvas, size, start=images)() - images).abs().max() < 2e-3
    assert (begin(canvas, size, start=images[:1])() - images[:1]).abs().max() < 2e-3


def test_maco_takes_the_phases_of_the_images_and_no_more() -> None:
    images = torch.full((1, 3, 24, 32), 0.5)
    images[:, :, 8:16, 8:16] = 0.9
    shown = begin(MACO(), (24, 32), 1, start=images)()
    assert shown[:, :, 10:14, 10:14].mean() > shown.mean() + 0.1


def test_no_gradient_makes_maco_louder() -> None:
    painting, colors = begin(MACO(), (24, 24)), ColorDecorrelation.of(nets.build("gap"))
    before = colors.inverse(painting()).std().item()
    with torch.no_grad():
        painting.phase += 10 * torch.randn(painting.phase.shape)
    assert colors.inverse(painting()).std().item() == pytest.approx(before, rel=0.1)


def test_maco_reads_the_photographs_of_the_user(tmp_path: Path) -> None:
    image.save(tmp_path / "flat.png", np.full((32, 32, 3), 90, np.uint8))
    assert begin(MACO(str(tmp_path / "flat.png")))().std() < 1e-3
    with pytest.raises(ImageError, match="nowhere"):
        begin(MACO(str(tmp_path / "nowhere")))


def test_a_perturbation_stays_small_and_wants_images() -> None:
    images = torch.rand(1, 3, 8, 8)
    painting = begin(Perturbation(0.1), (8, 8), 2, start=images)
    with torch.no_grad():
        painting.change += torch.randn(painting.change.shape)
    painting.project()
    assert (painting() - images).abs().max() <= 0.1 + 1e-6
    assert 0 <= painting().min() <= painting().max() <= 1
    with pytest.raises(OptionError, match="changes images"):
        begin(Perturbation())


@pytest.mark.parametrize("canvas", CANVASES)
def test_a_grey_network_is_made_grey_pictures(canvas: Canvas) -> None:
    network = nets.build("gap")
    grey = dataclasses.replace(network, preprocess=dataclasses.replace(network.preprocess, order="grey"))
    painting = canvas.begin(grey, 1, (16, 16), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for parameter in painting.parameters():
            parameter.add_(torch.randn(parameter.shape))
    images = painting()
    assert images.shape == (1, 3, 16, 16)
    assert (images.amax(1) - images.amin(1)).max() < 1e-6
