"""Lucid's recipe, written anew from its defaults, as a preset of phosphene: what the best preset is measured against.

Facts of lucid 0.3: optvis/param (Fourier, deviation .01, decay 1, a quarter of it, colors, sigmoid), optvis/transform
(pad 12, jitter 8, scale .9 … 1.1, rotation ±10°, jitter 4; each one change for the whole batch), Adam at .05, ReLUs
redirected in the first 16 steps. Lucid draws 128 × 128; here the canvas is what the network takes, or --size 128.
"""

from __future__ import annotations

import dataclasses
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from phosphene.core.networks.network import Images, Network
from phosphene.synthesis.canvas.canvas import Canvas, Painting
from phosphene.synthesis.canvas.color import frequencies
from phosphene.synthesis.loop.optimizers import Adam
from phosphene.synthesis.settings.preset import Parts, Preset
from phosphene.synthesis.transforms.transforms import Pad, Transform


@dataclasses.dataclass(frozen=True)
class LucidFourier(Canvas, name="lucid-fourier"):
    """image = sigmoid(M · irfft(spectrum · √(hw) / f) / 4), M the square root of the colors of ImageNet."""

    def begin(
        self,
        network: Network,
        count: int,
        size: tuple[int, int],
        generator: torch.Generator,
        *,
        start: Images | None = None,
    ) -> Painting:
        """Noise of deviation .01 in every coefficient."""
        assert start is None, "lucid has no start"
        scale = math.sqrt(size[0] * size[1]) / frequencies(size).clamp(min=1 / max(size))
        spectrum = 0.01 * torch.randn(count, 3, *scale.shape, 2, generator=generator)
        mixing, scale = (_SVD_SQRT / _SVD_SQRT.norm(dim=0).max()).to(network.device), scale.to(network.device)

        def render(spectrum: Tensor) -> Images:
            waves = torch.fft.irfft2(torch.view_as_complex(spectrum) * scale, s=size)
            return torch.sigmoid(torch.einsum("ij,njhw->nihw", mixing, waves / 4))

        return Painting({"spectrum": spectrum.to(network.device)}, render)


@dataclasses.dataclass(frozen=True)
class Jitter(Transform, name="lucid-jitter"):
    """A crop that is smaller by `pixels`, at a random place: the same for the whole batch."""

    pixels: int = 8

    def __call__(self, images: Images, generator: torch.Generator) -> Images:
        """Smaller images."""
        top, left = torch.randint(self.pixels + 1, (2,), generator=generator).tolist()
        height, width = (side - self.pixels for side in images.shape[2:])
        return images[:, :, top : top + height, left : left + width]


@dataclasses.dataclass(frozen=True)
class Scale(Transform, name="lucid-scale"):
    """Resized by one of .90, .92, … 1.10."""

    def __call__(self, images: Images, generator: torch.Generator) -> Images:
        """Larger or smaller images."""
        scale = 0.9 + 0.02 * int(torch.randint(11, (), generator=generator))
        size = [round(scale * side) for side in images.shape[2:]]
        return F.interpolate(images, size, mode="bilinear")


@dataclasses.dataclass(frozen=True)
class Rotate(Transform, name="lucid-rotate"):
    """Turned by one of -10 … 10 degrees or, 5 times as often as by each of them, not at all; nearest pixel, black."""

    def __call__(self, images: Images, generator: torch.Generator) -> Images:
        """Turned images."""
        angles = [*range(-10, 11), 0, 0, 0, 0, 0]
        angle = math.radians(angles[int(torch.randint(len(angles), (), generator=generator))])
        ratio = images.shape[2] / images.shape[3]
        turn = [
            [math.cos(angle), -math.sin(angle) * ratio, 0.0],
            [math.sin(angle) / ratio, math.cos(angle), 0.0],
        ]
        grid = F.affine_grid(images.new_tensor([turn]).expand(len(images), 2, 3), list(images.shape), False)
        return F.grid_sample(images, grid, mode="nearest", padding_mode="zeros", align_corners=False)


@dataclasses.dataclass(frozen=True)
class Lucid(Preset, name="lucid"):
    """`render_vis` with its defaults."""

    steps: int = 512

    def parts(self, *, still: float | None = None, seen: tuple[int, int] | None = None) -> Parts:  # noqa: ARG002  all alike
        """Canvas, Adam, the standard transforms."""
        return LucidFourier(), Adam(0.05), (Pad(12), Jitter(8), Scale(), Rotate(), Jitter(4)), ()

    @property
    def redirect(self) -> int:
        """The first 16 steps."""
        return 16


_SVD_SQRT = torch.tensor([[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]])
