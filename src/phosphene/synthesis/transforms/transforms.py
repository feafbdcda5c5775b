"""Random transforms of the images before the network sees them, drawn anew at each step.

They keep patterns from forming that raise the objective at exact pixel positions only.
"""

from __future__ import annotations

import dataclasses
import math

import torch
import torch.nn.functional as F

from phosphene.core.errors import OptionError
from phosphene.core.networks.network import Images
from phosphene.core.registry import Named


@dataclasses.dataclass(frozen=True)
class Transform(Named):
    """A random change of images; differentiable."""

    def __call__(self, images: Images, generator: torch.Generator) -> Images:
        """The images, each changed at random.

        Args:
            images: (N, 3, H, W) in [0, 1].
            generator: of the random numbers.
        """
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Affine(Transform, name="affine"):
    """Shift, scale and rotation at once, by one resampling; the border is repeated.

    Args:
        jitter: largest shift, in pixels, either way.
        scale: smallest and largest magnification.
        rotate: largest angle, in degrees, either way.

    Reference: Olah, Mordvintsev & Schubert, Distill 2017. Differs: there four resamplings, each of which blurs.
    """

    jitter: float = 16.0
    scale: tuple[float, float] = (0.9, 1.1)
    rotate: float = 10.0

    def __post_init__(self) -> None:
        low, high = self.scale
        if not (self.jitter >= 0 and 0 < low <= high and 0 <= self.rotate <= 180):
            raise OptionError(
                f"affine wants jitter of at least 0, scales above 0 in order, and an angle in 0 … 180; found {self}"
            )

    def __call__(self, images: Images, generator: torch.Generator) -> Images:
        """The images, moved."""
        count, _, height, width = images.shape
        low, high = self.scale
        draw = torch.rand(count, 4, generator=generator) * 2 - 1
        angle = draw[:, 0] * math.radians(self.rotate)
        zoom = torch.exp((draw[:, 1] + 1) / 2 * (math.log(high) - math.log(low)) + math.log(low))
        cosine, sine = angle.cos() / zoom, angle.sin() / zoom
        down, across = draw[:, 2] * 2 * self.jitter / height, draw[:, 3] * 2 * self.jitter / width
        ratio = height / width
        rows = [torch.stack([cosine, -sine * ratio, across], 1), torch.stack([sine / ratio, cosine, down], 1)]
        grid = F.affine_grid(torch.stack(rows, 1).to(images), list(images.shape), align_corners=False)
        return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


@dataclasses.dataclass(frozen=True)
class Pad(Transform, name="pad"):
    """A margin of one color around the images, so that objectives cannot use their edges.

    Args:
        pixels: its width.
        color: grey level, in [0, 1].
    """

    pixels: int = 12
    color: float = 0.5

    def __call__(self, images: Images, generator: torch.Generator) -> Images:  # noqa: ARG002
        """The images with the margin: larger by twice its width."""
        return F.pad(images, [self.pixels] * 4, value=self.color)


@dataclasses.dataclass(frozen=True)
class Crops(Transform, name="crops"):
    """Several crops of each image, of random size and place, brought to one size.

    Args:
        count: crops of each image.
        low: smallest height and width, as a share of the largest crop of the proportions of `size`.
        high: largest.
        noise: deviation of Gaussian noise that is added, in [0, 1].
        size: height and width that they are brought to; by default those of the image.

    Reference: Fel et al., NeurIPS 2023 (MACO), section 3.
    """

    count: int = 4
    low: float = 0.4
    high: float = 1.0
    noise: float = 0.0
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if not (self.count >= 1 and 0 < self.low <= self.high <= 1 and self.noise >= 0):
            raise OptionError(f"crops wants at least 1 of them, and shares in order within 0 … 1; found {self}")

    def __call__(self, images: Images, generator: torch.Generator) -> Images:
        """(N * count, 3, *size); the crops of one image stand together."""
        height, width = images.shape[2:]
        size = self.size or (height, width)
        largest = min(height / size[0], width / size[1])
        shares = self.low + (self.high - self.low) * torch.rand(len(images), self.count, generator=generator)
        # Clamped from a wider range: otherwise few crops would show the margins, which would stay blank.
        places = (torch.rand(len(images), self.count, 2, generator=generator) * 1.4 - 0.2).clamp(0, 1)
        crops = []
        for image, sizes, corners in zip(images, shares, places, strict=True):
            for share, corner in zip(sizes.tolist(), corners.tolist(), strict=True):
                high, wide = (max(2, round(share * largest * side)) for side in size)
                top, left = round(corner[0] * (height - high)), round(corner[1] * (width - wide))
                crop = image[None, :, top : top + high, left : left + wide]
                crops.append(F.interpolate(crop, size, mode="bilinear", antialias=True))
        views = torch.cat(crops)
        if self.noise:
            views = views + self.noise * torch.randn(views.shape, generator=generator).to(views)
        return views


@dataclasses.dataclass(frozen=True)
class ColorShift(Transform, name="color-shift"):
    """Contrast and brightness of each color, changed at random around middle grey: shapes count more than colors.

    Args:
        contrast: largest change of the logarithm of the contrast.
        brightness: largest change of the brightness, in [0, 1].

    Reference: Ghiasi et al., ICML 2022, "Plug-In Inversion", section 3.4.
    """

    contrast: float = 0.3
    brightness: float = 0.1

    def __call__(self, images: Images, generator: torch.Generator) -> Images:
        """The images in other colors; they may leave [0, 1] a little."""
        factor, offset = (torch.rand(2, len(images), 3, 1, 1, generator=generator) * 2 - 1).to(images)
        shifted: Images = (images - 0.5) * torch.exp(self.contrast * factor) + 0.5 + self.brightness * offset
        return shifted


@dataclasses.dataclass(frozen=True)
class Flip(Transform, name="flip"):
    """Left and right exchanged, in half of the images."""

    def __call__(self, images: Images, generator: torch.Generator) -> Images:
        """The images, some of them mirrored."""
        drawn = torch.rand(len(images), 1, 1, 1, generator=generator) < 0.5
        return torch.where(drawn.to(images.device), images.flip(3), images)
