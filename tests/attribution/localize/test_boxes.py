"""Saliency, connected components, and the boxes around them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from skimage.measure import label
from torch import Tensor

from phosphene.attribution.localize.boxes import (
    bounding_box,
    box_in_photograph,
    boxes,
    iou,
    largest_component,
    saliency,
)
from phosphene.core.errors import ImageError, OptionError
from phosphene.core.images.image import Picture
from phosphene.core.images.preprocess import Preprocess
from phosphene.core.networks.network import Box


def spots(*places: tuple[slice, slice, float]) -> Tensor:
    values = torch.zeros(1, 1, 32, 32)
    for rows, columns, height in places:
        values[..., rows, columns] = height
    return values


def test_saliency_is_the_positive_part_of_one_channel_and_the_largest_magnitude_of_three() -> None:
    values = torch.randn(2, 3, 5, 5)
    assert torch.equal(saliency(values), values.abs().max(1).values)
    assert torch.equal(saliency(values[:, :1]), values[:, 0].relu())


@pytest.mark.parametrize("shape", [(1, 2, 4, 4), (3, 4, 4), (4, 4)])
def test_saliency_refuses_what_is_no_map(shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match="want \\(N, 1 or 3, H, W\\)"):
        saliency(torch.zeros(shape))


def test_the_box_contains_the_largest_component_and_not_the_brightest() -> None:
    values = spots((slice(2, 4), slice(2, 4), 9.0), (slice(10, 20), slice(5, 30), 3.0))
    assert boxes(values) == (Box(10, 5, 20, 30),)


def test_the_box_ignores_what_lies_below_a_share_of_the_maximum() -> None:
    values = spots((slice(10, 20), slice(5, 30), 1.0), (slice(12, 14), slice(6, 9), 6.0))
    assert boxes(values, 0.2) == (Box(12, 6, 14, 9),)
    assert boxes(values, 0.1) == (Box(10, 5, 20, 30),)


def test_each_map_of_a_batch_has_its_own_box_and_a_blank_one_has_none() -> None:
    one, other = spots((slice(0, 3), slice(0, 5), 1.0)), spots((slice(31, 32), slice(31, 32), 0.001))
    assert boxes(torch.cat([one, torch.zeros_like(one), other, -one])) == (
        Box(0, 0, 3, 5),
        None,
        Box(31, 31, 32, 32),
        None,
    )


def test_a_noisy_map_is_connected_after_a_blur() -> None:
    grain = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) ** 20
    grain = grain * (spots((slice(8, 24), slice(4, 28), 1.0)))
    (grainy,), (smooth,) = boxes(grain), boxes(grain, smooth=2.0)
    assert grainy is not None
    assert smooth is not None
    assert iou(grainy, Box(8, 4, 24, 28)) < 0.5 < iou(smooth, Box(8, 4, 24, 28))


@pytest.mark.parametrize("threshold", [-0.1, 1.0, float("nan")])
def test_a_threshold_outside_its_range_is_refused(threshold: float) -> None:
    with pytest.raises(OptionError, match="share of the maximum"):
        boxes(spots(), threshold)


@pytest.mark.parametrize("seed", range(5))
def test_the_largest_component_is_that_of_scikit_image(seed: int) -> None:
    mask = torch.rand(20, 30, generator=torch.Generator().manual_seed(seed)) < 0.3
    parts = label(mask.numpy(), connectivity=2)
    sizes = np.bincount(parts.ravel())[1:]
    largest = largest_component(mask)
    assert largest.sum() == sizes.max()
    assert len(np.unique(parts[largest.numpy()])) == 1


def test_an_empty_mask_has_an_empty_largest_component() -> None:
    assert not largest_component(torch.zeros(4, 4, dtype=torch.bool)).any()
    assert bounding_box(torch.zeros(4, 4, dtype=torch.bool)) is None


def test_iou_is_that_of_the_pixels() -> None:
    random = np.random.default_rng(0)
    drawn = [np.sort(random.integers(0, 12, (2, 2)), axis=0) for _ in range(12)]
    drawn = [corners for corners in drawn if (corners[1] > corners[0]).all()]
    assert len(drawn) > 3
    for one, other in itertools.product(drawn, repeat=2):
        masks = np.zeros((2, 12, 12), bool)
        for mask, ((top, left), (bottom, right)) in zip(masks, (one, other), strict=True):
            mask[top:bottom, left:right] = True
        truth = (masks[0] & masks[1]).sum() / (masks[0] | masks[1]).sum()
        assert iou(Box(*one.ravel().tolist()), Box(*other.ravel().tolist())) == pytest.approx(truth)


def test_iou_of_empty_boxes_is_zero() -> None:
    assert iou(Box(1, 1, 1, 1), Box(1, 1, 1, 1)) == 0


def test_a_box_of_the_images_is_mapped_back_to_the_photograph() -> None:
    pixels = np.zeros((300, 451, 3), np.uint8)
    pixels[100:180, 200:260] = 255
    prepared = Preprocess(size=(224, 224)).prepare(Picture.from_array(pixels))
    (box,) = boxes(prepared.images.mean(1, keepdim=True), 0.5)
    assert box is not None
    back = box_in_photograph(box, (224, 224), prepared.box)
    assert back == pytest.approx((100, 200, 180, 260), abs=1.5)
    assert box_in_photograph(Box(0, 0, 224, 224), (224, 224), prepared.box) == pytest.approx(prepared.box)
