"""Colors and spectra of natural photographs, computed from photographs, not copied from anybody's constants."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from phosphene.core.images.image import Picture, load, resize
from phosphene.core.images.samples import SAMPLES, sample
from phosphene.core.networks.network import Images, Network

_SIDE = 64


NATURAL = (
    (0.780, 0.448, 0.339),
    (0.448, 0.683, 0.459),
    (0.339, 0.459, 0.821),
)
"""`mixing_of` 500 photographs of ImageNet, by benchmarks/colors.py: the tints of a few would color everything."""


def mixing_of(pictures: Iterable[Picture]) -> Tensor:
    """How the colors of some photographs vary together, each with the same weight.

    Args:
        pictures: natural photographs, at least one.

    Returns:
        (3, 3), the square root of the covariance of RGB, scaled so that its longest column has length 1: it turns three
        independent channels into colors as they occur.

    >>> import numpy as np
    >>> grey = Picture.from_array(np.arange(256, dtype=np.uint8).reshape(16, 16))
    >>> mixing_of([grey]).round(decimals=2)[0]
    tensor([0.5800, 0.5800, 0.5800])
    """
    pixels = torch.stack([resize(each.tensor(), (_SIDE, _SIDE), "bilinear")[0].flatten(1) for each in pictures])
    apart = (pixels - pixels.mean((0, 2))[:, None]).transpose(0, 1).flatten(1).double()
    values, vectors = torch.linalg.eigh(apart @ apart.T / apart.shape[1])
    root = vectors @ values.clamp(min=0).sqrt().diag() @ vectors.T
    mixing: Tensor = root / root.norm(dim=0).max()
    return mixing.float()


def installed() -> list[Picture]:
    """The photographs that are installed."""
    return [load(sample(name)) for name in SAMPLES]


@dataclasses.dataclass(frozen=True)
class Ink:
    """Between free numbers and colors: image = sigmoid(mean + A · numbers), A mixing colors as photographs do.

    Args:
        mean: (1, 3, 1, 1), before the sigmoid.
        mixing: (3, 3); (3, 1) for a network that sees grey.
    """

    mean: Tensor
    mixing: Tensor

    @classmethod
    def of(cls, network: Network) -> Ink:
        """Zero is the mean color of the network."""
        mean = mean_color(network)
        mixing = torch.tensor(NATURAL if colors_seen(network) == 3 else [[1.0]] * 3, device=mean.device)
        return cls(torch.logit(mean.clamp(0.02, 0.98)), mixing / _SOFTEN)

    def __call__(self, numbers: Tensor) -> Images:
        """(N, 3, H, W) in [0, 1]."""
        return torch.sigmoid(self.mean + torch.einsum("ij,njhw->nihw", self.mixing, numbers))

    def wash(self, images: Images) -> Tensor:
        """The numbers of images; the darkest and the brightest of their pixels a little less so."""
        apart = torch.logit(images.clamp(0.005, 0.995)) - self.mean
        return torch.einsum("ij,njhw->nihw", torch.linalg.pinv(self.mixing), apart)


def spectrum_of(pictures: Sequence[Picture], size: tuple[int, int], ink: Ink) -> Tensor:
    """Mean magnitude of the waves in some photographs, in free numbers: (C, H, W // 2 + 1), one for each frequency.

    A few photographs tell how strong a frequency is, not how strong each of its directions.

    Args:
        pictures: natural photographs, at least one.
        size: height and width to bring them to.
        ink: what turns pixels into free numbers, C of them.
    """
    images = torch.cat([resize(each.tensor(), size, "bilinear") for each in pictures])
    magnitude = torch.fft.rfft2(ink.wash(images.to(ink.mean)), norm="ortho").abs().mean(0)
    ring = (frequencies(size) * max(size)).round().long().flatten().to(magnitude.device)
    many = torch.bincount(ring).clamp(min=1)
    means = torch.stack([torch.bincount(ring, each.flatten(), minlength=len(many)) / many for each in magnitude])
    return means[:, ring].view(-1, *magnitude.shape[1:])


def frequencies(size: tuple[int, int]) -> Tensor:
    """Cycles per pixel of every wave that `rfft2` tells apart, (H, W // 2 + 1).

    >>> frequencies((4, 4))[1]
    tensor([0.2500, 0.3536, 0.5590])
    """
    return torch.hypot(torch.fft.fftfreq(size[0])[:, None], torch.fft.rfftfreq(size[1])[None])


def mean_color(network: Network) -> Tensor:
    """The color that the network sees as zero, (1, 3, 1, 1) in RGB."""
    mean = network.preprocess.mean
    mean = mean * 3 if len(mean) == 1 else mean
    mean = mean[::-1] if network.preprocess.order == "bgr" else mean
    return torch.tensor(mean, device=network.device).view(1, 3, 1, 1)


def colors_seen(network: Network) -> int:
    """3, or 1 for a network that is shown grey pictures: those it is made are grey."""
    return 1 if network.preprocess.order == "grey" else 3


_SOFTEN = 4.0  # so that the first steps neither drown in the sigmoid nor are lost in it
