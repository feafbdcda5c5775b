"""What is painted on: parameters that become images in [0, 1]."""

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
from phosphene.synthesis.canvas.color import Ink, colors_seen, frequencies, mean_color

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
            self.register_parameter(name, nn.Parameter(value.contiguous()))  # fused optimizers ignore strides
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

    def begin(
        self,
        network: Network,
        count: int,
        size: tuple[int, int],
        *,
        generator: torch.Generator,
        start: Images | None = None,
    ) -> Painting:
        """A blank one, or one that shows some images.

        Args:
            network: what the images are for: its mean color is the blank.
            count: images.
            size: height and width, in pixels.
            generator: of the noise.
            start: (1 or count, 3, H, W), what is shown at first, as nearly as the canvas can.
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

    def begin(
        self,
        network: Network,
        count: int,
        size: tuple[int, int],
        *,
        generator: torch.Generator,
        start: Images | None = None,
    ) -> Painting:
        """Zero, noise, or the images."""
        mean = mean_color(network)
        value = torch.zeros(count, colors_seen(network), *size)
        if start is not None:
            apart = start.to(mean) - mean
            value = value + (apart if value.shape[1] == 3 else apart.mean(1, keepdim=True)).cpu()
        elif self.start == "noise":
            value = self.noise * torch.randn(value.shape, generator=generator)

        def render(value: Tensor) -> Images:
            return mean + value

        def project(value: Tensor) -> None:
            value.copy_(value.clamp(-mean[:, : value.shape[1]], 1 - mean[:, : value.shape[1]]))

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

    def begin(
        self,
        network: Network,
        count: int,
        size: tuple[int, int],
        *,
        generator: torch.Generator,
        start: Images | None = None,
    ) -> Painting:
        """Faint noise around the mean color, or the images."""
        ink, scale = Ink.of(network), self._scale(size).to(network.device)
        spectrum = self.noise * torch.randn(count, ink.mixing.shape[1], *scale.shape, 2, generator=generator)
        if start is not None:
            waves = torch.fft.rfft2(ink.wash(start.to(network.device)), norm="ortho") / scale
            spectrum = torch.view_as_real(waves).expand(count, -1, -1, -1, -1).clone()

        def render(spectrum: Tensor) -> Images:
            return ink(torch.fft.irfft2(torch.view_as_complex(spectrum) * scale, s=size, norm="ortho"))

        return Painting({"spectrum": spectrum.to(network.device)}, render)

    def _scale(self, size: tuple[int, int]) -> Tensor:
        """By what each wave is multiplied: the same for so many cycles per picture, whatever the size."""
        scale = 1 / frequencies(size).clamp(min=1 / max(size)) ** self.decay
        level: float = (max(size) / _TUNED) ** (1 - self.decay)
        return scale * math.sqrt(size[0] * size[1]) / max(size) * level


@dataclasses.dataclass(frozen=True)
class Perturbation(Canvas, name="perturbation"):
    """A small change of given images: image + change, nowhere more than eps, and within [0, 1].

    Args:
        eps: the most that any value changes, in [0, 1].

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


_TUNED = 224  # pixels a side, at which steps are as large for every decay as they were chosen to be
