"""Class activation maps, beside closed forms, captum, pytorch-grad-cam and torchcam."""

from __future__ import annotations

import dataclasses
from typing import Any

import captum.attr
import numpy as np
import pytest
import torch
import torchcam.methods
from pytorch_grad_cam import HiResCAM as PeerHiResCAM
from pytorch_grad_cam import LayerCAM as PeerLayerCAM
from torch import Tensor, nn

import nets
from phosphene.attribution import attribute
from phosphene.attribution.attribution import forward_pass
from phosphene.attribution.cams.cam import CAM, GradCAM, GradCAMPlusPlus, GuidedGradCAM, LayerCAM, LayerMap
from phosphene.attribution.gradients.backprop import GuidedBackprop
from phosphene.core.errors import LayerError
from phosphene.core.networks.network import Network, Preprocess
from phosphene.core.objectives.classes import Logit
from phosphene.core.objectives.objective import Objective
from phosphene.core.objectives.units import Channel

AS_IS = Preprocess((32, 32), (0.0,) * 3, (1.0,) * 3)
FAMILY: list[type[LayerMap]] = [GradCAM, GradCAMPlusPlus, LayerCAM, GuidedGradCAM]


@pytest.fixture
def images() -> Tensor:
    return nets.pictures(2, torch.float64)


@pytest.fixture
def gap() -> Network:
    return dataclasses.replace(nets.build("gap", torch.float64), preprocess=AS_IS)


def layer_map(network: Network, images: Tensor, target: Any, method: LayerMap) -> Tensor:
    """The map at the size of the layer."""
    target = target if isinstance(target, Objective) else Logit(target)
    return method.layer_map(forward_pass(network, images, [target], [method]), target.bind(network))


def activations_and_gradients(network: Network, images: Tensor, layer: str, target: int) -> tuple[Tensor, Tensor]:
    """By plain autograd."""
    activations = network.tap(images, [layer, "logits"], gradients=[layer])
    return activations[layer].detach(), torch.autograd.grad(activations["logits"][:, target].sum(), activations[layer])[
        0
    ]


# CAM


@pytest.mark.parametrize("target", range(5))
def test_cam_is_scaled_grad_cam_and_sums_to_the_logit(target: int, gap: Network, images: Tensor) -> None:
    cam = layer_map(gap, images, target, CAM(rectify=False))
    a = gap.tap(images, ["features.5"])["features.5"]
    expected = torch.einsum("k,nkyx->nyx", gap.module.head.weight[target], a)[:, None]
    torch.testing.assert_close(cam, expected, rtol=1e-13, atol=1e-15)
    torch.testing.assert_close(64 * layer_map(gap, images, target, GradCAM(rectify=False)), cam, rtol=1e-13, atol=1e-15)
    total = cam.mean((1, 2, 3)) + gap.module.head.bias[target]
    torch.testing.assert_close(total, gap(images)[:, target], rtol=1e-13, atol=1e-15)


def test_cam_equals_torchcam(gap: Network, images: Tensor) -> None:
    with torchcam.methods.CAM(gap.module, target_layer="features", fc_layer="head", input_shape=(3, 32, 32)) as peer:
        scores = gap.module(images)
        for target in range(5):
            (theirs,) = peer(target, scores, normalized=False)
            ours = layer_map(gap, images, target, CAM())
            torch.testing.assert_close(ours[:, 0], theirs.relu(), rtol=1e-13, atol=1e-15)


def test_cam_equals_captum_grad_cam(gap: Network, images: Tensor) -> None:
    peer = captum.attr.LayerGradCam(gap.module, gap.module.features)
    theirs = peer.attribute(images, target=3, relu_attributions=False) * 64
    torch.testing.assert_close(layer_map(gap, images, 3, CAM(rectify=False)), theirs.detach(), rtol=1e-12, atol=1e-15)


def test_cam_of_a_difference_is_the_difference_of_cams(gap: Network, images: Tensor) -> None:
    a, b = (layer_map(gap, images, k, CAM(rectify=False)) for k in (1, 3))
    ours = layer_map(gap, images, 2 * Logit(1) - 0.5 * Logit(3), CAM(rectify=False))
    torch.testing.assert_close(ours, 2 * a - 0.5 * b, rtol=1e-13, atol=1e-15)


