"""Class activation maps, beside closed forms, captum, pytorch-grad-cam and torchcam."""

from __future__ import annotations

import dataclasses
from typing import Any

import captum.attr
import numpy as np
import pytest
import timm
import torch
import torchcam.methods
from pytorch_grad_cam import HiResCAM as PeerHiResCAM
from pytorch_grad_cam import LayerCAM as PeerLayerCAM
from torch import Tensor, nn

import nets
from phosphene.attribution import Attribution, attribute, attribute_all
from phosphene.attribution.backprop import GuidedBackprop
from phosphene.attribution.base import Pass, last_map, record, upsample
from phosphene.attribution.cam import CAM, GradCAM, GradCAMPlusPlus, GuidedGradCAM, LayerCAM, LayerMap
from phosphene.core.errors import LayerError, PhospheneError
from phosphene.core.network import Network, Preprocess
from phosphene.core.objective import Channel, Logit, Objective

AS_IS = Preprocess((32, 32), (0.0,) * 3, (1.0,) * 3)
FAMILY: list[type[LayerMap]] = [GradCAM, GradCAMPlusPlus, LayerCAM, GuidedGradCAM]


@pytest.fixture
def images() -> Tensor:
    return nets.pictures(2, torch.float64)


@pytest.fixture
def gap() -> Network:
    return dataclasses.replace(nets.build("gap", torch.float64), preprocess=AS_IS)


def at_layer(network: Network, images: Tensor, target: Any, method: LayerMap) -> Tensor:
    """The map at the size of the layer."""
    target = target if isinstance(target, Objective) else Logit(target)
    return method.at_layer(record(network, images, [target], [method]), target.bind(network))


def activations_and_gradients(network: Network, images: Tensor, layer: str, target: int) -> tuple[Tensor, Tensor]:
    """By plain autograd."""
    found = network.tap(images, [layer, "logits"], gradients=[layer])
    return found[layer].detach(), torch.autograd.grad(found["logits"][:, target].sum(), found[layer])[0]


# CAM


@pytest.mark.parametrize("target", range(5))
def test_cam_is_grad_cam_times_the_places_and_adds_up_to_the_logit(target: int, gap: Network, images: Tensor) -> None:
    cam = at_layer(gap, images, target, CAM(rectify=False))
    a = gap.tap(images, ["features.5"])["features.5"]
    expected = torch.einsum("k,nkyx->nyx", gap.module.head.weight[target], a)[:, None]
    torch.testing.assert_close(cam, expected, rtol=1e-13, atol=1e-15)
    torch.testing.assert_close(64 * at_layer(gap, images, target, GradCAM(rectify=False)), cam, rtol=1e-13, atol=1e-15)
    total = cam.mean((1, 2, 3)) + gap.module.head.bias[target]
    torch.testing.assert_close(total, gap(images)[:, target], rtol=1e-13, atol=1e-15)


def test_cam_equals_torchcam(gap: Network, images: Tensor) -> None:
    with torchcam.methods.CAM(gap.module, target_layer="features", fc_layer="head", input_shape=(3, 32, 32)) as peer:
        scores = gap.module(images)
        for target in range(5):
            (theirs,) = peer(target, scores, normalized=False)
            ours = at_layer(gap, images, target, CAM())
            torch.testing.assert_close(ours[:, 0], theirs.relu(), rtol=1e-13, atol=1e-15)


def test_cam_equals_captum_grad_cam(gap: Network, images: Tensor) -> None:
    peer = captum.attr.LayerGradCam(gap.module, gap.module.features)
    theirs = peer.attribute(images, target=3, relu_attributions=False) * 64
    torch.testing.assert_close(at_layer(gap, images, 3, CAM(rectify=False)), theirs.detach(), rtol=1e-12, atol=1e-15)


