"""Maps that one backward pass to the pixels gives: the rule at the ReLUs is the method."""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import torch
from torch import Tensor

from phosphene.attribution.attribution import Attribution, Baseline, Pass, Shown, baseline
from phosphene.core.errors import OptionError
from phosphene.core.networks import rules
from phosphene.core.networks.anatomy import has_max_pooling, last_spatial_layer
from phosphene.core.networks.network import Activations, Images, Network
from phosphene.core.objectives.objective import Objective
from phosphene.core.result import Cost


@dataclasses.dataclass(frozen=True)
class Gradient(Attribution, name="gradient"):
    """How fast the target grows with each pixel.

    map = d target / d image, (N, 3, H, W), signed, in units of the target per unit of RGB. The saliency map of the
    paper is its absolute value, the maximum over channels: shown so, kept raw.
    Cost: one backward pass.

    Reference: Simonyan, Vedaldi & Zisserman, ICLR 2014 workshop, section 3.

    >>> Gradient()(tiny, images, Logit(0)).shape
    torch.Size([2, 3, 32, 32])
    """

    unit: ClassVar[str] = "target per unit of RGB"
    shown: ClassVar[Shown] = "magnitude"
    reading: ClassVar[str] = "Bright pixels are those that the target would react to most if they changed a little."
    weakness: ClassVar[str] = "Noisy and local: it tells nothing of large changes, nor of what a pixel speaks for."

    def places(self, network: Network, target: Objective) -> frozenset[str]:  # noqa: ARG002
        """The pixels."""
        return frozenset({"input"})

    def cost(self, network: Network, images: Images) -> Cost:  # noqa: ARG002
        """One backward pass for each image."""
        return Cost(backwards=len(images))

    def map(self, run: Pass, target: Objective) -> Tensor:
        """The gradient, (N, 3, H, W)."""
        return run.gradient(target)


@dataclasses.dataclass(frozen=True)
class InputXGradient(Gradient, name="input-x-gradient"):
    """First-order share of each pixel in the target.

    map = (image - baseline) * d target / d image, signed, in units of the target. On a network that is linear between
    baseline and image the map sums to target(image) - target(baseline).
    Cost: one backward pass.

    Args:
        baseline: the color that stands for "nothing there".

    Reference: Shrikumar et al., 2016, arXiv:1605.01713.
    """

    baseline: Baseline = "mean"

    unit: ClassVar[str] = "target"
    shown: ClassVar[Shown] = "heat"
    reading: ClassVar[str] = "Positive pixels raise the target, to first order, above what the baseline color gives."
    weakness: ClassVar[str] = "A pixel that has the baseline color gets nothing, whatever it means."

    def map(self, run: Pass, target: Objective) -> Tensor:
        """Pixel by pixel product, (N, 3, H, W)."""
        return (run.images - baseline(self.baseline, run.network, run.images)) * run.gradient(target)


@dataclasses.dataclass(frozen=True)
class GuidedBackprop(Gradient, name="guided-backprop"):
    """The fine structure that excites a unit, with all that inhibits it removed on the way down.

    As the gradient, but a ReLU passes only where its input was positive and the gradient is positive.
    map: (N, 3, H, W), signed. Cost: one backward pass.

    Raises:
        RuleError: the network has no ReLU, so that the map would be the plain gradient.

    Reference: Springenberg et al., ICLR 2015 workshop, section 3.4.

    >>> GuidedBackprop()(tiny, images, Channel("features.5", 3)).shape
    torch.Size([2, 3, 32, 32])
    """

    shown: ClassVar[Shown] = "color"
    reading: ClassVar[str] = "Grey is nothing; what stands out in color is the structure that excites the target."
    weakness: ClassVar[str] = (
        "Close to an edge detector: it barely depends on the target or on the weights (Adebayo et al. 2018)."
    )

    @property
    def rule(self) -> rules.Rule:
        """Of Springenberg et al."""
        return rules.guided

    def places(self, network: Network, target: Objective) -> frozenset[str]:  # noqa: ARG002
        """None: what it wants at the pixels follows a rule of its own."""
        return frozenset()

    def map(self, run: Pass, target: Objective) -> Tensor:
        """What the rule lets through to the pixels, (N, 3, H, W)."""
        return run.ruled_gradient(target, self.rule, self.name)


