"""Class activation maps: a weighted sum of the maps of one layer. A variant is its formula for the weights."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from phosphene.attribution.attribution import Attribution, Pass, Shown, upsample
from phosphene.core.errors import LayerError
from phosphene.core.networks import rules
from phosphene.core.networks.anatomy import Classifier, classifier, last_spatial_layer, pooled_layer
from phosphene.core.networks.network import Images, Network
from phosphene.core.objectives.classes import Logit
from phosphene.core.objectives.objective import Objective, Sum
from phosphene.core.result import Cost


@dataclasses.dataclass(frozen=True)
class LayerMap(Attribution):
    """A map computed at a layer and shown at the size of the image. Subclasses write `weights`."""

    layer: str | None = None
    rectify: bool = True

    unit: ClassVar[str] = "target"
    reading: ClassVar[str] = "Bright regions are those whose features raise the target."
    weakness: ClassVar[str] = "As coarse as the layer's map, and blind to evidence that earlier layers have merged."

    def layer_for(self, network: Network, target: Objective) -> tuple[str, str]:
        """The chosen layer, or the last with a map and why."""
        if self.layer is None:
            return last_spatial_layer(network, target)
        if not network.layer(self.layer).spatial:
            raise LayerError(
                f"{self.layer} of {network.name} has no map (its shape is {network.layer(self.layer).shape}); "
                f"choose an earlier layer, such as {last_spatial_layer(network, target)[0]}"
            )
        return self.layer, ""

    def places(self, network: Network, target: Objective) -> frozenset[str]:
        """The layer."""
        return frozenset({self.layer_for(network, target)[0]})

    def cost(self, network: Network, images: Images) -> Cost:  # noqa: ARG002
        """One backward pass, which stops at the layer, for each image."""
        return Cost(backwards=len(images))

    def weights(self, a: Tensor, g: Tensor) -> Tensor:
        """What each map of the layer weighs, from its activations and gradients (N, C, H, W)."""
        raise NotImplementedError

    def map(self, run: Pass, target: Objective) -> Tensor:
        """Weighted sum of the layer's maps, at the size of the images, (N, 1, H, W)."""
        return upsample(self.at_layer(run, target), run.images.shape[-2:])

    def at_layer(self, run: Pass, target: Objective) -> Tensor:
        """The same at the size of the layer, (N, 1, h, w)."""
        layer, _ = self.layer_for(run.network, target)
        a = run.activations[layer].detach()
        total = (self.weights(a, run.gradient(target, layer)) * a).sum(1, keepdim=True)
        return total.relu() if self.rectify else total

    def explain(self, run: Pass, target: Objective, values: Tensor) -> tuple[str, ...]:
        """Why a map is blank, image by image."""
        layer, _ = self.layer_for(run.network, target)
        blank = [i for i in range(len(values)) if not values[i].any()]
        return tuple(f"image {i}: {self._cause(run, target, layer, i)}" for i in blank)

    def _cause(self, run: Pass, target: Objective, layer: str, i: int) -> str:
        if not run.activations[layer][i].any():
            return f"the map is blank because no unit of {layer} fires"
        if layer in run.places and not run.gradient(target, layer)[i].any():
            return (
                f"the map is blank because {target} does not react to {layer}: a dead layer or a saturated output above"
            )
        return f"the map is blank because everything at {layer} speaks against {target}; rectify=False shows it"


@dataclasses.dataclass(frozen=True)
class CAM(LayerMap, name="cam"):
    """Which regions carry the class, on networks that end in global average pooling and one linear layer.

    map = Σ_k w[class, k] · A[k], upsampled bilinearly, (N, 1, H, W), in logits: its mean over places plus the bias is
    the logit. Exact, with no gradient: equal to moving the pooling behind the classifier. Cost: no pass of its own.

    Args:
        layer: whose maps are pooled; found by default.
        rectify: keep what speaks for the class only.

    Raises:
        LayerError: the network does not end in pooling and one linear layer.

    Reference: Zhou et al., CVPR 2016, section 2.

    >>> CAM()(tiny, images, Logit(0)).shape
    torch.Size([2, 1, 32, 32])
    """

    weakness: ClassVar[str] = (
        "As coarse as the last map; works only where pooling and one linear layer end the network."
    )

    def layer_for(self, network: Network, target: Objective) -> tuple[str, str]:
        """The layer whose mean enters the classifier."""
        if self.layer is not None:
            return super().layer_for(network, target)
        head = _classifier(network)
        layer = pooled_layer(network, head.weight.shape[1])
        if layer is None:
            raise LayerError(_no_cam(network))
        return layer, f"its mean over places enters {head.layer}"

    def places(self, network: Network, target: Objective) -> frozenset[str]:  # noqa: ARG002
        """None."""
        return frozenset()

    def reads(self, network: Network, target: Objective) -> frozenset[str]:
        """The pooled maps, and the logits they must add up to."""
        return frozenset({self.layer_for(network, target)[0], "logits"})

    def cost(self, network: Network, images: Images) -> Cost:  # noqa: ARG002
        """Nothing beside the shared forward pass."""
        return Cost()

    def at_layer(self, run: Pass, target: Objective) -> Tensor:
        """Class weights times maps, (N, 1, h, w)."""
        layer, _ = self.layer_for(run.network, target)
        _, weight, bias = _classifier(run.network)
        a, logits = run.activations[layer].detach(), run.activations["logits"].detach()
        pooled = F.linear(a.mean((2, 3)), weight, bias) if a.shape[1] == weight.shape[1] else a.new_zeros(())
        slack = 1e-3 * logits.abs().max().item()
        if pooled.shape != logits.shape or not torch.allclose(pooled, logits, rtol=1e-3, atol=slack):
            raise LayerError(_no_cam(run.network, f" at {layer}"))
        w = torch.stack([factor * weight[index] for factor, index in _classes(target)]).sum(0)
        total = (w.view(1, -1, 1, 1) * a).sum(1, keepdim=True)
        return total.relu() if self.rectify else total


