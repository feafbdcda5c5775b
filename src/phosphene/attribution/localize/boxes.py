"""Where is it? Maps as pictures of importance, and the boxes around what they point at."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from phosphene.attribution.perturbation.engine import blurred
from phosphene.core.errors import ImageError, OptionError
from phosphene.core.networks.network import Box


def saliency(values: Tensor) -> Tensor:
    """A map as a picture of importance, (N, H, W), nowhere negative.

    One channel: what speaks for the target, max(value, 0). Three channels: the largest absolute value of the three.

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


def largest(mask: Tensor) -> Tensor:
    """The largest connected part of a mask, bool (H, W); pixels that touch at a corner are connected.

    >>> largest(torch.tensor([[True, False, True], [True, False, False]])).int().tolist()
    [[1, 0, 0], [1, 0, 0]]
    """
    count, parts, facts, _ = cv2.connectedComponentsWithStats(mask.cpu().numpy().astype(np.uint8), connectivity=8)
    if count == 1:
        return mask
    part = 1 + int(facts[1:, cv2.CC_STAT_AREA].argmax())
    return torch.from_numpy(parts == part)


def boxes(values: Tensor, threshold: float = 0.2, *, smooth: float = 0.0) -> tuple[Box | None, ...]:
    """The tight box around the largest connected part of each map that exceeds a share of its maximum.

    Args:
        values: the maps, (N, 1 or 3, H, W).
        threshold: share of the maximum, in [0, 1).
        smooth: sigma of a Gaussian blur of the saliency, in pixels; grainy maps of gradients fall apart without it.

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
    seen = saliency(values)
    seen = blurred(seen[:, None], smooth)[:, 0] if smooth else seen
    return tuple(tight(largest(above(each, threshold))) for each in seen)


def iou(one: Box, other: Box) -> float:
    """Shared area of two boxes over their joint area, in [0, 1].

    >>> iou(Box(0, 0, 2, 2), Box(1, 0, 3, 2))
    0.3333333333333333
    """
    shared = _area(Box(*map(max, one[:2], other[:2]), *map(min, one[2:], other[2:])))
    joint = _area(one) + _area(other) - shared
    return shared / joint if joint else 0.0


def to_photograph(box: Box, size: Sequence[int], prepared: Box) -> Box:
    """A box of what the network saw as a box of the photograph.

    Args:
        box: in pixels of the images.
        size: height and width of the images, in pixels.
        prepared: the box of the photograph that the images show, from `Network.prepare`.

    >>> to_photograph(Box(0, 0, 112, 224), (224, 224), Box(10, 20, 110, 120))
    Box(top=10.0, left=20.0, bottom=60.0, right=120.0)
    """
    down, right = (prepared.bottom - prepared.top) / size[0], (prepared.right - prepared.left) / size[1]
    scales, starts = (down, right) * 2, (prepared.top, prepared.left) * 2
    return Box(*(start + scale * side for start, scale, side in zip(starts, scales, box, strict=True)))


def above(picture: Tensor, threshold: float) -> Tensor:
    """Where one map exceeds a share of its maximum, bool of its shape; nowhere, if nothing in it is positive.

    Raises:
        OptionError: a share outside [0, 1).
    """
    if not 0 <= threshold < 1:
        raise OptionError(f"threshold is {threshold:g}; choose a share of the maximum in [0, 1)")
    return picture > threshold * picture.max().clamp(min=0)


def tight(mask: Tensor) -> Box | None:
    """The smallest box around a mask (H, W); None where the mask is empty."""
    rows, columns = (mask.any(axis).nonzero() for axis in (1, 0))
    if not len(rows):
        return None
    return Box(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)


def _area(box: Box) -> float:
    return max(0.0, box.bottom - box.top) * max(0.0, box.right - box.left)
