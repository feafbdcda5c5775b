"""Colors and spectra of photographs."""

from __future__ import annotations

import os

import numpy as np
import torch

import nets
from phosphene.core.images import image
from phosphene.core.images.image import Picture
from phosphene.synthesis.canvas.color import NATURAL, ColorDecorrelation, installed, mixing_of, spectrum_of


def noise(mixing: np.ndarray, seed: int = 0) -> Picture:
    """A picture of independent pixels whose colors vary together as told."""
    random = np.random.default_rng(seed).normal(size=(64, 64, 3)) @ mixing.T
    return Picture.from_array((128 + random).clip(0, 255).astype(np.uint8))


def test_the_mixing_gives_back_the_covariance() -> None:
    mixing = np.array([[30, 10, 0], [10, 20, 5], [0, 5, 8.0]])
    result = mixing_of([noise(mixing)]).numpy()
    shape = result @ result.T
    expected = mixing @ mixing.T
    assert np.abs(shape / np.trace(shape) - expected / np.trace(expected)).max() < 0.02


def test_colors_of_photographs_are_mostly_grey() -> None:
    for result in (torch.tensor(NATURAL), mixing_of(installed())):
        values, vectors = torch.linalg.eigh(result)
        assert values[2] > 2 * values[1]
        assert vectors[:, 2].abs().min() > 0.3  # the strongest direction has all three colors
        assert abs(result.norm(dim=0).max().item() - 1) < 1e-3


def test_the_colors_that_are_kept_are_those_of_photographs() -> None:
    folder = os.environ.get("PHOSPHENE_IMAGES")
    result = mixing_of(map(image.load, list(image.find([folder]))[::5])) if folder else mixing_of(installed())
    apart = (result - torch.tensor(NATURAL)).norm() / torch.tensor(NATURAL).norm()
    assert apart < (0.05 if folder else 0.3)  # six photographs have their own tints


def test_the_spectrum_is_that_of_the_pictures() -> None:
    flat = Picture.from_array(np.full((32, 32, 3), 200, np.uint8))
    colors = ColorDecorrelation.of(nets.build("gap"))
    spectrum = spectrum_of([flat, flat], (16, 16), colors)
    assert spectrum.shape == (3, 16, 9)
    assert spectrum[:, 1:].max() < 1e-4
    natural = spectrum_of([noise(np.eye(3) * 20)], (16, 16), colors)
    assert natural[:, 1:].min() > 1e-3


def test_waves_of_one_frequency_are_as_strong() -> None:
    spectrum = spectrum_of([noise(np.eye(3) * 20)], (16, 16), ColorDecorrelation.of(nets.build("gap")))
    assert torch.allclose(spectrum[:, 3, 4], spectrum[:, 4, 3])
    assert torch.allclose(spectrum[:, -5, 2], spectrum[:, 2, 5])


def test_ink_washes_off() -> None:
    colors, images = ColorDecorrelation.of(nets.build("gap")), 0.05 + 0.9 * torch.rand(2, 3, 8, 9)
    assert torch.allclose(colors(colors.inverse(images)), images, atol=1e-4)
