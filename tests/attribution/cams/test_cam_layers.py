"""The layer of a class activation map, and its notes."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

import nets
from phosphene.attribution import Attribution, attribute, attribute_all
from phosphene.attribution.attribution import forward_pass, upsample
from phosphene.attribution.cams.cam import CAM, GradCAM, GradCAMPlusPlus, GuidedGradCAM, LayerCAM, LayerMap
from phosphene.attribution.forward_pass import ForwardPass
from phosphene.core.errors import PhospheneError
from phosphene.core.networks.anatomy import last_spatial_layer
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


# Why a map is blank


@pytest.mark.parametrize("method", [CAM(), GradCAM(), GradCAMPlusPlus(), LayerCAM(), GuidedGradCAM()])
def test_a_blank_map_says_that_all_activations_are_zero(method: Attribution) -> None:
    heatmap = attribute(nets.build("dead"), nets.pictures(2), 0, method=method)
    assert not heatmap.values.any()
    assert heatmap.notes[1:] == tuple(
        f"image {i}: the map is blank because all activations of {heatmap.layer} are zero" for i in range(2)
    )


def test_a_blank_map_says_that_the_layer_only_lowers_the_target(gap: Network, images: Tensor) -> None:
    with torch.no_grad():
        gap.module.head.weight[1] = -gap.module.head.weight[1].abs() - 0.1
    for method in (CAM(), GradCAM(), GradCAMPlusPlus(), LayerCAM()):
        heatmap = attribute(gap, images, 1, method=method)
        assert not heatmap.values.any()
        assert "only lowers tiger cat; rectify=False shows where" in heatmap.notes[1]
    assert attribute(gap, images, 1, method=GradCAM(rectify=False)).values.max() <= 0


def test_a_blank_map_says_that_the_gradient_is_zero(gap: Network, images: Tensor) -> None:
    with torch.no_grad():
        gap.module.head.weight[1] = 0
    heatmap = attribute(gap, images, 1, method="grad-cam")
    assert (
        "the gradient of tiger cat at features is zero: a dead layer or a saturated output above it" in heatmap.notes[1]
    )


# Which layer


def test_the_layer_is_chosen_and_named(gap: Network, images: Tensor) -> None:
    heatmap = attribute(gap, images, 0, method="grad-cam")
    assert heatmap.layer == "features"
    assert heatmap.notes[0] == "features: the last layer with a map"
    heatmap = attribute(gap, images, "features.4:2", method="grad-cam")
    assert heatmap.layer == "features.3"
    assert heatmap.notes[0] == "features.3: the last layer with a map before features.4:2"
    assert attribute(gap, images, 0, method="cam").notes[0] == "features: its spatial mean enters head"
    assert attribute(gap, images, 0, method=GradCAM(layer="features.1")).notes == ()


def test_several_layers_targets_and_methods_come_from_one_pass(gap: Network, images: Tensor) -> None:
    methods = [cls(layer=layer) for cls in FAMILY for layer in ("features.1", "features.3", "features.5")]
    targets = [Logit(0), Logit(1) - Logit(2), Channel("features.5", 3)]
    passes: list[int] = []
    attribute_all(gap, images, targets, methods)  # finds out which layers are overwritten
    handle = gap.module.features[0].register_forward_pre_hook(lambda *_: passes.append(1))
    heatmaps = attribute_all(gap, images, targets, methods)
    handle.remove()
    assert len(passes) == 1
    for heatmap in heatmaps:
        alone = attribute(gap, images, heatmap.target, method=heatmap.method)
        torch.testing.assert_close(heatmap.values, alone.values, rtol=1e-12, atol=1e-16)
    assert sum(heatmap.cost.backwards for heatmap in heatmaps) == len(targets) * 2 * 3 * (1 + 1 + 1 + 2)


def test_a_plain_gradient_is_computed_once_for_all_layers(
    gap: Network, images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    monkeypatch.setattr(
        ForwardPass, "_backward", lambda *given, plain=ForwardPass._backward: calls.append(1) or plain(*given)
    )
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


def test_a_vision_transformer_is_mapped_at_the_input_of_its_last_attention(vit: Network, photo: Tensor) -> None:
    method = GradCAM(rectify=False)
    assert last_spatial_layer(vit, None) == ("blocks.3.norm1", "what enters the last attention, blocks.3.attn")
    assert vit.layer("blocks.3.norm1").shape == (384, 14, 14)
    small = layer_map(vit, photo, 3, method)
    assert small.shape == (1, 1, 14, 14)
    assert len(small.unique()) > 150
    heatmap = attribute(vit, photo, 3, method=method)
    assert heatmap.layer == "blocks.3.norm1"
    assert torch.equal(heatmap.values, upsample(small, (224, 224)))


def test_positions_of_a_vision_transformer_are_its_patches(vit: Network) -> None:
    """One patch lit: the layer in which patches have not met yet changes at that patch alone."""
    images = torch.full((2, 3, 224, 224), 0.5)
    images[1, :, 5 * 16 : 6 * 16, 9 * 16 : 10 * 16] = 1
    maps = vit.tap(images, ["patch_embed", "blocks.0.norm1"])
    for name in ("patch_embed", "blocks.0.norm1"):
        changed = (maps[name][0] != maps[name][1]).any(0)
        assert changed.nonzero().tolist() == [[5, 9]], name


def test_grad_cam_of_tokens_is_that_of_the_tokens_without_the_class_token(vit: Network, photo: Tensor) -> None:
    ours = layer_map(vit, photo, 3, GradCAM(layer="blocks.2.norm1", rectify=False))
    kept: dict[str, Tensor] = {}

    def keep(_m: nn.Module, _a: object, out: Tensor) -> Tensor:
        kept["norm"] = out.detach().requires_grad_()
        return kept["norm"]

    handle = vit.module.blocks[2].norm1.register_forward_hook(keep)
    logit = vit.module(vit.preprocess.normalize(photo))[0, 3]
    handle.remove()
    (g,) = torch.autograd.grad(logit, kept["norm"])
    a, g = (tokens.detach()[0, 1:].reshape(14, 14, 384) for tokens in (kept["norm"], g))
    torch.testing.assert_close(ours[0, 0], (a * g.mean((0, 1))).sum(2), rtol=1e-3, atol=1e-7)


def test_several_layers_and_targets_of_a_transformer_in_one_pass(vit: Network, photo: Tensor) -> None:
    methods: list[Attribution] = [GradCAM(layer="blocks.1.norm1"), GradCAM(layer="blocks.2"), LayerCAM()]
    heatmaps = attribute_all(vit, photo, [Logit(0), Logit(1) - Logit(2)], methods)
    for heatmap in heatmaps:
        alone = attribute(vit, photo, heatmap.target, method=heatmap.method).values
        torch.testing.assert_close(heatmap.values, alone, rtol=1e-3, atol=1e-3 * alone.abs().max().item())


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
    small = layer_map(network, images, 3, GradCAM(rectify=False))
    assert small.shape[2:] == grid
    assert len(small.unique()) > grid[0] * grid[1] // 2
    heatmap = attribute(network, images, 3, method="layer-cam")
    assert heatmap.notes[0].endswith(why)
    assert heatmap.values.any()


def test_every_refusal_is_one_line() -> None:
    with pytest.raises(PhospheneError) as caught:
        attribute(nets.build("linear"), nets.pictures(), 0, method="grad-cam")
    assert "\n" not in str(caught.value)


def test_upsampling_aligns_the_centers_of_pixels() -> None:
    ramp = torch.arange(4.0).view(1, 1, 1, 4)
    assert upsample(ramp, (1, 8)).flatten().tolist() == [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3]
    assert torch.equal(upsample(ramp, (1, 4)), ramp)


def _vgg11() -> list[nn.Module]:
    """The feature layers of VGG11, of an eighth of its width."""
    width, layers = 3, []
    for size in (8, "M", 16, "M", 32, 32, "M", 64, 64, "M", 64, 64, "M"):
        if isinstance(size, str):
            layers.append(nn.MaxPool2d(2))
        else:
            layers += [nn.Conv2d(width, size, 3, padding=1), nn.ReLU(inplace=True)]
            width = size
    return layers


@pytest.mark.parametrize("method", FAMILY)
def test_in_place_equals_out_of_place_to_the_bit_on_a_vgg(method: type[LayerMap]) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(*_vgg11(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 7)).eval()
    images, last, maps = torch.rand(1, 3, 64, 64), "18", []
    network = Network(module, Preprocess((64, 64)))
    for inplace in (True, False):
        for child in module.modules():
            if isinstance(child, nn.ReLU):
                child.inplace = inplace
        maps.append(attribute(network, images, 3, method=method(layer=last)).values)
    assert torch.equal(*maps)
    assert maps[0].any()
