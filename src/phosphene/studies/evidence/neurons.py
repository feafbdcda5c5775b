"""Gradients of single neurons by the pixels: in one batch, a neuron of its own for each image."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from phosphene.attribution.attribution import forward_pass
from phosphene.attribution.gradients.backprop import Deconvnet, Gradient, GuidedBackprop
from phosphene.core.networks.anatomy import has_max_pooling, has_relu_below
from phosphene.core.networks.network import Activations, Box, Images, Network
from phosphene.core.objectives.objective import Objective
from phosphene.survey.engine.patch_boxes import input_box
from phosphene.survey.store.patch import Patch

ProjectionMethod = Literal["deconvnet", "guided-backprop", "gradient"]
METHODS: Mapping[ProjectionMethod, Gradient] = {
    "deconvnet": Deconvnet(),
    "guided-backprop": GuidedBackprop(),
    "gradient": Gradient(),
}

EFFECTIVE_SHARE = 0.95
"""Share of the magnitude of the gradient that lies in the effective field, at least."""


@dataclasses.dataclass(frozen=True)
class Neurons(Objective, name="neurons"):
    """One neuron for each image: channel and place differ from image to image.

    The gradient of their sum by the pixels of an image is that of its own neuron, since images do not interact.

    Args:
        layer: of all neurons.
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


class NeuronGradient(NamedTuple):
    """The gradient of one neuron, as arrays.

    Args:
        values: float16 (3, h, w) in [-1, 1], within `field`.
        scale: what 1 stands for.
        activation: of the neuron.
        field: top, left, bottom and right of the receptive field in the input.
        effective: the same of the effective field, see `effective_field`.
    """

    values: npt.NDArray[Any]
    scale: npt.NDArray[Any]
    activation: npt.NDArray[Any]
    field: npt.NDArray[Any]
    effective: npt.NDArray[Any]


def neuron_gradients(
    network: Network, images: Images, patches: Sequence[Patch], method: ProjectionMethod
) -> list[NeuronGradient]:
    """The gradient of the neuron of each patch by the pixels of its own image, all in one pass.

    Args:
        network: whose neurons.
        images: (N, 3, H, W), RGB in [0, 1].
        patches: N of one layer, one in each image.
        method: the backward rule of ReLUs.
    """
    target = Neurons(patches[0].layer, tuple((patch.channel, patch.row, patch.column) for patch in patches))
    chosen, sensitivity = METHODS[method], Gradient() if method == "gradient" else GuidedBackprop()
    methods = list(dict.fromkeys([chosen, sensitivity]))
    with torch.inference_mode(mode=False):
        run = forward_pass(network, images, [target], methods)
        maps = {method: method.map(run, target).detach().float().cpu() for method in methods}
    gradients = []
    for i, (patch, activation) in enumerate(zip(patches, run.score(target).float().cpu(), strict=True)):
        field = Box(0, 0, *network.preprocess.size)
        if not patch.whole:
            field = input_box(network, patch.layer, patch.row, patch.column)
        values, effective = inside(maps[chosen][i], field), effective_field(maps[sensitivity][i], field)
        scale = values.abs().max()
        half = (values / scale.clamp(min=torch.finfo().tiny)).half()
        gradients.append(
            NeuronGradient(half.numpy(), scale.numpy(), activation.numpy(), np.array(field), np.array(effective))
        )
    return gradients


def effective_field(gradient: Tensor, field: Box) -> Box:
    """The square, within the receptive field, around the box that holds 95 % of the magnitude of a gradient.

    The box leaves out the same share on each side; it is enlarged to a square about its center, moved inside the
    receptive field, and clipped where this is smaller.

    Args:
        gradient: of an activation by the pixels, (3, H, W).
        field: the receptive field, in whole pixels.

    Reference: Luo et al., NeurIPS 2016.

    >>> from phosphene.core.networks.network import Box
    >>> spot = torch.zeros(3, 9, 9)
    >>> spot[:, 2:4, 5] = 1
    >>> effective_field(spot, Box(1, 1, 8, 8))
    Box(top=2, left=4, bottom=4, right=6)
    """
    magnitude = gradient.abs().sum(0).cpu().double()
    if not magnitude.any():
        return field
    out = (1 - EFFECTIVE_SHARE) / 4 * magnitude.sum()
    (top, bottom), (left, right) = (
        (int((line.cumsum(0) <= out).sum()), len(line) - int((line.flip(0).cumsum(0) <= out).sum()))
        for line in (magnitude.sum(1), magnitude.sum(0))
    )
    side = max(bottom - top, right - left)
    top = int(max(field.top, min((top + bottom - side) // 2, field.bottom - side)))
    left = int(max(field.left, min((left + right - side) // 2, field.right - side)))
    return Box(top, left, int(min(top + side, field.bottom)), int(min(left + side, field.right)))


def inside(values: Tensor, box: Sequence[float]) -> Tensor:
    """The part of (…, H, W) within a box of whole pixels: a view."""
    top, left, bottom, right = map(int, box)
    return values[..., top:bottom, left:right]


def default_method(network: Network, layer: str) -> ProjectionMethod:
    """The projection method that suits a layer.

    The deconvnet where the network has max pooling, whose switches put values back where they came from; without them
    its pattern hardly depends on the picture, and guided backprop is better; the gradient where no ReLU lies below the
    layer. Cost: one forward pass, up to the layer.

    Args:
        network: that is projected.
        layer: whose activations.

    Reference: Springenberg et al., ICLR 2015 workshop, section 4.2.

    >>> default_method(tiny, "features.5"), default_method(tiny, "features.0")
    ('deconvnet', 'gradient')
    """
    if not has_relu_below(network, layer):
        return "gradient"
    return "deconvnet" if has_max_pooling(network) else "guided-backprop"
