"""Which pixels does a target depend on? Each method is one class in one file.

`attribute` runs one method, `attribute_all` several from one forward pass.
"""

from __future__ import annotations

import dataclasses
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
from phosphene.core.result import Cost

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
    """Which pixels a target depends on, by one method.

    Args:
        network: that is explained.
        pictures: photographs of any size, or images (N, 3, H, W), RGB in [0, 1], at the input size of the network.
        target: a label, an index, "top", a text such as "tabby - tiger cat" or "blocks.4:17@7,7", or an objective.
        method: a registered name, or a method with its options.

    Returns:
        raw, signed values (N, 1 or 3, H, W), and where they came from; its cost counts the forward pass, too.

    Raises:
        OptionError: no method of that name.
        TargetError: no such target.
        LayerError: the method cannot work on this network.
        ImageError: images of another shape, or outside [0, 1].

    >>> attribute(tiny, images, "tabby - tiger cat", method="grad-cam").values.shape
    torch.Size([2, 1, 32, 32])
    """
    chosen = Attribution.find(method)() if isinstance(method, str) else method
    images, inputs = as_images(network, pictures)
    (heatmap,) = attribute_all(network, images, [resolve(target, network, images)], [chosen])
    cost, predictions = heatmap.cost + Cost(forwards=len(images)), heatmap.predictions
    if inputs and not predictions:  # the target does not read the logits
        cost, predictions = cost + Cost(forwards=1), network.predict(images[:1])[0]
    return dataclasses.replace(heatmap, inputs=inputs, cost=cost, predictions=predictions)


def as_images(network: Network, pictures: Picture | Sequence[Picture] | Images) -> tuple[Images, tuple[Picture, ...]]:
    """Photographs at the input size of a network, and the photographs; images stay as they are."""
    if isinstance(pictures, torch.Tensor):
        return network.check(pictures), ()
    several = (pictures,) if isinstance(pictures, Picture) else tuple(pictures)
    return network.check(torch.cat([network.prepare(picture).images for picture in several])), several
