"""The way back from single activations to the pixels: each image of a batch from a neuron of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from phosphene.attribution.attribution import record
from phosphene.attribution.gradients.backprop import Deconvnet, Gradient, GuidedBackprop
from phosphene.core.networks.anatomy import has_max_pooling, has_relu_below
from phosphene.core.networks.network import Activations, Box, Images, Network
from phosphene.core.objectives.objective import Objective
from phosphene.survey.engine.patch_boxes import input_box
from phosphene.survey.store.run import Patch

Method = Literal["deconvnet", "guided-backprop", "gradient"]
METHODS: Mapping[Method, Gradient] = {
    "deconvnet": Deconvnet(),
    "guided-backprop": GuidedBackprop(),
    "gradient": Gradient(),
}

HELD = 0.95
"""Share of the magnitude of the gradient that an effective field holds, at least."""


@dataclasses.dataclass(frozen=True)
class Neurons(Objective, name="neurons"):
    """One neuron of each image, of a channel and at a place of its own.

    The gradient of their sum by the pixels of an image is that of its own neuron: images do not see one another.

    Args:
        layer: whose.
        units: channel, row and column for each image; only the channel counts where the layer is a vector.

    >>> Neurons("head", ((4, 0, 0), (2, 0, 0)))({"head": torch.arange(10).view(2, 5)}).tolist()
    [4, 7]
    """

    layer: str
    units: tuple[tuple[int, int, int], ...]

    @property
    def reads(self) -> frozenset[str]:
        return frozenset({self.layer})

    def __call__(self, activations: Activations) -> Tensor:
        maps, images = activations[self.layer], torch.arange(len(self.units))
        channels, rows, columns = torch.tensor(self.units).T
        return maps[images, channels] if maps.ndim == 2 else maps[images, channels, rows, columns]

    def __str__(self) -> str:
        return self.layer


class Way(NamedTuple):
    """What came back of one activation, as arrays.

    Args:
        values: float16 (3, h, w) in [-1, 1], within `seen`.
        peak: what 1 stands for.
        activation: it came back from.
        seen: top, left, bottom and right of the receptive field in the input.
        effective: the same of the effective field, see `effective_field`.
    """

    values: npt.NDArray[Any]
    peak: npt.NDArray[Any]
    activation: npt.NDArray[Any]
    seen: npt.NDArray[Any]
    effective: npt.NDArray[Any]


def back(network: Network, images: Images, patches: Sequence[Patch], method: Method) -> list[Way]:
    """From the activation of each patch back to the pixels of its own image, in one pass.

    Args:
        network: that answers.
        images: (N, 3, H, W), RGB in [0, 1].
        patches: N of one layer, one in each image.
        method: how ReLUs are passed on the way.
    """
    target = Neurons(patches[0].layer, tuple((each.channel, each.row, each.column) for each in patches))
    asked, sensitive = METHODS[method], Gradient() if method == "gradient" else GuidedBackprop()
    methods = list(dict.fromkeys([asked, sensitive]))
    with torch.inference_mode(mode=False):
        run = record(network, images, [target], methods)
        maps = {each: each.map(run, target).detach().float().cpu() for each in methods}
    ways = []
    for i, (patch, activation) in enumerate(zip(patches, run.score(target).float().cpu(), strict=True)):
        seen = Box(0, 0, *network.preprocess.size)
        if not patch.whole:
            seen = input_box(network, patch.layer, patch.row, patch.column)
        values, effective = window(maps[asked][i], seen), effective_field(maps[sensitive][i], seen)
        peak = values.abs().max()
        half = (values / peak.clamp(min=torch.finfo().tiny)).half()
        ways.append(Way(half.numpy(), peak.numpy(), activation.numpy(), np.array(seen), np.array(effective)))
    return ways


def effective_field(gradient: Tensor, seen: Box) -> Box:
    """The square, within the receptive field, around the box that holds 95 % of the magnitude of a gradient.

    The box leaves out as little on each side; it becomes a square about its own middle, moved inside the receptive
    field, and is cut off where this is too small for it.

    Args:
        gradient: of an activation by the pixels, (3, H, W).
        seen: the receptive field, in whole pixels.

    Reference: Luo et al., NeurIPS 2016.

    >>> from phosphene.core.networks.network import Box
    >>> spot = torch.zeros(3, 9, 9)
    >>> spot[:, 2:4, 5] = 1
    >>> effective_field(spot, Box(1, 1, 8, 8))
    Box(top=2, left=4, bottom=4, right=6)
    """
    strength = gradient.abs().sum(0).cpu().double()
    if not strength.any():
        return seen
    out = (1 - HELD) / 4 * strength.sum()
    (top, bottom), (left, right) = (
        (int((line.cumsum(0) <= out).sum()), len(line) - int((line.flip(0).cumsum(0) <= out).sum()))
        for line in (strength.sum(1), strength.sum(0))
    )
    side = max(bottom - top, right - left)
    top = int(max(seen.top, min((top + bottom - side) // 2, seen.bottom - side)))
    left = int(max(seen.left, min((left + right - side) // 2, seen.right - side)))
    return Box(top, left, int(min(top + side, seen.bottom)), int(min(left + side, seen.right)))


def window(values: Tensor, box: Sequence[float]) -> Tensor:
    """The part of (…, H, W) in a box of whole pixels: a view."""
    top, left, bottom, right = map(int, box)
    return values[..., top:bottom, left:right]


def default_method(network: Network, layer: str) -> Method:
    """How the activations of a layer are best projected back.

    The deconvnet where the network has max pooling, whose switches put values back where they came from; without, its
    pattern hardly depends on the picture, and guided backprop is better; the gradient where no ReLU lies below the
    layer. Cost: one forward pass, up to the layer.

    Args:
        network: which.
        layer: its name.

    Reference: Springenberg et al., ICLR 2015 workshop, section 4.2.

    >>> default_method(tiny, "features.5"), default_method(tiny, "features.0")
    ('deconvnet', 'gradient')
    """
    if not has_relu_below(network, layer):
        return "gradient"
    return "deconvnet" if has_max_pooling(network) else "guided-backprop"
