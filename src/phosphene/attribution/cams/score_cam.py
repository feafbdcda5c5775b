"""Class activation maps without gradients: a channel is weighted by the score of the image masked by it."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import torch
from torch import Tensor

from phosphene.attribution.attribution import upsample
from phosphene.attribution.baseline import Fill, fill_image
from phosphene.attribution.cams.cam import LayerMap
from phosphene.attribution.forward_pass import ForwardPass
from phosphene.attribution.perturbation.copies import Masks
from phosphene.attribution.perturbation.engine import SETUP_PASSES
from phosphene.core.errors import OptionError
from phosphene.core.inputs import layer_name
from phosphene.core.networks.anatomy import last_spatial_layer
from phosphene.core.networks.network import Images, Network
from phosphene.core.objectives.objective import Objective
from phosphene.core.result import Cost


@dataclasses.dataclass(frozen=True)
class ScoreCAM(LayerMap, name="score-cam"):
    """Which regions of a layer raise the target, by masking the image with its channels instead of gradients.

    mask[k] = A[k], upsampled bilinearly, then scaled to [0, 1]; w = softmax over k of target(image under mask[k]);
    map = ReLU(Σ_k w[k] · A[k]), upsampled, (N, 1, H, W), in activations. The paper first subtracts the target of the
    baseline picture from each score; the softmax does not depend on it, so it is not computed.
    Cost: one forward pass for each channel, and 3 before the first.

    Differs from the paper: only the channels with the highest mean activation are used, unless `channels` is None.

    Args:
        layer: whose channels are the masks; the last spatial layer by default.
        rectify: keep positive values only.
        channels: how many channels, the highest mean activation first; None for all.
        fill: what is shown where a mask is 0: mean (zero to the network), grey, black, white, noise, blur, or a level
            in [0, 1].
        seed: of the noise.

    Raises:
        LayerError: the layer is not spatial.
        OptionError: fewer than 1 channel.

    Reference: Wang et al., CVPR 2020 workshops, section 3.

    >>> ScoreCAM(layer="features.5")(tiny, images, Logit(0)).shape
    torch.Size([2, 1, 32, 32])
    """

    channels: int | None = 64
    fill: Fill = "mean"
    seed: int = 0

    unit: ClassVar[str] = "activation"
    reading: ClassVar[str] = "Bright regions belong to channels that, as masks, leave the target high."
    weakness: ClassVar[str] = "Where the scores differ much, the softmax selects one channel: the map shows it alone."

    def __post_init__(self) -> None:
        if self.channels is not None and self.channels < 1:
            raise OptionError(f"channels is {self.channels}; choose at least one, or None for all")

    def gradient_layers(self, network: Network, target: Objective) -> frozenset[str]:  # noqa: ARG002
        """None: no gradient is read."""
        return frozenset()

    def reads(self, network: Network, target: Objective) -> frozenset[str]:
        """The layer."""
        return frozenset({self.layer_for(network, target)[0]})

    def cost(self, network: Network, images: Images) -> Cost:
        """One forward pass for each channel and image, and those that set the engine up."""
        layer = layer_name(network, self.layer or last_spatial_layer(network, None)[0])
        return Cost(forwards=len(images) * self._count(network.layer(layer).shape[0]) + SETUP_PASSES)

    def layer_map(self, run: ForwardPass, target: Objective) -> Tensor:
        """Sum of the channels, weighted by the softmax of their scores, (N, 1, h, w)."""
        layer, _ = self.layer_for(run.network, target)
        maps = run.activations[layer].detach()
        pairs = enumerate(zip(run.images[:, None], maps, strict=True))
        return torch.cat([self._map_of_one(run, *pair, target.of_image(i)) for i, pair in pairs])

    def _map_of_one(self, run: ForwardPass, image: Images, maps: Tensor, target: Objective) -> Tensor:
        chosen = maps[maps.mean((1, 2)).topk(self._count(len(maps))).indices, None]

        def make(part: slice) -> Tensor:
            large = upsample(chosen[part], image.shape[2:])
            low, high = large.amin((2, 3), keepdim=True), large.amax((2, 3), keepdim=True)
            return (large - low) / (high - low).clamp(min=torch.finfo(large.dtype).tiny)

        masks = Masks(len(chosen), make, fill_image(self.fill, run.network, image, seed=self.seed))
        weights = run.engine.run(image, masks, target.reads, target).softmax(0)
        total = (weights.view(-1, 1, 1, 1) * chosen).sum(0, keepdim=True)
        return total.relu() if self.rectify else total

    def _count(self, channels: int) -> int:
        return channels if self.channels is None else min(self.channels, channels)
