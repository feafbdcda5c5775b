"""Maps from one backward pass to the pixels; methods differ in the rule by which ReLUs pass the gradient."""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from phosphene.attribution.attribution import Attribution, Display
from phosphene.attribution.baseline import Baseline, baseline_image, check_baseline
from phosphene.attribution.forward_pass import ForwardPass
from phosphene.core.errors import OptionError
from phosphene.core.inputs import layer_name
from phosphene.core.networks import rules
from phosphene.core.networks.anatomy import has_max_pooling, last_spatial_layer
from phosphene.core.networks.network import Activations, Images, Network
from phosphene.core.objectives.objective import Objective
from phosphene.core.result import Cost


@dataclasses.dataclass(frozen=True)
class Gradient(Attribution, name="gradient"):
    """Derivative of the target by each pixel.

    map = d target / d image, (N, 3, H, W), signed, in units of the target per unit of RGB. The saliency map of the
    paper is the maximum of its absolute value over channels: it is drawn so, the values stay raw.
    Cost: one backward pass.

    Reference: Simonyan, Vedaldi & Zisserman, ICLR 2014 workshop, section 3.

    >>> Gradient()(tiny, images, Logit(0)).shape
    torch.Size([2, 3, 32, 32])
    """

    unit: ClassVar[str] = "target per unit of RGB"
    display: ClassVar[Display] = "magnitude"
    reading: ClassVar[str] = "The target is most sensitive to small changes of bright pixels."
    weakness: ClassVar[str] = "Noisy and local: it does not describe large changes, such as the removal of an object."

    def gradient_layers(self, network: Network, target: Objective) -> frozenset[str]:  # noqa: ARG002
        """The pixels."""
        return frozenset({"input"})

    def cost(self, network: Network, images: Images) -> Cost:  # noqa: ARG002
        """One backward pass for each image."""
        return Cost(backwards=len(images))

    def map(self, run: ForwardPass, target: Objective) -> Tensor:
        """The gradient, (N, 3, H, W)."""
        return run.gradient(target)


@dataclasses.dataclass(frozen=True)
class InputXGradient(Gradient, name="input-x-gradient"):
    """First-order share of each pixel in the target.

    map = (image - baseline) * d target / d image, signed, in units of the target. On a network that is linear between
    baseline and image the map sums to target(image) - target(baseline).
    Cost: one backward pass.

    Args:
        baseline: mean (zero to the network), black, white or grey; or a picture: its path, a Picture, or a tensor.

    Reference: Shrikumar et al., 2016, arXiv:1605.01713.
    """

    baseline: Baseline = "mean"

    unit: ClassVar[str] = "target"
    display: ClassVar[Display] = "heat"
    reading: ClassVar[str] = "Positive pixels raise the target, to first order, above its value at the baseline."
    weakness: ClassVar[str] = "A pixel that has the color of the baseline gets 0, whatever its effect."

    def __post_init__(self) -> None:
        check_baseline(self.name, self.baseline)

    def map(self, run: ForwardPass, target: Objective) -> Tensor:
        """Product at each pixel, (N, 3, H, W)."""
        return (run.images - baseline_image(self.baseline, run.network, run.images)) * run.gradient(target)


@dataclasses.dataclass(frozen=True)
class GuidedBackprop(Gradient, name="guided-backprop"):
    """Fine structure that raises the target: the gradient, with negative gradients set to zero at every ReLU.

    A ReLU passes the gradient only where its input was positive and the gradient is positive.
    map: (N, 3, H, W), signed. Cost: one backward pass.

    Raises:
        RuleError: the network has no ReLU, so that the map would be the plain gradient.

    Reference: Springenberg et al., ICLR 2015 workshop, section 3.4.

    >>> GuidedBackprop()(tiny, images, Channel("features.5", 3)).shape
    torch.Size([2, 3, 32, 32])
    """

    display: ClassVar[Display] = "color"
    reading: ClassVar[str] = "Grey is zero; color is structure that raises the target."
    weakness: ClassVar[str] = (
        "Close to an edge detector: it barely depends on the target or on the weights (Adebayo et al. 2018)."
    )

    @property
    def rule(self) -> rules.Rule:
        """That of Springenberg et al."""
        return rules.guided

    def gradient_layers(self, network: Network, target: Objective) -> frozenset[str]:  # noqa: ARG002
        """None: the gradient follows a rule of its own."""
        return frozenset()

    def map(self, run: ForwardPass, target: Objective) -> Tensor:
        """Gradient at the pixels by the rule, (N, 3, H, W)."""
        return run.rule_gradient(target, self.rule, self.name)


