"""The layer table: layouts of published networks, names of calls, and a module that is unchanged."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from phosphene.core.networks.layers import Layer, first_tensor, trace


def table(module: nn.Module, size: tuple[int, int] = (224, 224)) -> dict[str, Layer]:
    return trace(module, torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0)))


def vit(name: str, **options: object) -> Callable[[], nn.Module]:
    return lambda: timm.create_model(name, depth=2, **options)


@dataclasses.dataclass(frozen=True)
class Case:
    """The expected entry of one layer."""

    build: Callable[[], nn.Module]
    layer: str
    shape: tuple[int, ...]
    layout: str
    prefix: int = 0
    size: tuple[int, int] = (224, 224)


tv = torchvision.models
SMALL = {"size": (96, 96)}
CASES = {
    "resnet18": Case(tv.resnet18, "layer4", (512, 3, 3), "channels", **SMALL),
    "resnet18, pooled": Case(tv.resnet18, "avgpool", (512, 1, 1), "channels", **SMALL),
    "resnet18, logits": Case(tv.resnet18, "fc", (1000,), "vector", **SMALL),
    "vgg11": Case(tv.vgg11, "features", (512, 3, 3), "channels", **SMALL),
    "densenet121": Case(tv.densenet121, "features.denseblock4", (1024, 3, 3), "channels", **SMALL),
    "mobilenet_v3": Case(tv.mobilenet_v3_small, "features.4.block.2.avgpool", (96, 1, 1), "channels", **SMALL),
    "googlenet": Case(lambda: tv.googlenet(init_weights=False), "inception4a", (512, 6, 6), "channels", **SMALL),
    "inception": Case(lambda: tv.inception_v3(init_weights=False), "Mixed_6a", (768, 4, 4), "channels", **SMALL),
    "lite0": Case(lambda: timm.create_model("tf_efficientnet_lite0"), "blocks.6", (320, 3, 3), "channels", **SMALL),
    "convnext": Case(tv.convnext_tiny, "features.1.0.block.1", (96, 24, 24), "channels-last", **SMALL),
    "convnext, norm of channels": Case(tv.convnext_tiny, "features.0.1", (96, 24, 24), "channels", **SMALL),
    "timm convnext": Case(lambda: timm.create_model("convnext_tiny"), "stem.1", (96, 24, 24), "channels", **SMALL),
    "timm convnext, mlp": Case(
        lambda: timm.create_model("convnext_tiny"), "stages.3.blocks.0.mlp.act", (3072, 3, 3), "channels-last", **SMALL
    ),
    "swin": Case(tv.swin_t, "features.3.1", (192, 12, 12), "channels-last", **SMALL),
    "swin, first permutation": Case(tv.swin_t, "features.0.1", (96, 24, 24), "channels-last", **SMALL),
    "swin, last permutation": Case(tv.swin_t, "permute", (768, 3, 3), "channels", **SMALL),
    "timm swin": Case(
        lambda: timm.create_model("swin_tiny_patch4_window7_224"), "layers.1", (192, 28, 28), "channels-last"
    ),
    "timm swin, inside a window": Case(
        lambda: timm.create_model("swin_tiny_patch4_window7_224"), "layers.0.blocks.0.attn.qkv", (49, 288), "other"
    ),
    "vit": Case(vit("vit_small_patch16_224"), "blocks.1", (384, 14, 14), "tokens", 1),
    "vit, before the class token": Case(vit("vit_small_patch16_224"), "patch_embed", (384, 14, 14), "tokens", 0),
    "vit, inside attention": Case(vit("vit_small_patch16_224"), "blocks.0.attn.q_norm", (6, 197, 64), "other"),
    "vit, normalized queries": Case(
        vit("vit_small_patch16_224", qk_norm=True), "blocks.0.attn.q_norm", (6, 197, 64), "other"
    ),
    "vit, not square": Case(
        vit("vit_small_patch16_224", img_size=(64, 96)), "norm", (384, 4, 6), "tokens", 1, size=(64, 96)
    ),
    "deit distilled": Case(vit("deit_tiny_distilled_patch16_224"), "blocks.0.mlp.fc1", (768, 14, 14), "tokens", 2),
    "registers": Case(vit("vit_small_patch14_reg4_dinov2", img_size=112), "norm", (384, 8, 8), "tokens", 5, (112, 112)),
    "torchvision vit": Case(
        lambda: tv.VisionTransformer(32, 8, 2, 2, 16, 32), "encoder.layers", (16, 4, 4), "tokens", 1, (32, 32)
    ),
    "levit, tokens without a grid": Case(
        lambda: timm.create_model("levit_128"), "stages.1.downsample.attn_downsample.q.down", (128, 7, 7), "tokens"
    ),
    "mixer, tokens last": Case(lambda: timm.create_model("mixer_s32_224"), "blocks.0.mlp_tokens", (512, 49), "other"),
}


@pytest.mark.parametrize("name", CASES)
def test_the_layout_of(name: str) -> None:
    case = CASES[name]
    layer = table(case.build(), case.size)[case.layer]
    assert (layer.shape, layer.layout, layer.prefix) == (case.shape, case.layout, case.prefix)


class Shared(nn.Module):
    """A ReLU called twice, once within a block called twice, a functional one, a tuple, a module never called."""

    def __init__(self) -> None:
        super().__init__()
        self.relu, self.conv, self.spare = nn.ReLU(), nn.Conv2d(3, 3, 3, padding=1), nn.Linear(2, 2)
        self.block = nn.Sequential(self.conv, nn.Dropout(), self.relu)

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        return F.relu(self.block(self.relu(self.block(x)))).mean((2, 3)), None


def test_calls_are_listed_in_the_order_in_which_they_end_and_counted() -> None:
    names = list(table(Shared(), (8, 8)))
    assert names == [
        "conv", "block.1", "relu", "block", "relu#1", "conv#1", "block.1#1", "relu#2", "block#1"
    ]  # fmt: skip


def test_parameters_include_those_of_children() -> None:
    layers = table(nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), nn.Flatten()), (8, 8))
    assert [layer.parameters for layer in layers.values()] == [3 * 4 * 9 + 4, 8, 3 * 4 * 9 + 12, 0]
    assert [layer.kind for layer in layers.values()] == ["Conv2d", "BatchNorm2d", "Sequential", "Flatten"]


def test_spatial_means_more_than_one_position() -> None:
    layers = table(tv.resnet18(), (64, 64))
    assert layers["layer4"].spatial
    assert not layers["avgpool"].spatial
    assert not layers["fc"].spatial


@pytest.mark.parametrize("name", ["resnet18", "convnext", "swin", "vit", "deit distilled", "registers"])
def test_maps_are_views_and_unmaps_undoes_them(name: str) -> None:
    module, case = CASES[name].build().eval(), CASES[name]
    outputs: dict[str, Tensor] = {}
    submodule = module.get_submodule(case.layer)
    submodule.register_forward_hook(lambda _, __, output: outputs.update(output=output))
    layer = table(module, case.size)[case.layer]
    output = outputs["output"]
    maps = layer.maps(output)
    assert maps.shape == (1, *layer.shape)
    assert maps.untyped_storage().data_ptr() == output.untyped_storage().data_ptr()
    assert torch.equal(layer.unmaps(maps, output), output)


def test_gradients_flow_through_unmapped_maps() -> None:
    layer = Layer("norm", "LayerNorm", (4, 2, 3), "tokens", prefix=2)
    output = torch.rand(2, 8, 4)
    maps = layer.maps(output).detach().requires_grad_()
    weight = torch.rand(2, 8, 4)
    (gradient,) = torch.autograd.grad((layer.unmaps(maps, output) * weight).sum(), maps)
    assert torch.equal(gradient, layer.maps(weight))


def test_the_module_is_left_as_it_was_found() -> None:
    net = tv.resnet18().train()
    net.layer1.eval()
    flags, before = [part.training for part in net.modules()], {k: v.clone() for k, v in net.state_dict().items()}
    random = torch.get_rng_state()
    table(net, (64, 64))
    assert [part.training for part in net.modules()] == flags
    assert torch.equal(torch.get_rng_state(), random)
    assert not any(part._forward_hooks for part in net.modules())
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert all(part.requires_grad for part in net.parameters())


class Noisy(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.rand_like(x)


def test_the_module_is_left_as_it_was_found_after_an_exception() -> None:
    net = nn.Sequential(Noisy(), nn.Conv2d(3, 4, 3), nn.Dropout(), nn.Linear(7, 2)).train()
    random = torch.get_rng_state()
    with pytest.raises(RuntimeError, match="shapes"):
        table(net, (8, 8))
    assert all(part.training for part in net.modules())
    assert not any(part._forward_hooks for part in net.modules())
    assert torch.equal(torch.get_rng_state(), random)


class Named(NamedTuple):
    aux: Tensor | None
    out: Tensor


@dataclasses.dataclass
class Record:
    loss: float
    out: list[Tensor]


X = torch.arange(3.0)


@pytest.mark.parametrize(
    "output",
    [X, (None, X), [[], X], {"a": 1, "b": X}, OrderedDict(out=(X, torch.zeros(1))), Named(None, X), Record(0.5, [X])],
    ids=lambda output: type(output).__name__,
)
def test_the_first_tensor_is_found_in(output: object) -> None:
    assert first_tensor(output) is X


@pytest.mark.parametrize("output", [None, "text", b"text", 3, (), {"a": "b"}, Record], ids=repr)
def test_no_tensor_is_found_in(output: object) -> None:
    assert first_tensor(output) is None


def test_layouts_hold_for_a_batch() -> None:
    module = timm.create_model("vit_tiny_patch16_224", depth=1)
    one, three = (trace(module, torch.zeros(count, 3, 224, 224)) for count in (1, 3))
    assert one == three
