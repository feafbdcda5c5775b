"""Localization: maps as saliency, and the boxes around their strongest regions."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from phosphene.core.errors import ImageError, OptionError
from phosphene.core.images.image import blurred
from phosphene.core.networks.network import Box


def saliency(values: Tensor) -> Tensor:
    """A map as saliency, (N, H, W), not negative.

    One channel: max(value, 0), which supports the target. Three channels: the largest absolute value of the three.

    Args:
        values: (N, 1 or 3, H, W), raw and signed, as `attribute` returns them.

    Raises:
        ImageError: another shape.

    Reference: Simonyan, Vedaldi & Zisserman, ICLR 2014 workshop, section 3.1.

    >>> saliency(torch.tensor([-2.0, 1.0]).view(1, 1, 1, 2)).tolist()
    [[[0.0, 1.0]]]
    >>> saliency(torch.tensor([-2.0, 1.0, 0.5]).view(1, 3, 1, 1)).tolist()
    [[[2.0]]]
    """
    if values.ndim != 4 or values.shape[1] not in {1, 3}:
        raise ImageError(f"the map is {tuple(values.shape)}; want (N, 1 or 3, H, W), the values of a Heatmap")
    return values[:, 0].clamp(min=0) if values.shape[1] == 1 else values.abs().amax(1)


def largest_component(mask: Tensor) -> Tensor:
    """The largest connected component of a mask, bool (H, W); pixels that touch at a corner are connected.

    >>> largest_component(torch.tensor([[True, False, True], [True, False, False]])).int().tolist()
    [[1, 0, 0], [1, 0, 0]]
    """
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.cpu().numpy().astype(np.uint8), connectivity=8)
    if count == 1:
        return mask
    label = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    return torch.from_numpy(labels == label)


def boxes(values: Tensor, threshold: float = 0.2, *, smooth: float = 0.0) -> tuple[Box | None, ...]:
    """The bounding box of the largest connected component of each map that exceeds a share of its maximum.

    Args:
        values: the maps, (N, 1 or 3, H, W).
        threshold: share of the maximum, in [0, 1).
        smooth: sigma of a Gaussian blur of the saliency, in pixels, for maps of gradients, which are not connected.

    Returns:
        boxes in pixels of the images; None where a map is blank.

    Raises:
        OptionError: a threshold outside [0, 1).

    Reference: Zhou et al., CVPR 2016, section 3.2.

    >>> spot = torch.zeros(1, 1, 8, 8)
    >>> spot[..., 2:4, 3:7] = 1
    >>> boxes(spot)
    (Box(top=2, left=3, bottom=4, right=7),)
    """
    maps = saliency(values)
    maps = blurred(maps[:, None], smooth)[:, 0] if smooth else maps
    return tuple(bounding_box(largest_component(exceeding(one, threshold))) for one in maps)


def iou(one: Box, other: Box) -> float:
    """Intersection over union of two boxes, in [0, 1].

    >>> iou(Box(0, 0, 2, 2), Box(1, 0, 3, 2))
    0.3333333333333333
    """
    intersection = _area(Box(*map(max, one[:2], other[:2]), *map(min, one[2:], other[2:])))
    union = _area(one) + _area(other) - intersection
    return intersection / union if union else 0.0


def box_in_photograph(box: Box, size: Sequence[int], prepared: Box) -> Box:
    """A box in the input of the network as a box in the photograph.

    Args:
        box: in pixels of the images.
        size: height and width of the images, in pixels.
        prepared: the box of the photograph that the images show, from `Network.prepare`.

    >>> box_in_photograph(Box(0, 0, 112, 224), (224, 224), Box(10, 20, 110, 120))
    Box(top=10.0, left=20.0, bottom=60.0, right=120.0)
    """
    down, right = (prepared.bottom - prepared.top) / size[0], (prepared.right - prepared.left) / size[1]
    scales, starts = (down, right) * 2, (prepared.top, prepared.left) * 2
    return Box(*(start + scale * edge for start, scale, edge in zip(starts, scales, box, strict=True)))


def exceeding(values: Tensor, threshold: float) -> Tensor:
    """Where one map exceeds a share of its maximum, bool of its shape; nowhere, if nothing in it is positive.

    Raises:
        OptionError: a share outside [0, 1).
    """
    if not 0 <= threshold < 1:
        raise OptionError(f"threshold is {threshold:g}; choose a share of the maximum in [0, 1)")
    return values > threshold * values.max().clamp(min=0)


def bounding_box(mask: Tensor) -> Box | None:
    """The smallest box around a mask (H, W); None where the mask is empty."""
    rows, columns = (mask.any(axis).nonzero() for axis in (1, 0))
    if not len(rows):
        return None
    return Box(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)


def _area(box: Box) -> float:
    return max(0.0, box.bottom - box.top) * max(0.0, box.right - box.left)
