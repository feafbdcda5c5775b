"""Class activation maps without gradients: a channel weighs what the network says of the image seen through it."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import torch
from torch import Tensor

from phosphene.attribution.attribution import Pass, upsample
from phosphene.attribution.cams.cam import LayerMap
from phosphene.attribution.perturbation.engine import TRIAL, Fill, Masks, engine_for, filling
from phosphene.core.errors import OptionError
from phosphene.core.networks.anatomy import last_spatial_layer
from phosphene.core.networks.network import Images, Network
from phosphene.core.objectives.objective import Objective
from phosphene.core.result import Cost


@dataclasses.dataclass(frozen=True)
class ScoreCAM(LayerMap, name="score-cam"):
    """Which regions of a layer raise the target, found by looking through its maps, not by gradients.

    mask[k] = A[k], enlarged bilinearly, then scaled to 0 … 1; w = softmax over k of target(image seen through mask[k]);
    map = ReLU(Σ_k w[k] · A[k]), upsampled, (N, 1, H, W), in activations. The paper subtracts the target of the baseline
    picture from each score first: the softmax undoes it, so it is not computed.
    Cost: one forward pass for each channel, and 3 before the first.

    Differs from the paper: only the most active channels are looked through, unless `channels` is None.

    Args:
        layer: whose maps are the masks; the last with a map by default.
        rectify: keep positive values only.
        channels: how many of them, the highest mean activation first; None for all.
        fill: what is seen where a mask is 0: mean (zero to the network), grey, black, white, noise, blur, or a level
            in [0, 1].
        seed: of the noise.

    Raises:
        LayerError: the layer has no map.
        OptionError: no channels.

    Reference: Wang et al., CVPR 2020 workshops, section 3.

    >>> ScoreCAM(layer="features.5")(tiny, images, Logit(0)).shape
    torch.Size([2, 1, 32, 32])
    """

    channels: int | None = 64
    fill: Fill = "mean"
    seed: int = 0

    unit: ClassVar[str] = "activation"
    reading: ClassVar[str] = "Bright regions are those that channels show, through which the target is seen best."
    weakness: ClassVar[str] = (
        "Where the scores lie far apart the softmax leaves one channel, and the map shows that one."
    )

    def __post_init__(self) -> None:
        if self.channels is not None and self.channels < 1:
            raise OptionError(f"channels is {self.channels}; choose at least one, or None for all")

    def places(self, network: Network, target: Objective) -> frozenset[str]:  # noqa: ARG002
        """None: no gradient is asked for."""
        return frozenset()

    def reads(self, network: Network, target: Objective) -> frozenset[str]:
        """The layer."""
        return frozenset({self.layer_for(network, target)[0]})

    def cost(self, network: Network, images: Images) -> Cost:
        """One forward pass for each channel and image, and the trial of the engine."""
        layer = self.layer or last_spatial_layer(network, None)[0]
        return Cost(forwards=len(images) * self._most(network.layer(layer).shape[0]) + TRIAL)

    def at_layer(self, run: Pass, target: Objective) -> Tensor:
        """Sum of the maps looked through, weighed by their scores, (N, 1, h, w)."""
        layer, _ = self.layer_for(run.network, target)
        maps = run.activations[layer].detach()
        return torch.cat([self._one(run, *pair, target) for pair in zip(run.images[:, None], maps, strict=True)])

    def _one(self, run: Pass, image: Images, maps: Tensor, target: Objective) -> Tensor:
        kept = maps[maps.mean((1, 2)).topk(self._most(len(maps))).indices, None]

        def draw(part: slice) -> Tensor:
            large = upsample(kept[part], image.shape[2:])
            low, high = large.amin((2, 3), keepdim=True), large.amax((2, 3), keepdim=True)
            return (large - low) / (high - low).clamp(min=torch.finfo(large.dtype).tiny)

        masks = Masks(len(kept), draw, filling(self.fill, run.network, image, seed=self.seed))
        weights = engine_for(run).run(image, masks, target.reads, target).softmax(0)
        total = (weights.view(-1, 1, 1, 1) * kept).sum(0, keepdim=True)
        return total.relu() if self.rectify else total

    def _most(self, channels: int) -> int:
        return channels if self.channels is None else min(self.channels, channels)
