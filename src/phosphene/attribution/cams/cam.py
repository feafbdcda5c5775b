"""Class activation maps: a weighted sum of the channels of one layer. A variant is its formula for the weights."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phosphene.attribution.attribution import Attribution, Display, upsample
from phosphene.attribution.forward_pass import ForwardPass
from phosphene.core.errors import LayerError
from phosphene.core.inputs import layer_name
from phosphene.core.networks import rules
from phosphene.core.networks.anatomy import Classifier, classifier, last_spatial_layer, pooled_layer
from phosphene.core.networks.network import Images, Network
from phosphene.core.objectives.classes import Logit
from phosphene.core.objectives.objective import Objective, Sum
from phosphene.core.result import Cost


@dataclasses.dataclass(frozen=True)
class LayerMap(Attribution):
    """A map computed at a layer and upsampled to the image. Subclasses write `weights`."""

    layer: str | nn.Module | None = None
    rectify: bool = True

    unit: ClassVar[str] = "target"
    reading: ClassVar[str] = "Bright regions are those whose features raise the target."
    weakness: ClassVar[str] = "As coarse as the layer; cannot separate evidence that earlier layers have merged."

    def layer_for(self, network: Network, target: Objective) -> tuple[str, str]:
        """The given layer, or the last spatial layer and why."""
        if self.layer is None:
            return last_spatial_layer(network, target)
        layer = network.layer(layer_name(network, self.layer))
        if not layer.spatial:
            raise LayerError(
                f"{layer.name} of {network.name} is not spatial (its shape is {layer.shape}); "
                f"choose an earlier layer, such as {last_spatial_layer(network, target)[0]}"
            )
        return layer.name, ""

    def gradient_layers(self, network: Network, target: Objective) -> frozenset[str]:
        """The layer."""
        return frozenset({self.layer_for(network, target)[0]})

    def cost(self, network: Network, images: Images) -> Cost:  # noqa: ARG002
        """One backward pass down to the layer for each image."""
        return Cost(backwards=len(images))

    def weights(self, a: Tensor, g: Tensor) -> Tensor:
        """Weight of each channel, or of each position, from activations and gradients (N, C, H, W)."""
        raise NotImplementedError

    def map(self, run: ForwardPass, target: Objective) -> Tensor:
        """Weighted sum of the layer's channels, at the size of the images, (N, 1, H, W)."""
        return upsample(self.layer_map(run, target), run.images.shape[-2:])

    def layer_map(self, run: ForwardPass, target: Objective) -> Tensor:
        """The same at the size of the layer, (N, 1, h, w)."""
        layer, _ = self.layer_for(run.network, target)
        a = run.activations[layer].detach()
        total = (self.weights(a, run.gradient(target, layer)) * a).sum(1, keepdim=True)
        return total.relu() if self.rectify else total

    def notes(self, run: ForwardPass, target: Objective, values: Tensor) -> tuple[str, ...]:
        """Why a map is blank, image by image."""
        layer, _ = self.layer_for(run.network, target)
        blank = [i for i in range(len(values)) if not values[i].any()]
        return tuple(f"image {i}: the map is blank because {self._why_blank(run, target, layer, i)}" for i in blank)

    def _why_blank(self, run: ForwardPass, target: Objective, layer: str, i: int) -> str:
        if not run.activations[layer][i].any():
            return f"all activations of {layer} are zero"
        if layer in run.gradient_layers and not run.gradient(target, layer)[i].any():
            return f"the gradient of {target} at {layer} is zero: a dead layer or a saturated output above it"
        return f"{layer} only lowers {target}; rectify=False shows where"


@dataclasses.dataclass(frozen=True)
class CAM(LayerMap, name="cam"):
    """Which regions raise the class, on networks that end in global average pooling and one linear layer.

    map = Σ_k w[class, k] · A[k], upsampled bilinearly, (N, 1, H, W), in logits: its spatial mean plus the bias is
    the logit. Exact, without gradients: the classifier applied before the pooling. Cost: no pass of its own.

    Args:
        layer: that is pooled; by default the last spatial layer with as many channels as the classifier reads.
        rectify: keep positive values only.

    Raises:
        LayerError: the network does not end in pooling and one linear layer.

    Reference: Zhou et al., CVPR 2016, section 2.

    >>> CAM()(tiny, images, Logit(0)).shape
    torch.Size([2, 1, 32, 32])
    """

    weakness: ClassVar[str] = (
        "As coarse as the last spatial layer; works only where pooling and one linear layer end the network."
    )

    def layer_for(self, network: Network, target: Objective) -> tuple[str, str]:
        """The layer whose spatial mean enters the classifier."""
        if self.layer is not None:
            return super().layer_for(network, target)
        head = _classifier(network)
        layer = pooled_layer(network, head.weight.shape[1])
        if layer is None:
            raise LayerError(_no_cam(network))
        return layer, f"its spatial mean enters {head.layer}"

    def gradient_layers(self, network: Network, target: Objective) -> frozenset[str]:  # noqa: ARG002
        """None."""
        return frozenset()

    def reads(self, network: Network, target: Objective) -> frozenset[str]:
        """The pooled layer, and the logits, which must follow from it."""
        return frozenset({self.layer_for(network, target)[0], "logits"})

    def cost(self, network: Network, images: Images) -> Cost:  # noqa: ARG002
        """Nothing besides the shared forward pass."""
        return Cost()

    def layer_map(self, run: ForwardPass, target: Objective) -> Tensor:
        """Class weights times activations, (N, 1, h, w)."""
        layer, _ = self.layer_for(run.network, target)
        _, weight, bias = _classifier(run.network)
        a, logits = run.activations[layer].detach(), run.activations["logits"].detach()
        pooled = F.linear(a.mean((2, 3)), weight, bias) if a.shape[1] == weight.shape[1] else a.new_zeros(())
        tolerance = 1e-3 * logits.abs().max().item()
        if pooled.shape != logits.shape or not torch.allclose(pooled, logits, rtol=1e-3, atol=tolerance):
            raise LayerError(_no_cam(run.network, f" at {layer}"))
        w = torch.stack([_class_weights(weight, target.of_image(i)) for i in range(len(a))])
        total = (w[:, :, None, None] * a).sum(1, keepdim=True)
        return total.relu() if self.rectify else total