def test_cam_of_a_difference_is_the_difference_of_cams(gap: Network, images: Tensor) -> None:
    a, b = (at_layer(gap, images, k, CAM(rectify=False)) for k in (1, 3))
    ours = at_layer(gap, images, 2 * Logit(1) - 0.5 * Logit(3), CAM(rectify=False))
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
        ("gap", CAM(layer="head"), 0, r"head of gap has no map \(its shape is \(5,\)\); choose an earlier layer"),
        ("gap", CAM(layer="feature"), 0, "gap has no layer 'feature'; did you mean 'features'"),
        ("gap", CAM(), "p(tabby)", r"CAM explains classes and their differences, not p\(tabby\); use grad-cam"),
        ("gap", CAM(), "features.5:3", "CAM explains classes and their differences, not features.5:3; use grad-cam"),
        ("gap", CAM(), "tabby - features.5:3", "CAM explains classes and their differences, not tabby - features.5:3"),
        ("gap", GradCAM(layer="head"), 0, r"head of gap has no map .*; choose an earlier layer, such as features"),
        ("gap", GradCAM(layer="pool"), 0, r"pool of gap has no map \(its shape is \(12, 1, 1\)\)"),
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
    ours = at_layer(network, images, 1, GradCAM(layer=layer))
    reference = nets.build("gap", torch.float64).module
    peer = captum.attr.LayerGradCam(reference, reference.get_submodule(layer))
    theirs = peer.attribute(images, target=1, relu_attributions=True)
    torch.testing.assert_close(ours, theirs.detach(), rtol=1e-10, atol=1e-16)


def test_grad_cam_of_an_inner_neuron_equals_captum(gap: Network, images: Tensor) -> None:
    ours = at_layer(gap, images, Channel("features.4", 5), GradCAM(layer="features.1", rectify=False))
    inner = nn.Sequential(gap.module.features[:5], nn.AdaptiveAvgPool2d(1), nn.Flatten())
    theirs = captum.attr.LayerGradCam(inner, inner[0][1]).attribute(images, target=5)
    torch.testing.assert_close(ours, theirs.detach(), rtol=1e-10, atol=1e-16)


def test_layer_cam_equals_pytorch_grad_cam_before_it_scales(gap: Network, images: Tensor) -> None:
    for layer in ("features.1", "features.3", "features.5"):
        a, g = activations_and_gradients(gap, images, layer, 2)
        ours = at_layer(gap, images, 2, LayerCAM(layer=layer))
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
    ours = at_layer(gap, images, 2, LayerCAM(layer="features.3", rectify=False))
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
    ours = at_layer(gap, images, 2, GradCAMPlusPlus(layer=layer))
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
    small_target = at_layer(gap, images, 1e-4 * Logit(2), GradCAM(layer="features.3"))
    torch.testing.assert_close(small_target, 1e-4 * at_layer(gap, images, 2, GradCAM(layer="features.3")))


def test_single_precision_does_not_swamp_small_gradients(gap: Network, images: Tensor) -> None:
    a, g = (each.float() for each in activations_and_gradients(gap, images, "features.5", 2))
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
def test_rectifying_takes_what_speaks_for_the_target(method: type[LayerMap], gap: Network, images: Tensor) -> None:
    signed = at_layer(gap, images, 1, method(rectify=False))
    assert torch.equal(at_layer(gap, images, 1, method()), signed.relu())


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
    torch.testing.assert_close(at_layer(network, images, target, chosen), expected, rtol=1e-11, atol=1e-16)


def _vgg11() -> list[nn.Module]:
    """The feature layers of VGG11, of an eighth of its width."""
    width, layers = 3, []
    for each in (8, "M", 16, "M", 32, 32, "M", 64, 64, "M", 64, 64, "M"):
        if isinstance(each, str):
            layers.append(nn.MaxPool2d(2))
        else:
            layers += [nn.Conv2d(width, each, 3, padding=1), nn.ReLU(inplace=True)]
            width = each
    return layers


@pytest.mark.parametrize("method", FAMILY)
def test_in_place_equals_out_of_place_to_the_bit_on_a_vgg(method: type[LayerMap]) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(*_vgg11(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 7)).eval()
    images, last, maps = torch.rand(1, 3, 64, 64), "18", []
    network = Network(module, Preprocess((64, 64)))
    for inplace in (True, False):
        for each in module.modules():
            if isinstance(each, nn.ReLU):
                each.inplace = inplace
        maps.append(attribute(network, images, 3, method=method(layer=last)).values)
    assert torch.equal(*maps)
    assert maps[0].any()


def test_maps_are_enlarged_about_the_centers_of_pixels() -> None:
    ramp = torch.arange(4.0).view(1, 1, 1, 4)
    assert upsample(ramp, (1, 8)).flatten().tolist() == [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3]
    assert torch.equal(upsample(ramp, (1, 4)), ramp)