@dataclasses.dataclass(frozen=True)
class GradCAM(LayerMap, name="grad-cam"):
    """Which regions of a layer raise the target.

    w[k] = mean over places of d target / d A[k]; map = ReLU(Σ_k w[k] · A[k]), upsampled bilinearly, (N, 1, H, W).
    Cost: one backward pass down to the layer.

    Args:
        layer: at which to look; the last with a map by default.
        rectify: keep what speaks for the target only.

    Raises:
        LayerError: the layer has no map, or the target does not depend on it.

    Reference: Selvaraju et al., ICCV 2017, section 3.

    >>> GradCAM(layer="features.5")(tiny, images, Logit(0)).shape
    torch.Size([2, 1, 32, 32])
    """

    def weights(self, a: Tensor, g: Tensor) -> Tensor:  # noqa: ARG002
        """Mean gradient of each channel."""
        return g.mean((2, 3), keepdim=True)


@dataclasses.dataclass(frozen=True)
class GradCAMPlusPlus(LayerMap, name="grad-cam++"):
    """As Grad-CAM, with a pixel-wise weighting that gives several objects of one class their due.

    w[k] = Σ over places of α · ReLU(g), α = 1 / (2 + S[k] · g) where g ≠ 0, S[k] the sum of A[k]: the paper's weights
    for exp(target), the exponential divided out. Cost: one backward pass down to the layer.

    Differs from the paper: where the denominator is not positive, α = 0.

    Args:
        layer: at which to look; the last with a map by default.
        rectify: keep what speaks for the target only.

    Reference: Chattopadhay et al., WACV 2018, section 3.
    """

    def weights(self, a: Tensor, g: Tensor) -> Tensor:
        """The closed form, (N, C, 1, 1)."""
        denominator = 2 + a.sum((2, 3), keepdim=True) * g
        alpha = torch.where((g != 0) & (denominator > 0), 1 / denominator, torch.zeros_like(g))
        return (alpha * g.relu()).sum((2, 3), keepdim=True)


@dataclasses.dataclass(frozen=True)
class LayerCAM(LayerMap, name="layer-cam"):
    """As Grad-CAM, place by place, so that it can look at early layers in fine detail.

    w[k, y, x] = ReLU(d target / d A[k, y, x]). Cost: one backward pass down to the layer.

    Args:
        layer: at which to look; the last with a map by default.
        rectify: keep what speaks for the target only.

    Reference: Jiang et al., IEEE TIP 2021, section III.
    """

    def weights(self, a: Tensor, g: Tensor) -> Tensor:  # noqa: ARG002
        """Positive gradients, (N, C, H, W)."""
        return g.relu()


@dataclasses.dataclass(frozen=True)
class GuidedGradCAM(GradCAM, name="guided-grad-cam"):
    """Fine structure, only where the class is: guided backprop times Grad-CAM.

    map: (N, 3, H, W), signed. Cost: two backward passes from one forward pass.

    Args:
        layer: of the Grad-CAM; the last with a map by default.
        rectify: of the Grad-CAM.

    Raises:
        RuleError: the network has no ReLU.

    Reference: Selvaraju et al., ICCV 2017, section 3.2.
    """

    unit: ClassVar[str] = "squared target per unit of RGB"
    shown: ClassVar[Shown] = "color"
    reading: ClassVar[str] = "Grey is nothing; color is fine structure within the region that raises the target."
    weakness: ClassVar[str] = (
        "Its detail is that of guided backprop, which barely depends on the weights; trust its place."
    )

    @property
    def rule(self) -> rules.Rule:
        """That of guided backprop."""
        return rules.guided

    def cost(self, network: Network, images: Images) -> Cost:  # noqa: ARG002
        """Two backward passes for each image."""
        return Cost(backwards=2 * len(images))

    def map(self, run: Pass, target: Objective) -> Tensor:
        """The product, (N, 3, H, W)."""
        return super().map(run, target) * run.ruled_gradient(target, rules.guided, self.name)


def _classifier(network: Network) -> Classifier:
    head = classifier(network)
    if head is None:
        raise LayerError(_no_cam(network))
    return head


def _classes(target: Objective) -> list[tuple[float, int]]:
    """Weights and classes of a target made of logits.

    Raises:
        LayerError: it reads something else.
    """
    terms = target.terms if isinstance(target, Sum) else ((1.0, target),)
    pairs = [(weight, term.index) for weight, term in terms if type(term) is Logit]
    if len(pairs) != len(terms):
        raise LayerError(f"CAM explains classes and their differences, not {target}; use grad-cam")
    return [(weight, index) for weight, index in pairs if isinstance(index, int)]


def _no_cam(network: Network, where: str = "") -> str:
    return (
        f"{network.name} does not end in global average pooling and one linear layer{where}, which CAM needs; "
        "use grad-cam, which equals CAM there and works everywhere"
    )