@dataclasses.dataclass(frozen=True)
class GradCAM(LayerMap, name="grad-cam"):
    """Which regions of a layer raise the target.

    w[k] = spatial mean of d target / d A[k]; map = ReLU(Σ_k w[k] · A[k]), upsampled bilinearly, (N, 1, H, W).
    Cost: one backward pass down to the layer.

    Args:
        layer: at which the map is computed, by name, in Python also the module itself; the last spatial one by default.
        rectify: keep positive values only.

    Raises:
        LayerError: the layer is not spatial, or the target does not depend on it.

    Reference: Selvaraju et al., ICCV 2017, section 3.

    >>> GradCAM(layer="features.5")(tiny, images, Logit(0)).shape
    torch.Size([2, 1, 32, 32])
    """

    def weights(self, a: Tensor, g: Tensor) -> Tensor:  # noqa: ARG002
        """Mean gradient of each channel."""
        return g.mean((2, 3), keepdim=True)


@dataclasses.dataclass(frozen=True)
class GradCAMPlusPlus(LayerMap, name="grad-cam++"):
    """As Grad-CAM, with gradients weighted by position, so that several objects of one class all appear.

    w[k] = Σ over positions of α · ReLU(g), α = 1 / (2 + S[k] · g) where g ≠ 0, S[k] the sum of A[k]: the weights of the
    paper for exp(target), divided by the exponential. Cost: one backward pass down to the layer.

    Differs from the paper: where the denominator is not positive, α = 0.

    Args:
        layer: at which the map is computed, by name, in Python also the module itself; the last spatial one by default.
        rectify: keep positive values only.

    Reference: Chattopadhay et al., WACV 2018, section 3.
    """

    def weights(self, a: Tensor, g: Tensor) -> Tensor:
        """The closed form, (N, C, 1, 1)."""
        denominator = 2 + a.sum((2, 3), keepdim=True) * g
        alpha = torch.where((g != 0) & (denominator > 0), 1 / denominator, torch.zeros_like(g))
        return (alpha * g.relu()).sum((2, 3), keepdim=True)


@dataclasses.dataclass(frozen=True)
class LayerCAM(LayerMap, name="layer-cam"):
    """As Grad-CAM, with a weight for each position, so that early layers give detailed maps.

    w[k, y, x] = ReLU(d target / d A[k, y, x]). Cost: one backward pass down to the layer.

    Args:
        layer: at which the map is computed, by name, in Python also the module itself; the last spatial one by default.
        rectify: keep positive values only.

    Reference: Jiang et al., IEEE TIP 2021, section III.
    """

    def weights(self, a: Tensor, g: Tensor) -> Tensor:  # noqa: ARG002
        """Positive gradients, (N, C, H, W)."""
        return g.relu()


@dataclasses.dataclass(frozen=True)
class GuidedGradCAM(GradCAM, name="guided-grad-cam"):
    """Fine structure within the region that raises the target: guided backprop times Grad-CAM.

    map: (N, 3, H, W), signed. Cost: two backward passes from one forward pass.

    Args:
        layer: of the Grad-CAM; the last spatial layer by default.
        rectify: of the Grad-CAM.

    Raises:
        RuleError: the network has no ReLU.

    Reference: Selvaraju et al., ICCV 2017, section 3.2.
    """

    unit: ClassVar[str] = "squared target per unit of RGB"
    display: ClassVar[Display] = "color"
    reading: ClassVar[str] = "Grey is zero; color is fine structure within the region that raises the target."
    weakness: ClassVar[str] = (
        "Its detail is that of guided backprop, which barely depends on the weights; trust its region."
    )

    @property
    def rule(self) -> rules.Rule:
        """That of guided backprop."""
        return rules.guided

    def cost(self, network: Network, images: Images) -> Cost:  # noqa: ARG002
        """Two backward passes for each image."""
        return Cost(backwards=2 * len(images))

    def map(self, run: ForwardPass, target: Objective) -> Tensor:
        """The product, (N, 3, H, W)."""
        return super().map(run, target) * run.rule_gradient(target, rules.guided, self.name)


def _classifier(network: Network) -> Classifier:
    head = classifier(network)
    if head is None:
        raise LayerError(_no_cam(network))
    return head


def _class_weights(weight: Tensor, target: Objective) -> Tensor:
    """Weights (C,) of a target in the linear layer (K, C)."""
    return torch.stack([factor * weight[index] for factor, index in _classes(target)]).sum(0)


def _classes(target: Objective) -> list[tuple[float, int]]:
    """Factors and classes of a target that is a sum of logits.

    Raises:
        LayerError: the target is something else.
    """
    terms = target.terms if isinstance(target, Sum) else ((1.0, target),)
    pairs = [(factor, term.index) for factor, term in terms if type(term) is Logit]
    if len(pairs) != len(terms):
        raise LayerError(f"CAM explains classes and their differences, not {target}; use grad-cam")
    return [(factor, index) for factor, index in pairs if isinstance(index, int)]


def _no_cam(network: Network, where: str = "") -> str:
    return (
        f"{network.name} does not end in global average pooling and one linear layer{where}, which CAM needs; "
        "use grad-cam, which needs no such ending"
    )