@dataclasses.dataclass(frozen=True)
class Deconvnet(GuidedBackprop, name="deconvnet"):
    """One activation, projected back to the pixels through the transposed filters and the max-pooling switches.

    All other activations of the layer are set to zero, and the value of this one is propagated down: max pooling
    returns it to where the maximum was, ReLUs rectify it, convolutions are transposed, average pooling spreads it. The
    target LAYER:CHANNEL@max is the strongest activation of a channel, LAYER:CHANNEL@row,column one neuron.
    map: (N, 3, H, W), signed, zero where the activation is not positive. Cost: one backward pass.

    Differs from the paper: where pooling windows overlap, values that return to one position add up.

    Raises:
        RuleError: the network has no ReLU.

    Reference: Zeiler & Fergus, ECCV 2014, section 2.1.

    >>> Deconvnet()(tiny, images, ChannelMax("features.5", 3)).shape
    torch.Size([2, 3, 32, 32])
    """

    unit: ClassVar[str] = "squared target per unit of RGB"
    reading: ClassVar[str] = "Grey is zero; color is the pattern in the picture that caused this activation."
    weakness: ClassVar[str] = (
        "Without max pooling there are no switches, and the pattern hardly depends on the picture."
    )

    @property
    def rule(self) -> rules.Rule:
        """That of Zeiler and Fergus."""
        return rules.deconvnet

    def map(self, run: ForwardPass, target: Objective) -> Tensor:
        """The projection, (N, 3, H, W)."""
        return super().map(run, target) * run.score(target).relu().view(-1, 1, 1, 1)

    def notes(self, run: ForwardPass, target: Objective, values: Tensor) -> tuple[str, ...]:
        """Why a map is blank, image by image, and whether the network has max pooling."""
        blank = [i for i in range(len(values)) if not values[i].any()]
        causes = (f"image {i}: the map is blank because {self._why_blank(run, target, i)}" for i in blank)
        note = f"{run.network.name} has no max pooling, so no switches: the map is blurred, without outlines"
        return (*causes, *(() if has_max_pooling(run.network) else (note,)))

    def _why_blank(self, run: ForwardPass, target: Objective, i: int) -> str:
        value = run.score(target)[i].item()
        return (
            f"the value of {target} is not positive ({value:.3g})"
            if value <= 0
            else f"the ReLUs below {target} pass no positive gradient"
        )


@dataclasses.dataclass(frozen=True)
class SuperposedDeconvnet(Deconvnet, name="superposed-deconvnet"):
    """Sum of the deconvnet projections of the strongest activations of one layer in one picture.

    map = sum of the projections of the `top` largest activations of the layer, at any position, or of the largest of
    each channel; the target is not used. (N, 3, H, W), signed. Cost: `top` backward passes, or one for each channel.

    Args:
        layer: whose activations; the last spatial layer by default.
        top: how many activations of the whole layer; 0 takes the strongest of every channel.

    Reference: Zeiler & Fergus, ECCV 2014, section 2.1; the superposition is that of the lecture notes.
    """

    layer: str | nn.Module | None = None
    top: int = 3

    def __post_init__(self) -> None:
        if self.top < 0:
            raise OptionError(f"top={self.top}: want at least 0; 0 takes the strongest of every channel")

    reading: ClassVar[str] = "Each of the strongest activations of the layer shows the pattern that caused it."

    def layer_for(self, network: Network, target: Objective) -> tuple[str, str]:
        """The given layer, or the last spatial layer."""
        return last_spatial_layer(network, target) if self.layer is None else (layer_name(network, self.layer), "")

    def reads(self, network: Network, target: Objective) -> frozenset[str]:
        """The activations of the layer."""
        return frozenset({self.layer_for(network, target)[0]})

    def cost(self, network: Network, images: Images) -> Cost:
        """One backward pass for each activation."""
        shape = network.shape(layer_name(network, self.layer or last_spatial_layer(network, None)[0]))
        return Cost(backwards=len(images) * (min(self.top, math.prod(shape)) or shape[0]))

    def map(self, run: ForwardPass, target: Objective) -> Tensor:
        """Sum of the projections, (N, 3, H, W)."""
        layer, _ = self.layer_for(run.network, target)
        values, indices = self._strongest(run.activations[layer].detach())
        total = torch.zeros_like(run.images)
        for value, index in zip(values.T, indices.T, strict=True):
            projection = run.rule_gradient(_Activation(layer, tuple(index.tolist())), rules.deconvnet, self.name)
            total += projection * value.relu().view(-1, 1, 1, 1)
        return total

    def _why_blank(self, run: ForwardPass, target: Objective, i: int) -> str:  # noqa: ARG002  the target is not used
        return f"no activation of {self.layer_for(run.network, target)[0]} is positive"

    def _strongest(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Values and indices in the flattened layer, (N, top), of the activations to project."""
        if self.top:
            strongest = maps.flatten(1).topk(min(self.top, maps[0].numel()), dim=1)
            return strongest.values, strongest.indices
        values, indices = maps[:, :, None].flatten(2).max(2)
        per_channel = maps[0, 0].numel()
        return values, indices + per_channel * torch.arange(maps.shape[1], device=maps.device)


@dataclasses.dataclass(frozen=True)
class _Activation:
    """One activation of each image, at an index of its own in the flattened layer."""

    layer: str
    indices: tuple[int, ...]

    def __str__(self) -> str:
        return self.layer

    def __call__(self, activations: Activations) -> Tensor:
        flat = activations[self.layer].flatten(1)
        return flat[torch.arange(len(flat)), list(self.indices)]
