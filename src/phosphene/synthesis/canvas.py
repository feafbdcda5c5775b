"""What is painted on: parameters that become images in [0, 1]."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from phosphene.core.errors import OptionError
from phosphene.core.network import Images, Network
from phosphene.core.registry import Named
from phosphene.synthesis.color import natural_colors

Start = Literal["mean", "noise"]


class Painting(nn.Module):
    """A canvas while it is painted on: calling it gives the images, (N, 3, H, W) in [0, 1].

    Args:
        parameters: what the optimizer moves, by name.
        render: makes the images of them.
        project: puts the parameters back where they may be, after each step.
    """

    def __init__(
        self, parameters: dict[str, Tensor], render: Callable[..., Images], project: Callable[..., None] | None = None
    ) -> None:
        super().__init__()
        for name, value in parameters.items():
            self.register_parameter(name, nn.Parameter(value))
        self._render, self._project = render, project

    def forward(self) -> Images:
        """The images."""
        images: Images = self._render(**dict(self.named_parameters()))
        return images

    @torch.no_grad()
    def project(self) -> None:
        """Put the parameters back where they may be."""
        if self._project is not None:
            self._project(**dict(self.named_parameters()))


@dataclasses.dataclass(frozen=True)
class Canvas(Named):
    """A way to write an image as parameters. It decides which pictures are near and which are far for an optimizer."""

    def begin(self, network: Network, count: int, size: tuple[int, int], generator: torch.Generator) -> Painting:
        """A blank one.

        Args:
            network: what the images are for: its mean color is the start.
            count: images.
            size: height and width, in pixels.
            generator: of the noise.
        """
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Pixels(Canvas, name="pixels"):
    """Every pixel is a parameter, measured from the mean color of the network; the zero image is that mean.

    Args:
        start: "mean", the zero image of the lecture, or "noise" around it.
        noise: deviation of that noise, in [0, 1].

    Reference: Simonyan, Vedaldi & Zisserman, ICLR workshop 2014, section 2.
    """

    start: Start = "mean"
    noise: float = 0.05

    def begin(self, network: Network, count: int, size: tuple[int, int], generator: torch.Generator) -> Painting:
        """Zero, or noise."""
        mean = mean_color(network)
        value = torch.zeros(count, 3, *size)
        if self.start == "noise":
            value = self.noise * torch.randn(value.shape, generator=generator)

        def render(value: Tensor) -> Images:
            return mean + value

        def project(value: Tensor) -> None:
            value.copy_((mean + value).clamp_(0, 1) - mean)

        return Painting({"value": value.to(mean)}, render, project)


@dataclasses.dataclass(frozen=True)
class Fourier(Canvas, name="fourier"):
    """Frequencies of decorrelated colors, each divided by its frequency: steps are as large as in natural images.

    image = sigmoid(mean + A · irfft(spectrum / fᵈ)), with A the square root of the covariance of colors in natural
    photographs.

    Args:
        decay: the power d of the frequency.
        noise: deviation of the spectrum at the start.

    Reference: Olah, Mordvintsev & Schubert, Distill 2017, "Feature Visualization".
    """

    decay: float = 1.0
    noise: float = 0.01

    def __post_init__(self) -> None:
        if not 0 <= self.decay <= 3:
            raise OptionError(f"decay is {self.decay}; fourier wants 0 … 3, and 1 is that of photographs")

    def begin(self, network: Network, count: int, size: tuple[int, int], generator: torch.Generator) -> Painting:
        """Faint noise around the mean color."""
        mean = mean_color(network)
        start, mixing = torch.logit(mean.clamp(0.02, 0.98)), natural_colors().mixing.to(mean)
        scale = 1 / frequencies(size).clamp(min=1 / max(size)).to(mean) ** self.decay
        scale = scale * math.sqrt(size[0] * size[1]) / max(size)
        spectrum = self.noise * torch.randn(count, 3, *scale.shape, 2, generator=generator)

        def render(spectrum: Tensor) -> Images:
            waves = torch.fft.irfft2(torch.view_as_complex(spectrum) * scale, s=size, norm="ortho")
            return torch.sigmoid(start + torch.einsum("ij,njhw->nihw", mixing, waves / _SOFTEN))

        return Painting({"spectrum": spectrum.to(mean)}, render)


def mean_color(network: Network) -> Tensor:
    """The color that the network sees as zero, (1, 3, 1, 1) in RGB."""
    mean = network.preprocess.mean
    mean = mean * 3 if len(mean) == 1 else mean
    mean = mean[::-1] if network.preprocess.order == "bgr" else mean
    return torch.tensor(mean, device=network.device).view(1, 3, 1, 1)


def frequencies(size: tuple[int, int]) -> Tensor:
    """Cycles per pixel of every wave that `rfft2` tells apart, (H, W // 2 + 1).

    >>> frequencies((4, 4))[1]
    tensor([0.2500, 0.3536, 0.5590])
    """
    return torch.hypot(torch.fft.fftfreq(size[0])[:, None], torch.fft.rfftfreq(size[1])[None])


_SOFTEN = 4.0  # so that the first steps neither drown in the sigmoid nor are lost in it
