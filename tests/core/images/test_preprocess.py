"""Preprocessing: from a photograph to the input of a network."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

import nets
from phosphene.core.images.image import Picture
from phosphene.core.networks.network import Box, Preprocess


def test_channels_are_ordered_and_normalized() -> None:
    images = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64).view(1, 3, 1, 1)
    mean, std = (0.0, 0.1, 0.2), (0.5, 0.25, 0.125)

    def seen(order: Any, mean: tuple[float, ...] = mean, std: tuple[float, ...] = std) -> list[float]:
        return Preprocess((1, 1), mean, std, order=order).normalize(images).flatten().tolist()

    assert seen("rgb") == pytest.approx([0.2, 0.4, 0.8])
    assert seen("bgr") == pytest.approx([0.6, 0.4, -0.8])
    assert seen("grey", (0.0,), (1.0,)) == pytest.approx([0.299 * 0.1 + 0.587 * 0.2 + 0.114 * 0.3])


def test_normalizing_is_differentiable() -> None:
    for order, mean in (("rgb", (0.5,) * 3), ("bgr", (0.5,) * 3), ("grey", (0.5,))):
        images = nets.pictures(1, torch.float64).requires_grad_()
        assert torch.autograd.gradcheck(Preprocess((32, 32), mean, mean, order=order).normalize, images[:, :, :3, :3])


CAT = skimage.data.chelsea()  # 300 × 451


def picture(height: int, width: int) -> Picture:
    """A photograph of a given size, cropped or enlarged from that of a cat."""
    return Picture.from_array(np.asarray(Image.fromarray(CAT).resize((width, height), Image.Resampling.BICUBIC)))


SIZES = [(300, 451), (451, 300), (224, 224), (1000, 750), (20, 30), (31, 17), (225, 224), (1, 1), (3, 200)]


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_preparing_equals_pillow_and_the_center_crop(height: int, width: int, interpolation: Any) -> None:
    preprocess = Preprocess((96, 96), crop=0.875, interpolation=interpolation)
    given = picture(height, width)
    images, _ = preprocess.prepare(given)
    short = 109  # 96 / 0.875, as torchvision and timm round it
    resized = (int(short * height / min(height, width) + 1e-6), int(short * width / min(height, width) + 1e-6))
    sampling = getattr(Image.Resampling, interpolation.upper())
    expected = np.asarray(Image.fromarray(given.pixels).resize(resized[::-1], sampling)).astype(int)
    top, left = (resized[0] - 96) // 2, (resized[1] - 96) // 2
    prepared = (images[0] * 255).permute(1, 2, 0).round().int().numpy()
    assert images.shape == (1, 3, 96, 96)
    assert images.dtype == torch.float32
    assert abs(prepared - expected[top : top + 96, left : left + 96]).max() <= 1


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_the_box_is_what_the_network_sees(height: int, width: int) -> None:
    rows, columns = np.indices((height, width))
    ramp = np.stack([rows * 255 / max(height - 1, 1), columns * 255 / max(width - 1, 1), 0 * rows], -1).round()
    images, box = Preprocess((64, 48), crop=0.8).prepare(Picture.from_array(ramp.astype(np.uint8)))
    assert 0 <= box.top < box.bottom <= height
    assert 0 <= box.left < box.right <= width
    assert box.top + box.bottom == pytest.approx(height, abs=height / 64 + 1)
    assert box.left + box.right == pytest.approx(width, abs=width / 48 + 1)
    assert (box.bottom - box.top) / (box.right - box.left) == pytest.approx(64 / 48, rel=0.05)
    middle = (images[0, 0, 32, 24] * (height - 1)).item(), (images[0, 1, 32, 24] * (width - 1)).item()
    wanted = [(box.top + box.bottom) / 2 - 0.5, (box.left + box.right) / 2 - 0.5]
    assert middle == pytest.approx(wanted, abs=max(1.0, height / 64, width / 48))


def test_a_crop_of_one_keeps_the_whole_short_side() -> None:
    _, box = Preprocess((50, 50), crop=1.0).prepare(picture(100, 200))
    assert box == Box(0, 50, 100, 150)


def test_prepared_images_pass_the_check() -> None:
    network = nets.build("gap", torch.float64)
    images, _ = network.prepare(picture(40, 60))
    assert images.dtype == torch.float64
    assert network.check(images) is images


@pytest.mark.parametrize(("height", "width"), [(2, 40_000), (40_000, 2), (3, 3_001)])
def test_of_a_very_long_photograph_the_middle_alone_is_resized(height: int, width: int) -> None:
    levels = np.zeros((height, width, 3), np.uint8)
    levels[height // 2 - 1 : height // 2 + 1, width // 2 - 1 : width // 2 + 1] = 255
    images, box = Preprocess((32, 32)).prepare(Picture.from_array(levels))
    assert images.shape == (1, 3, 32, 32)
    assert (box.top + box.bottom) / 2 == pytest.approx(height / 2, abs=1)
    assert (box.left + box.right) / 2 == pytest.approx(width / 2, abs=1)
    assert images.max() == 1