# Why a map is blank


@pytest.mark.parametrize("method", [CAM(), GradCAM(), GradCAMPlusPlus(), LayerCAM(), GuidedGradCAM()])
def test_a_blank_map_says_that_nothing_fires(method: Attribution) -> None:
    heatmap = attribute(nets.build("dead"), nets.pictures(2), 0, method=method)
    assert not heatmap.values.any()
    assert heatmap.notes[1:] == tuple(
        f"image {i}: the map is blank because no unit of {heatmap.layer} fires" for i in range(2)
    )


def test_a_blank_map_says_that_everything_speaks_against_the_target(gap: Network, images: Tensor) -> None:
    with torch.no_grad():
        gap.module.head.weight[1] = -gap.module.head.weight[1].abs() - 0.1
    for method in (CAM(), GradCAM(), GradCAMPlusPlus(), LayerCAM()):
        heatmap = attribute(gap, images, 1, method=method)
        assert not heatmap.values.any()
        assert "speaks against tiger cat; rectify=False shows it" in heatmap.notes[1]
    assert attribute(gap, images, 1, method=GradCAM(rectify=False)).values.max() <= 0


def test_a_blank_map_says_that_the_target_does_not_react(gap: Network, images: Tensor) -> None:
    with torch.no_grad():
        gap.module.head.weight[1] = 0
    heatmap = attribute(gap, images, 1, method="grad-cam")
    assert "tiger cat does not react to features: a dead layer or a saturated output above" in heatmap.notes[1]


# Which layer


def test_the_layer_is_chosen_and_named(gap: Network, images: Tensor) -> None:
    heatmap = attribute(gap, images, 0, method="grad-cam")
    assert heatmap.layer == "features"
    assert heatmap.notes[0] == "features: the last layer with a map"
    heatmap = attribute(gap, images, "features.4:2", method="grad-cam")
    assert heatmap.layer == "features.3"
    assert heatmap.notes[0] == "features.3: the last layer with a map before features.4:2"
    assert attribute(gap, images, 0, method="cam").notes[0] == "features: its mean over places enters head"
    assert attribute(gap, images, 0, method=GradCAM(layer="features.1")).notes == ()


def test_several_layers_targets_and_methods_come_from_one_pass(gap: Network, images: Tensor) -> None:
    methods = [cls(layer=layer) for cls in FAMILY for layer in ("features.1", "features.3", "features.5")]
    targets = [Logit(0), Logit(1) - Logit(2), Channel("features.5", 3)]
    passes: list[int] = []
    attribute_all(gap, images, targets, methods)  # finds out which layers are overwritten
    handle = gap.module.features[0].register_forward_pre_hook(lambda *_: passes.append(1))
    found = attribute_all(gap, images, targets, methods)
    handle.remove()
    assert len(passes) == 1
    for each in found:
        alone = attribute(gap, images, each.target, method=each.method)
        torch.testing.assert_close(each.values, alone.values, rtol=1e-12, atol=1e-16)
    assert sum(each.cost.backwards for each in found) == len(targets) * 2 * 3 * (1 + 1 + 1 + 2)


def test_a_plain_gradient_is_taken_once_for_all_places(
    gap: Network, images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    monkeypatch.setattr(Pass, "_backward", lambda *given, plain=Pass._backward: calls.append(1) or plain(*given))
    methods = [GradCAM(layer="features.1"), GradCAM(layer="features.3"), LayerCAM(layer="features.3")]
    attribute_all(gap, images, [Logit(0)], methods)
    assert len(calls) == 1


# Networks of tokens, with random weights


@pytest.fixture(scope="module")
def vit() -> Network:
    torch.manual_seed(0)
    return Network(timm.create_model("vit_small_patch16_224", num_classes=9, depth=4).eval(), name="vit")


@pytest.fixture(scope="module")
def photo() -> Tensor:
    return torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))


def test_a_vision_transformer_is_mapped_at_what_enters_its_last_attention(vit: Network, photo: Tensor) -> None:
    method = GradCAM(rectify=False)
    assert last_map(vit, None) == ("blocks.3.norm1", "what enters the last attention, blocks.3.attn")
    assert vit.layer("blocks.3.norm1").shape == (384, 14, 14)
    small = at_layer(vit, photo, 3, method)
    assert small.shape == (1, 1, 14, 14)
    assert len(small.unique()) > 150
    heatmap = attribute(vit, photo, 3, method=method)
    assert heatmap.layer == "blocks.3.norm1"
    assert torch.equal(heatmap.values, upsample(small, (224, 224)))


