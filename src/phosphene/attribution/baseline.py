"""Pictures that replace the image or its covered pixels: a color, another picture, noise, or the image blurred."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor

from phosphene.core.errors import ImageError, OptionError
from phosphene.core.images.image import Picture, blurred
from phosphene.core.inputs import prepare_inputs
from phosphene.core.networks.network import Images, Network

Color = Literal["mean", "black", "white", "grey"]

Baseline = Color | str | Picture | Tensor
"""A color by name, or a picture: its path, a Picture, or a tensor (3, H, W) at the input size of the network."""

Fill = Color | Literal["noise", "blur"] | float
"""What covered pixels show: a color by name, a grey level in [0, 1], noise or the image blurred; see `fill_image`."""


def check_baseline(method: str | None, baseline: Baseline) -> None:
    """Refuse a text that is neither a color nor the path of a picture.

    Raises:
        OptionError: there is no such color.
    """
    if not isinstance(baseline, str) or baseline in get_args(Color):
        return
    if not Path(baseline).suffix and not baseline.startswith("sample:") and not Path(baseline).exists():
        raise OptionError(f"{method} has no baseline {baseline!r}; give a picture, or {', '.join(get_args(Color))}")


def baseline_image(baseline: Baseline, network: Network, images: Images) -> Images:
    """The baseline of each image, of the shape of the images; "mean" is the color that the network normalizes to zero.

    Raises:
        ImageError: several pictures, or a tensor of another size than the images.
    """
    if isinstance(baseline, str) and baseline in get_args(Color):
        return _colored(baseline, network, images)
    picture = prepare_inputs(network, baseline).images.to(images)
    if len(picture) != 1 or picture.shape[2:] != images.shape[2:]:
        size = " × ".join(map(str, images.shape[2:]))
        raise ImageError(f"the baseline is {tuple(picture.shape)}; give one picture, or a tensor (3, H, W) of {size}")
    return picture.expand_as(images)


def _colored(color: str, network: Network, images: Images) -> Images:
    colors = {"black": (0.0,), "white": (1.0,), "grey": (0.5,), "mean": network.preprocess.mean_color}
    return images.new_tensor(colors[color]).view(1, -1, 1, 1).expand_as(images)


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
    if isinstance(fill, str) and fill in get_args(Color):
        return _colored(fill, network, image)
    if isinstance(fill, str) or not 0 <= fill <= 1:
        known = ", ".join((*get_args(Color), "noise", "blur"))
        raise OptionError(f"fill is {fill!r}; choose {known} or a grey level in [0, 1]")
    return torch.full_like(image, fill)
