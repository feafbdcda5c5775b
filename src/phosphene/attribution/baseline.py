"""The picture that replaces the image or its covered pixels: a color, noise, or the image blurred."""

from __future__ import annotations

from typing import Literal, cast, get_args

import torch
import torch.nn.functional as F

from phosphene.core.errors import OptionError
from phosphene.core.networks.network import Images, Network

Baseline = Literal["mean", "black", "white", "grey"]

Fill = Baseline | Literal["noise", "blur"] | float
"""What covered pixels show: a color by name, a grey level in [0, 1], noise or the image blurred; see `fill_image`."""


def baseline_image(color: Baseline, network: Network, images: Images) -> Images:
    """A picture of one color, of the shape of the images; "mean" is the color that the network normalizes to zero."""
    levels = {"black": (0.0,), "white": (1.0,), "grey": (0.5,), "mean": network.preprocess.mean}[color]
    if color == "mean" and network.preprocess.order == "bgr":
        levels = levels[::-1]
    return images.new_tensor(levels).view(1, -1, 1, 1).expand_as(images)


def fill_image(fill: Fill, network: Network, image: Images, *, sigma: float = 8.0, seed: int = 0) -> Images:
    """The picture (1, 3, H, W) that covered pixels of an image show.

    Args:
        fill: "mean", the color that the network normalizes to zero; "black", "white", "grey" or a level in [0, 1];
            "noise", uniform in [0, 1]; "blur", the image blurred.
        network: whose mean color is meant.
        image: (1, 3, H, W), whose pixels are covered.
        sigma: of the Gaussian blur, in pixels.
        seed: of the noise.

    Raises:
        OptionError: another word, or a level outside [0, 1].
    """
    if fill == "noise":
        return torch.rand(image.shape, generator=torch.Generator().manual_seed(seed)).to(image)
    if fill == "blur":
        return blurred(image, sigma)
    if fill in get_args(Baseline):
        return baseline_image(cast("Baseline", fill), network, image)
    if isinstance(fill, str) or not 0 <= fill <= 1:
        known = ", ".join((*get_args(Baseline), "noise", "blur"))
        raise OptionError(f"fill is {fill!r}; choose {known} or a grey level in [0, 1]")
    return torch.full_like(image, fill)


def blurred(image: Images, sigma: float) -> Images:
    """The image after a Gaussian blur that repeats the border, cut off at three sigma."""
    radius = max(1, round(3 * sigma))
    steps = torch.arange(-radius, radius + 1).to(image)
    kernel = torch.exp(-0.5 * (steps / sigma) ** 2)
    kernel = (kernel / kernel.sum()).expand(image.shape[1], 1, 1, -1)
    for _ in range(2):
        padded = F.pad(image, (radius, radius, 0, 0), mode="replicate")
        image = F.conv2d(padded, kernel, groups=image.shape[1]).transpose(2, 3)
    return image