def test_cam_finds_a_one_by_one_convolution_as_well(gap: Network, images: Tensor) -> None:
    class Conv(nets.Gap):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Conv2d(12, 5, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.pool(self.features(x))).flatten(1)

    module = Conv().double().eval()
    weights = gap.module.state_dict()
    module.load_state_dict(weights | {"head.weight": weights["head.weight"][:, :, None, None]})
    other = dataclasses.replace(gap, module=module)
    torch.testing.assert_close(CAM()(other, images, Logit(2)), CAM()(gap, images, Logit(2)), rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize(
    ("net", "method", "target", "text"),
    [
        (
            "residual",
            CAM(),
            0,
            "residual does not end in global average pooling and one linear layer at bn, which CAM needs",
        ),
        ("tokens", CAM(), 0, "tokens does not end in global average pooling"),
        ("linear", CAM(), 0, "linear does not end in global average pooling"),
        (
            "gap",
            CAM(layer="features.3"),
            0,
            "gap does not end in global average pooling and one linear layer at features.3",
        ),
        (
            "gap",
            CAM(layer="features.4"),
            0,
            "gap does not end in global average pooling and one linear layer at features.4",
        ),
        ("gap", CAM(layer="head"), 0, r"head of gap is not spatial \(its shape is \(5,\)\); choose an earlier layer"),
        ("gap", CAM(layer="feature"), 0, "gap has no layer 'feature'; did you mean 'features'"),
        ("gap", CAM(), "p(tabby)", r"CAM explains classes and their differences, not p\(tabby\); use grad-cam"),
        ("gap", CAM(), "features.5:3", "CAM explains classes and their differences, not features.5:3; use grad-cam"),
        ("gap", CAM(), "tabby - features.5:3", "CAM explains classes and their differences, not tabby - features.5:3"),
        ("gap", GradCAM(layer="head"), 0, r"head of gap is not spatial .*; choose an earlier layer, such as features"),
        ("gap", GradCAM(layer="pool"), 0, r"pool of gap is not spatial \(its shape is \(12, 1, 1\)\)"),
        ("gap", GradCAM(layer="layer4"), 0, "gap has no layer 'layer4'"),
        ("linear", GradCAM(), 0, "no layer of linear before tabby keeps a map; use a method of pixels"),
        ("gap", GradCAM(), "features.0:2", "no layer of gap before features.0:2 keeps a map; use a method of pixels"),
        (
            "gap",
            GradCAM(layer="features.5"),
            "features.1:2",
            "the target features.1:2 does not depend on features.5; choose",
        ),
    ],
)
def test_what_cannot_be_mapped_is_refused(net: str, method: LayerMap, target: Any, text: str) -> None:
    network = nets.build(net)
    for rectify in (True, False):
        with pytest.raises(LayerError, match=text):
            attribute(network, nets.pictures(), target, method=dataclasses.replace(method, rectify=rectify))


# Gradients of a layer


@pytest.mark.parametrize("layer", ["features.0", "features.1", "features.3", "features.5"])
@pytest.mark.parametrize("net", ["gap", "tuple"])
def test_grad_cam_equals_captum(net: str, layer: str, images: Tensor) -> None:
    network = dataclasses.replace(nets.build(net, torch.float64), preprocess=AS_IS)
    ours = layer_map(network, images, 1, GradCAM(layer=layer))
    reference = nets.build("gap", torch.float64).module
    peer = captum.attr.LayerGradCam(reference, reference.get_submodule(layer))
    theirs = peer.attribute(images, target=1, relu_attributions=True)
    torch.testing.assert_close(ours, theirs.detach(), rtol=1e-10, atol=1e-16)


def test_grad_cam_of_an_inner_neuron_equals_captum(gap: Network, images: Tensor) -> None:
    ours = layer_map(gap, images, Channel("features.4", 5), GradCAM(layer="features.1", rectify=False))
    inner = nn.Sequential(gap.module.features[:5], nn.AdaptiveAvgPool2d(1), nn.Flatten())
    theirs = captum.attr.LayerGradCam(inner, inner[0][1]).attribute(images, target=5)
    torch.testing.assert_close(ours, theirs.detach(), rtol=1e-10, atol=1e-16)


def test_layer_cam_equals_pytorch_grad_cam_before_it_scales(gap: Network, images: Tensor) -> None:
    for layer in ("features.1", "features.3", "features.5"):
        a, g = activations_and_gradients(gap, images, layer, 2)
        ours = layer_map(gap, images, 2, LayerCAM(layer=layer))
        module = gap.module
        with PeerLayerCAM(model=module, target_layers=[module.get_submodule(layer)]) as peer:
            theirs = peer.get_cam_image(images, None, None, a.numpy(), g.numpy(), eigen_smooth=False)
        np.testing.assert_allclose(ours[:, 0], theirs.clip(0), rtol=1e-12, atol=1e-16)


def test_layer_cam_without_rectification_is_hires_cam_where_gradients_are_positive(
    gap: Network, images: Tensor
) -> None:
    a, g = activations_and_gradients(gap, images, "features.3", 2)
    with PeerHiResCAM(model=gap.module, target_layers=[gap.module.features[3]]) as peer:
        theirs = peer.get_cam_image(images, None, None, a.numpy(), g.clamp(min=0).numpy(), eigen_smooth=False)
    ours = layer_map(gap, images, 2, LayerCAM(layer="features.3", rectify=False))
    np.testing.assert_allclose(ours[:, 0], theirs, rtol=1e-12, atol=1e-16)


def plus_plus(a: Tensor, g: Tensor) -> Tensor:
    """Chattopadhay et al., equations 10, 11 and 19, place by place, with the derivatives of exp(target)."""
    n, c = a.shape[:2]
    weights = torch.zeros(n, c, dtype=a.dtype)
    for i in range(n):
        for k in range(c):
            total = a[i, k].sum()
            for one in g[i, k].flatten():
                denominator = 2 * one**2 + total * one**3
                if one > 0 and denominator > 0:
                    weights[i, k] += one**2 / denominator * one
    return (weights[:, :, None, None] * a).sum(1, keepdim=True).relu()


@pytest.mark.parametrize("layer", ["features.3", "features.5"])
def test_grad_cam_plus_plus_is_the_closed_form(layer: str, gap: Network, images: Tensor) -> None:
    a, g = activations_and_gradients(gap, images, layer, 2)
    ours = layer_map(gap, images, 2, GradCAMPlusPlus(layer=layer))
    torch.testing.assert_close(ours, plus_plus(a, g), rtol=1e-11, atol=1e-16)
    without = ((g.relu() * g**2).sum((2, 3), keepdim=True) * a).sum(1, keepdim=True).relu()
    correlation = torch.corrcoef(torch.stack([ours.flatten(), without.flatten()]))[0, 1]
    assert not torch.allclose(ours / ours.amax(), without / without.amax(), rtol=1e-3)
    assert correlation < 1 - 1e-6


def test_grad_cam_plus_plus_does_not_depend_on_the_scale_of_the_target(gap: Network, images: Tensor) -> None:
    """A constant beside g² would swamp small gradients; here only S · g, which is of the paper, plays a part."""
    a = torch.rand(1, 3, 4, 4, dtype=torch.float64)
    g = torch.randn(1, 3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 1e-6
    method = GradCAMPlusPlus()
    whole, small = method.weights(a, g), method.weights(a, 1e-4 * g)
    torch.testing.assert_close(small, 1e-4 * whole, rtol=1e-4, atol=0)
    torch.testing.assert_close(whole, g.relu().sum((2, 3), keepdim=True) / 2, rtol=1e-4, atol=0)
    small_target = layer_map(gap, images, 1e-4 * Logit(2), GradCAM(layer="features.3"))
    torch.testing.assert_close(small_target, 1e-4 * layer_map(gap, images, 2, GradCAM(layer="features.3")))


def test_single_precision_keeps_small_gradients(gap: Network, images: Tensor) -> None:
    a, g = (tensor.float() for tensor in activations_and_gradients(gap, images, "features.5", 2))
    for scale in (1.0, 1e-6, 1e-12):
        ours = GradCAMPlusPlus().weights(a, scale * g)
        exact = GradCAMPlusPlus().weights(a.double(), scale * g.double())
        torch.testing.assert_close(ours.double(), exact, rtol=1e-5, atol=0)


def test_guided_grad_cam_is_the_product(gap: Network, images: Tensor) -> None:
    for layer in (None, "features.3"):
        ours = attribute(gap, images, 1, method=GuidedGradCAM(layer=layer))
        cam = attribute(gap, images, 1, method=GradCAM(layer=layer))
        guided = attribute(gap, images, 1, method=GuidedBackprop())
        torch.testing.assert_close(ours.values, cam.values * guided.values, rtol=1e-12, atol=1e-16)
        assert ours.values.shape == (2, 3, 32, 32)
        assert ours.cost.backwards == cam.cost.backwards + guided.cost.backwards == 4


@pytest.mark.parametrize("method", [CAM, *FAMILY])
def test_rectifying_keeps_positive_values(method: type[LayerMap], gap: Network, images: Tensor) -> None:
    signed = layer_map(gap, images, 1, method(rectify=False))
    assert torch.equal(layer_map(gap, images, 1, method()), signed.relu())


@pytest.mark.parametrize("method", FAMILY)
@pytest.mark.parametrize(("layer", "skipped"), [("one", False), ("two", False), ("conv", True), ("bn", True)])
def test_layers_that_are_overwritten_are_mapped_as_they_were(
    method: type[LayerMap], layer: str, skipped: bool, images: Tensor
) -> None:
    if skipped:  # before `out += skip`
        network, target = nets.build("residual", torch.float64), 1
        module, x = network.module, network.preprocess.normalize(images)
        skip = module.pool(module.cap(module.stem(x)))
        conv = module.conv(module.relu(skip)).detach().requires_grad_()
        bn = module.bn(conv)
        bn.retain_grad()
        module.head(torch.relu(bn + skip).mean((2, 3)))[:, target].sum().backward()
        a, g = (conv, conv.grad) if layer == "conv" else (bn, bn.grad)
        module.zero_grad()
    else:  # before an in-place ReLU
        network, target = nets.build("in-place", torch.float64), 1
        a, g = activations_and_gradients(nets.build("functional", torch.float64), images, layer, target)
    assert g is not None
    chosen = method(layer=layer)
    expected = (chosen.weights(a.detach(), g) * a.detach()).sum(1, keepdim=True).relu()
    torch.testing.assert_close(layer_map(network, images, target, chosen), expected, rtol=1e-11, atol=1e-16)
