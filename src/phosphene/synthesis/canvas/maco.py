"""The canvas whose waves have the strength that they have in photographs; only where they lie is free."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from phosphene.core.images import image
from phosphene.core.networks.network import Images, Network
from phosphene.synthesis.canvas.canvas import Canvas, Painting
from phosphene.synthesis.canvas.color import Ink, installed, spectrum_of


@dataclasses.dataclass(frozen=True)
class MACO(Canvas, name="maco"):
    """Phases alone are painted: the magnitude of every wave is its mean in natural photographs.

    image = sigmoid(mean + A · irfft(r · exp(iφ))): no objective can make the picture louder, or rougher, than
    photographs are; it can only put the waves in their places.

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
        ink = Ink.of(network)
        pictures = [image.load(each) for each in image.find([self.photographs])] if self.photographs else installed()
        magnitude = spectrum_of(pictures, size, ink)
        magnitude[:, 0, 0] = 0  # the mean color is no wave
        if start is None:
            phase = torch.rand(count, *magnitude.shape, generator=generator).to(network.device) * (2 * torch.pi)
        else:
            phase = torch.fft.rfft2(ink.wash(start.to(network.device))).angle().expand(count, -1, -1, -1).clone()

        def render(phase: Tensor) -> Images:
            return ink(torch.fft.irfft2(torch.polar(magnitude.expand_as(phase), phase), s=size, norm="ortho"))

        return Painting({"phase": phase}, render)
