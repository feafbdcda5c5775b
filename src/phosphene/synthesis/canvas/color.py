"""Color correlation and spectra of natural photographs, computed from photographs."""

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
"""`mixing_of` 500 photographs of ImageNet, by benchmarks/colors.py; few photographs would add their own tint."""


def mixing_of(pictures: Iterable[Picture]) -> Tensor:
    """Square root of the color covariance of photographs, each with the same weight.

    Args:
        pictures: natural photographs, at least one.

    Returns:
        (3, 3), scaled so that its longest column has length 1: it turns three independent channels into RGB that is
        correlated as in photographs.

    >>> import numpy as np
    >>> grey = Picture.from_array(np.arange(256, dtype=np.uint8).reshape(16, 16))
    >>> mixing_of([grey]).round(decimals=2)[0]
    tensor([0.5800, 0.5800, 0.5800])
    """
    pixels = torch.stack([resize(picture.tensor(), (_SIDE, _SIDE), "bilinear")[0].flatten(1) for picture in pictures])
    centered = (pixels - pixels.mean((0, 2))[:, None]).transpose(0, 1).flatten(1).double()
    values, vectors = torch.linalg.eigh(centered @ centered.T / centered.shape[1])
    root = vectors @ values.clamp(min=0).sqrt().diag() @ vectors.T
    mixing: Tensor = root / root.norm(dim=0).max()
    return mixing.float()


def installed() -> list[Picture]:
    """The photographs that are installed."""
    return [load(sample(name)) for name in SAMPLES]


@dataclasses.dataclass(frozen=True)
class ColorDecorrelation:
    """Between decorrelated channels and colors: image = sigmoid(mean + A · channels), A of `mixing_of`.

    Args:
        mean: (1, 3, 1, 1), before the sigmoid.
        mixing: A, (3, 3); (3, 1) for a network that sees grey.
    """

    mean: Tensor
    mixing: Tensor

    @classmethod
    def of(cls, network: Network) -> ColorDecorrelation:
        """Channels of which zero is the mean color of a network."""
        mean = mean_color(network)
        mixing = torch.tensor(NATURAL if colors_seen(network) == 3 else [[1.0]] * 3, device=mean.device)
        return cls(torch.logit(mean.clamp(0.02, 0.98)), mixing / _GAIN)

    def __call__(self, channels: Tensor) -> Images:
        """(N, 3, H, W) in [0, 1]."""
        return torch.sigmoid(self.mean + torch.einsum("ij,njhw->nihw", self.mixing, channels))

    def inverse(self, images: Images) -> Tensor:
        """The decorrelated channels of images; values are first clamped to [0.005, 0.995], as the logit needs it."""
        centered = torch.logit(images.clamp(0.005, 0.995)) - self.mean
        return torch.einsum("ij,njhw->nihw", torch.linalg.pinv(self.mixing), centered)


def spectrum_of(pictures: Sequence[Picture], size: tuple[int, int], colors: ColorDecorrelation) -> Tensor:
    """Mean Fourier magnitude of photographs in decorrelated channels, averaged over directions: (C, H, W // 2 + 1).

    A few photographs suffice for the magnitude of a frequency, not for that of each of its directions.

    Args:
        pictures: natural photographs, at least one.
        size: height and width to bring them to.
        colors: turns pixels into C decorrelated channels.
    """
    images = torch.cat([resize(picture.tensor(), size, "bilinear") for picture in pictures])
    magnitude = torch.fft.rfft2(colors.inverse(images.to(colors.mean)), norm="ortho").abs().mean(0)
    ring = (frequencies(size) * max(size)).round().long().flatten().to(magnitude.device)
    many = torch.bincount(ring).clamp(min=1)
    means = torch.stack([torch.bincount(ring, channel.flatten(), minlength=len(many)) / many for channel in magnitude])
    return means[:, ring].view(-1, *magnitude.shape[1:])


def frequencies(size: tuple[int, int]) -> Tensor:
    """Cycles per pixel of every coefficient of `rfft2`, (H, W // 2 + 1).

    >>> frequencies((4, 4))[1]
    tensor([0.2500, 0.3536, 0.5590])
    """
    return torch.hypot(torch.fft.fftfreq(size[0])[:, None], torch.fft.rfftfreq(size[1])[None])


def mean_color(network: Network) -> Tensor:
    """The color that the network sees as zero, (1, 3, 1, 1) in RGB, on its device."""
    return torch.tensor(network.preprocess.mean_color, dtype=torch.float32, device=network.device).view(1, 3, 1, 1)


def colors_seen(network: Network) -> int:
    """3, or 1 for a network that sees grey pictures, for which the images that are made are grey too."""
    return 1 if network.preprocess.order == "grey" else 3


_GAIN = 4.0  # inverse gain of the channels: the first steps neither saturate the sigmoid nor are too small
