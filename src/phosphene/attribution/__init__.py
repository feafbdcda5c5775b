"""Which pixels? Every method is one class in one file; `attribute` runs one, `attribute_all` several from one pass."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence

import torch

from phosphene.attribution.attribution import Attribution as Attribution
from phosphene.attribution.heatmap import Heatmap as Heatmap
from phosphene.attribution.heatmap import attribute_all as attribute_all
from phosphene.core.images.image import Picture
from phosphene.core.networks.network import Images, Network
from phosphene.core.objectives.grammar import resolve
from phosphene.core.objectives.objective import Objective

# A file in this folder is a method: importing it registers it.
for _module in pkgutil.walk_packages(__path__, f"{__name__}."):
    importlib.import_module(_module.name)


def attribute(
    network: Network,
    pictures: Picture | Sequence[Picture] | Images,
    target: str | int | Objective = "top",
    *,
    method: str | Attribution = "grad-cam",
) -> Heatmap:
    """Which pixels matter to a target, by one method.

    Args:
        network: whose decision is explained.
        pictures: photographs of any size, or images (N, 3, H, W), RGB in [0, 1], at the size that the network wants.
        target: a label, an index, "top", a text such as "tabby - tiger cat" or "blocks.4:17@7,7", or an objective.
        method: a registered name, or a method with its options.

    Returns:
        raw, signed values (N, 1 or 3, H, W), and where they came from.

    Raises:
        OptionError: no method of that name.
        TargetError: no such target.
        LayerError: the method cannot work on this network.
        ImageError: images of another shape, or outside [0, 1].

    >>> attribute(tiny, images, "tabby - tiger cat", method="grad-cam").values.shape
    torch.Size([2, 1, 32, 32])
    """
    chosen = Attribution.find(method)() if isinstance(method, str) else method
    images = network.check(as_images(network, pictures))
    return attribute_all(network, images, [resolve(target, network, images)], [chosen])[0]


def as_images(network: Network, pictures: Picture | Sequence[Picture] | Images) -> Images:
    """Photographs at the size that a network wants; images stay as they are."""
    if isinstance(pictures, torch.Tensor):
        return pictures
    several = [pictures] if isinstance(pictures, Picture) else pictures
    return torch.cat([network.prepare(each).images for each in several])
