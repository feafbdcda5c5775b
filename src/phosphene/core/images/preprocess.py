"""Preprocessing: from a photograph to the input of a network."""

from __future__ import annotations

import dataclasses
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from phosphene.core.images.image import Picture

Images = Tensor
"""float (N, 3, H, W), RGB in [0, 1]."""


class Box(NamedTuple):
    """A rectangle of a photograph, in its own pixels; bottom and right are exclusive."""

    top: float
    left: float
    bottom: float
    right: float


class Prepared(NamedTuple):
    """A photograph as network input: images (1, 3, H, W), and the box of the photograph that they show."""

    images: Images
    box: Box


@dataclasses.dataclass(frozen=True)
class Preprocess:
    """The preprocessing of a network: from a photograph to its first layer.

    The short side is resized to size / crop, the center cut out, the channels ordered, mean and deviation applied.

    Args:
        size: height and width of the input, in pixels.
        mean: per channel, in [0, 1].
        std: per channel, in [0, 1].
        crop: share of the resized short side that the center crop keeps, in (0, 1].
        interpolation: of the resize.
        order: of the input channels.

    >>> Preprocess(size=(32, 32), mean=(0.5,) * 3, std=(0.25,) * 3).normalize(torch.ones(1, 3, 32, 32)).max().item()
    2.0
    """

    size: tuple[int, int] = (224, 224)
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    crop: float = 0.875
    interpolation: Literal["bicubic", "bilinear", "nearest-exact"] = "bicubic"
    order: Literal["rgb", "bgr", "grey"] = "rgb"

    @property
    def mean_color(self) -> tuple[float, float, float]:
        """The color that the first layer sees as zero: RGB in [0, 1], whatever the order of the channels."""
        first, middle, last = self.mean if len(self.mean) == 3 else self.mean * 3
        return (last, middle, first) if self.order == "bgr" else (first, middle, last)

    def normalize(self, images: Images) -> Tensor:
        """Images as input of the first layer: (N, 3 or 1, H, W). Differentiable."""
        if self.order == "bgr":
            images = images.flip(1)
        elif self.order == "grey":
            images = luma(images)
        mean, std = (images.new_tensor(values).view(1, -1, 1, 1) for values in (self.mean, self.std))
        return (images - mean) / std

    def prepare(self, picture: Picture) -> Prepared:
        """Resize and crop a photograph of any size; see `Network.prepare`."""
        (height, width), (rows, columns) = (picture.height, picture.width), self.size
        # Whole pixels first, then the ratio, as in the published evaluations of the networks.
        scale = max(int(rows / self.crop + 1e-6) / height, int(columns / self.crop + 1e-6) / width)
        resized = max(rows, int(height * scale + 1e-6)), max(columns, int(width * scale + 1e-6))
        if max(resized) > MOST_LONG * max(self.size):
            return self._prepare_middle(picture)
        pixels = torch.from_numpy(picture.pixels.copy()).permute(2, 0, 1)[None]
        smooth = self.interpolation != "nearest-exact"
        # On bytes, as Pillow does it, and as in the published evaluations.
        pixels = F.interpolate(pixels, resized, mode=self.interpolation, antialias=smooth)
        top, left = (resized[0] - rows) // 2, (resized[1] - columns) // 2
        images = pixels[:, :, top : top + rows, left : left + columns].float() / 255
        down, right = height / resized[0], width / resized[1]
        box = Box(top * down, left * right, (top + rows) * down, (left + columns) * right)
        return Prepared(images.contiguous(), box)

    def _prepare_middle(self, picture: Picture) -> Prepared:
        """The same for the middle of a very long photograph: resizing what the crop cuts off would cost gigabytes."""
        side = MOST_LONG // 2 * min(picture.height, picture.width)
        top, left = max(0, picture.height - side) // 2, max(0, picture.width - side) // 2
        images, box = self.prepare(Picture(picture.pixels[top : top + side, left : left + side]))
        return Prepared(images, Box(box.top + top, box.left + left, box.bottom + top, box.right + left))


def luma(images: Images) -> Images:
    """Luminance (N, 1, H, W) of images (N, 3, H, W)."""
    return (images * images.new_tensor(_LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)


MOST_LONG = 16
"""Longest side of a resized photograph, in input sizes."""

_LUMA = (0.299, 0.587, 0.114)