@dataclasses.dataclass(frozen=True)
class Deconvnet(GuidedBackprop, name="deconvnet"):
    """One activation, projected back to pixels through the switches and filters that made it.

    Every other activation of the layer is zero and the seed is the activation's value; on the way down max pooling
    puts it back where the maximum was, ReLUs rectify it, convolutions are transposed, average pooling spreads it. The
    target LAYER:CHANNEL@max is the strongest activation of a feature map, LAYER:CHANNEL@row,column one neuron.
    map: (N, 3, H, W), signed, zero for a unit that did not fire. Cost: one backward pass.

    Differs from the paper: where pooling windows overlap, values that return to one place add up.

    Raises:
        RuleError: the network has no ReLU.

    Reference: Zeiler & Fergus, ECCV 2014, section 2.1.

    >>> Deconvnet()(tiny, images, ChannelMax("features.5", 3)).shape
    torch.Size([2, 3, 32, 32])
    """

    unit: ClassVar[str] = "squared target per unit of RGB"
    reading: ClassVar[str] = "Grey is nothing; color is the pattern in the picture that made this activation."
    weakness: ClassVar[str] = (
        "Without max pooling there are no switches, and the pattern hardly depends on the picture."
    )

    @property
    def rule(self) -> rules.Rule:
        """Of Zeiler and Fergus."""
        return rules.deconvnet

    def map(self, run: Pass, target: Objective) -> Tensor:
        """The projection, (N, 3, H, W)."""
        return super().map(run, target) * run.score(target).relu().view(-1, 1, 1, 1)

    def explain(self, run: Pass, target: Objective, values: Tensor) -> tuple[str, ...]:
        """Why a map is blank, image by image, and whether the network has switches at all."""
        blank = [i for i in range(len(values)) if not values[i].any()]
        causes = (f"image {i}: the map is blank because {self._cause(run, target, i)}" for i in blank)
        pools = has_max_pooling(run.network)
        note = f"{run.network.name} has no max pooling, so no switches: expect a blur, not an outline"
        return (*causes, *(() if pools else (note,)))

    def _cause(self, run: Pass, target: Objective, i: int) -> str:
        value = run.score(target)[i].item()
        return (
            f"{target} did not fire (its value is {value:.3g})"
            if value <= 0
            else f"no ReLU below {target} lets it through"
        )


@dataclasses.dataclass(frozen=True)
class SuperposedDeconvnet(Deconvnet, name="superposed-deconvnet"):
    """The strongest activations of one layer in one picture, each projected by the deconvnet, and added up.

    map = sum of the projections of the `top` largest activations of the layer (or of each channel's largest), wherever
    they are; the target plays no part. (N, 3, H, W), signed. Cost: `top` backward passes, or one for each channel.

    Args:
        layer: whose activations; the last one with a map by default.
        top: how many activations, counted over the whole layer; 0 takes the strongest of every channel.

    Reference: Zeiler & Fergus, ECCV 2014, section 2.1; the superposition is that of the lecture notes.
    """

    layer: str | None = None
    top: int = 3

    def __post_init__(self) -> None:
        if self.top < 0:
            raise OptionError(f"top={self.top}: want at least 0; 0 takes the strongest of every channel")

    reading: ClassVar[str] = "Each of the strongest activations of the layer rebuilds its own part of the picture."

    def layer_for(self, network: Network, target: Objective) -> tuple[str, str]:
        """The chosen layer, or the last with a map."""
        return last_spatial_layer(network, target) if self.layer is None else (self.layer, "")

    def reads(self, network: Network, target: Objective) -> frozenset[str]:
        """The activations of the layer."""
        return frozenset({self.layer_for(network, target)[0]})

    def cost(self, network: Network, images: Images) -> Cost:
        """One backward pass for each activation."""
        shape = network.shape(self.layer or last_spatial_layer(network, None)[0])
        return Cost(backwards=len(images) * (min(self.top, math.prod(shape)) or shape[0]))

    def map(self, run: Pass, target: Objective) -> Tensor:
        """Sum of the projections, (N, 3, H, W)."""
        layer, _ = self.layer_for(run.network, target)
        values, places = self._strongest(run.activations[layer].detach())
        total = torch.zeros_like(run.images)
        for value, place in zip(values.T, places.T, strict=True):
            projection = run.ruled_gradient(_Place(layer, tuple(place.tolist())), rules.deconvnet, self.name)
            total += projection * value.relu().view(-1, 1, 1, 1)
        return total

    def _cause(self, run: Pass, target: Objective, i: int) -> str:  # noqa: ARG002  the target plays no part
        return f"nothing fires in {self.layer_for(run.network, target)[0]}"

    def _strongest(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Values and flat places, (N, top), of the activations to project."""
        if self.top:
            strongest = maps.flatten(1).topk(min(self.top, maps[0].numel()), dim=1)
            return strongest.values, strongest.indices
        values, places = maps[:, :, None].flatten(2).max(2)
        per_channel = maps[0, 0].numel()
        return values, places + per_channel * torch.arange(maps.shape[1], device=maps.device)


@dataclasses.dataclass(frozen=True)
class _Place:
    """One activation of each image, each at a place of its own in the flattened layer."""

    layer: str
    places: tuple[int, ...]

    def __str__(self) -> str:
        return self.layer

    def __call__(self, activations: Activations) -> Tensor:
        flat = activations[self.layer].flatten(1)
        return flat[torch.arange(len(flat)), list(self.places)]
