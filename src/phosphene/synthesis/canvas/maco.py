"""The canvas with fixed Fourier magnitudes; only the phases are parameters."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from phosphene.core.images import image
from phosphene.core.networks.network import Images, Network
from phosphene.synthesis.canvas.canvas import Canvas, Painting
from phosphene.synthesis.canvas.color import ColorDecorrelation, installed, spectrum_of


@dataclasses.dataclass(frozen=True)
class MACO(Canvas, name="maco"):
    """Phases are the parameters; the magnitude of every frequency is its mean in natural photographs.

    image = sigmoid(mean + A · irfft(r · exp(iφ))): the spectrum, and with it contrast and sharpness, is that of
    photographs, whatever the objective.

    Args:
        photographs: a file or folder of natural photographs for the magnitudes; those that are installed by default.

    Raises:
        ImageError: no photograph there.

    Reference: Fel et al., NeurIPS 2023, "Unlocking Feature Visualization for Deeper Networks with MAgnitude Constrained
    Optimization".
    """

    photographs: str = ""

    def begin(
        self,
        network: Network,
        count: int,
        size: tuple[int, int],
        *,
        generator: torch.Generator,
        start: Images | None = None,
    ) -> Painting:
        """Random phases, or those of the images."""
        colors = ColorDecorrelation.of(network)
        pictures = [image.load(path) for path in image.find([self.photographs])] if self.photographs else installed()
        magnitude = spectrum_of(pictures, size, colors)
        magnitude[:, 0, 0] = 0  # the mean color is added by ColorDecorrelation
        if start is None:
            phase = torch.rand(count, *magnitude.shape, generator=generator).to(network.device) * (2 * torch.pi)
        else:
            phase = torch.fft.rfft2(colors.inverse(start.to(network.device))).angle().expand(count, -1, -1, -1).clone()

        def render(phase: Tensor) -> Images:
            return colors(torch.fft.irfft2(torch.polar(magnitude.expand_as(phase), phase), s=size, norm="ortho"))

        return Painting({"phase": phase}, render)
