"""Canvases: parameterizations of images in [0, 1]."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from phosphene.core.errors import OptionError
from phosphene.core.networks.network import Images, Network
from phosphene.core.registry import Named
from phosphene.synthesis.canvas.color import ColorDecorrelation, colors_seen, frequencies, mean_color

Start = Literal["mean", "noise"]


class Painting(nn.Module):
    """The parameters of images: calling it computes the images, (N, 3, H, W) in [0, 1].

    Args:
        parameters: by name.
        render: computes the images of them.
        project: projects the parameters onto the allowed ones in place, after each step.
    """

    def __init__(
        self, parameters: dict[str, Tensor], render: Callable[..., Images], project: Callable[..., None] | None = None
    ) -> None:
        super().__init__()
        for name, value in parameters.items():
            self.register_parameter(name, nn.Parameter(value.contiguous()))  # fused optimizers ignore strides
        self._render, self._project = render, project

    def forward(self) -> Images:
        """The images."""
        images: Images = self._render(**dict(self.named_parameters()))
        return images

    @torch.no_grad()
    def project(self) -> None:
        """Project the parameters onto the allowed ones."""
        if self._project is not None:
            self._project(**dict(self.named_parameters()))


@dataclasses.dataclass(frozen=True)
class Canvas(Named):
    """A parameterization of images. It decides which images are few steps of an optimizer away."""

    def begin(
        self,
        network: Network,
        count: int,
        size: tuple[int, int],
        *,
        generator: torch.Generator,
        start: Images | None = None,
    ) -> Painting:
        """The parameters of blank images, or of given ones.

        Args:
            network: that the images are made for; a blank image has its mean color.
            count: images.
            size: height and width, in pixels.
            generator: of the noise.
            start: (1 or count, 3, H, W), the images to begin with, as nearly as the canvas can show them.
        """
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Pixels(Canvas, name="pixels"):
    """Every pixel is a parameter, relative to the mean color of the network.

    Args:
        start: "mean", the mean color, or "noise" around it.
        noise: deviation of the noise, in [0, 1].

    Reference: Simonyan, Vedaldi & Zisserman, ICLR workshop 2014, section 2.
    """

    start: Start = "mean"
    noise: float = 0.05

    def begin(
        self,
        network: Network,
        count: int,
        size: tuple[int, int],
        *,
        generator: torch.Generator,
        start: Images | None = None,
    ) -> Painting:
        """The mean color, noise, or the images."""
        mean = mean_color(network)
        value = torch.zeros(count, colors_seen(network), *size)
        if start is not None:
            centered = start.to(mean) - mean
            value = value + (centered if value.shape[1] == 3 else centered.mean(1, keepdim=True)).cpu()
        elif self.start == "noise":
            value = self.noise * torch.randn(value.shape, generator=generator)

        def render(value: Tensor) -> Images:
            return mean + value

        def project(value: Tensor) -> None:
            value.copy_(value.clamp(-mean[:, : value.shape[1]], 1 - mean[:, : value.shape[1]]))

        return Painting({"value": value.to(mean)}, render, project)


@dataclasses.dataclass(frozen=True)
class Fourier(Canvas, name="fourier"):
    """Fourier coefficients of decorrelated colors, each divided by its frequency, as in the spectra of photographs.

    image = sigmoid(mean + A · irfft(spectrum / fᵈ)), with A the square root of the covariance of colors in
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

    def begin(
        self,
        network: Network,
        count: int,
        size: tuple[int, int],
        *,
        generator: torch.Generator,
        start: Images | None = None,
    ) -> Painting:
        """Noise of low contrast around the mean color, or the images."""
        colors, scale = ColorDecorrelation.of(network), self._scale(size).to(network.device)
        spectrum = self.noise * torch.randn(count, colors.mixing.shape[1], *scale.shape, 2, generator=generator)
        if start is not None:
            waves = torch.fft.rfft2(colors.inverse(start.to(network.device)), norm="ortho") / scale
            spectrum = torch.view_as_real(waves).expand(count, -1, -1, -1, -1).clone()

        def render(spectrum: Tensor) -> Images:
            return colors(torch.fft.irfft2(torch.view_as_complex(spectrum) * scale, s=size, norm="ortho"))

        return Painting({"spectrum": spectrum.to(network.device)}, render)

    def _scale(self, size: tuple[int, int]) -> Tensor:
        """Factor of every coefficient: the same at every size for the same number of cycles per picture."""
        scale = 1 / frequencies(size).clamp(min=1 / max(size)) ** self.decay
        level: float = (max(size) / _TUNED) ** (1 - self.decay)
        return scale * math.sqrt(size[0] * size[1]) / max(size) * level


@dataclasses.dataclass(frozen=True)
class Perturbation(Canvas, name="perturbation"):
    """A change of given images in an L∞ ball: |change| ≤ eps for every value, image + change in [0, 1].

    Args:
        eps: radius of the ball, in [0, 1].

    Reference: Goodfellow, Shlens & Szegedy, ICLR 2015.
    """

    eps: float = 8 / 255

    def __post_init__(self) -> None:
        if self.eps <= 0:
            raise OptionError(f"eps is {self.eps}; perturbation wants more than 0")

    def begin(
        self,
        network: Network,
        count: int,
        size: tuple[int, int],  # noqa: ARG002  that of the images
        *,
        generator: torch.Generator,  # noqa: ARG002  nothing is random
        start: Images | None = None,
    ) -> Painting:
        """The images themselves.

        Raises:
            OptionError: no images to change.
        """
        if start is None:
            raise OptionError('the canvas "perturbation" changes images; give synthesize some as start')
        base = start.detach().to(network.device).expand(count, -1, -1, -1)

        def render(change: Tensor) -> Images:
            return base + change

        def project(change: Tensor) -> None:
            change.copy_((base + change.clamp(-self.eps, self.eps)).clamp(0, 1) - base)

        return Painting({"change": torch.zeros_like(base)}, render, project)


_TUNED = 224  # pixels a side, at which the size of steps is the same for every decay