def test_places_of_a_vision_transformer_are_its_patches(vit: Network) -> None:
    """One patch lit: the layer in which patches have not met yet changes at that patch alone."""
    images = torch.full((2, 3, 224, 224), 0.5)
    images[1, :, 5 * 16 : 6 * 16, 9 * 16 : 10 * 16] = 1
    maps = vit.tap(images, ["patch_embed", "blocks.0.norm1"])
    for name in ("patch_embed", "blocks.0.norm1"):
        changed = (maps[name][0] != maps[name][1]).any(0)
        assert changed.nonzero().tolist() == [[5, 9]], name


def test_grad_cam_of_tokens_is_that_of_the_tokens_without_the_class_token(vit: Network, photo: Tensor) -> None:
    ours = at_layer(vit, photo, 3, GradCAM(layer="blocks.2.norm1", rectify=False))
    kept: dict[str, Tensor] = {}

    def keep(_m: nn.Module, _a: object, out: Tensor) -> Tensor:
        kept["norm"] = out.detach().requires_grad_()
        return kept["norm"]

    handle = vit.module.blocks[2].norm1.register_forward_hook(keep)
    logit = vit.module(vit.preprocess.normalize(photo))[0, 3]
    handle.remove()
    (g,) = torch.autograd.grad(logit, kept["norm"])
    a, g = (each.detach()[0, 1:].reshape(14, 14, 384) for each in (kept["norm"], g))
    torch.testing.assert_close(ours[0, 0], (a * g.mean((0, 1))).sum(2), rtol=1e-3, atol=1e-7)


def test_several_layers_and_targets_of_a_transformer_in_one_pass(vit: Network, photo: Tensor) -> None:
    methods: list[Attribution] = [GradCAM(layer="blocks.1.norm1"), GradCAM(layer="blocks.2"), LayerCAM()]
    found = attribute_all(vit, photo, [Logit(0), Logit(1) - Logit(2)], methods)
    for each in found:
        alone = attribute(vit, photo, each.target, method=each.method).values
        torch.testing.assert_close(each.values, alone, rtol=1e-3, atol=1e-3 * alone.abs().max().item())


SMALL: dict[str, Any] = {"num_classes": 9, "depth": 2}
SWIN: dict[str, Any] = {"num_classes": 9, "depths": (1, 1, 1, 1), "embed_dim": 16, "num_heads": (1, 1, 2, 2)}
ATTENTION = "what enters the last attention, blocks.1.attn"


@pytest.mark.parametrize(
    ("name", "options", "why", "grid"),
    [
        ("swin_tiny_patch4_window7_224", SWIN, "the last layer with a map", (7, 7)),
        ("deit_tiny_distilled_patch16_224", SMALL, ATTENTION, (14, 14)),
        ("vit_tiny_patch16_224", SMALL | {"reg_tokens": 4}, ATTENTION, (14, 14)),
        ("vit_tiny_patch16_224", SMALL | {"img_size": (96, 160)}, ATTENTION, (6, 10)),
        ("vit_tiny_patch16_224", SMALL | {"class_token": False, "global_pool": "avg"}, ATTENTION, (14, 14)),
    ],
)
def test_other_transformers_keep_their_grid(
    name: str, options: dict[str, Any], why: str, grid: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    size = options.get("img_size", (224, 224))
    network = Network(timm.create_model(name, **options).eval(), Preprocess(size), name=name)
    images = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(1))
    small = at_layer(network, images, 3, GradCAM(rectify=False))
    assert small.shape[2:] == grid
    assert len(small.unique()) > grid[0] * grid[1] // 2
    found = attribute(network, images, 3, method="layer-cam")
    assert found.notes[0].endswith(why)
    assert found.values.any()


def test_every_refusal_is_one_line() -> None:
    with pytest.raises(PhospheneError) as caught:
        attribute(nets.build("linear"), nets.pictures(), 0, method="grad-cam")
    assert "\n" not in str(caught.value)
