"""Receptive fields against their definition: the output depends on a pixel if a NaN there makes it NaN."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torchvision.models import vgg

from phosphene.core.networks.layers import ReceptiveField, evaluating, receptive_fields, trace, watch


def fields_by_nan(module: nn.Module, example: Tensor) -> dict[str, Tensor]:
    """Boxes (4, h, w) of every layer, from one pass over H + W copies, each with one row, or one column, of NaN.

    The example is float64: kernels of oneDNN, which spread NaN to outputs that do not depend on it, are then not used.
    """
    (height, width), table, boxes = example.shape[2:], trace(module, example), {}
    images = example.repeat(height + width, 1, 1, 1)
    images[:height].diagonal(dim1=0, dim2=2).fill_(torch.nan)
    images[height:].diagonal(dim1=0, dim2=3).fill_(torch.nan)

    def read(name: str, _: nn.Module, output: Tensor) -> None:
        if table[name].layout != "other" and len(output) == len(images):
            blank = table[name].maps(output).isnan().any(1)
            blank = blank.view(len(blank), *(blank.shape[1:] or (1, 1)))
            (top, bottom), (left, right) = ends(blank[:height]), ends(blank[height:])
            boxes[name] = torch.stack([top, left, bottom, right])

    with evaluating(module), torch.no_grad(), watch(module, read):
        module(images)
    return boxes


def ends(depends: Tensor) -> tuple[Tensor, Tensor]:
    first, last = depends.int().argmax(0), len(depends) - depends.flip(0).int().argmax(0)
    return first, torch.where(depends.any(0), last, 0)


def assert_exact(module: nn.Module, size: tuple[int, int]) -> dict[str, ReceptiveField | None]:
    module, example = module.eval().double(), torch.rand(1, 3, *size, dtype=torch.float64)
    fields, truth = receptive_fields(module, example), fields_by_nan(module, example)
    assert list(fields) == list(trace(module, example))
    assert truth
    for name, boxes in truth.items():
        field = fields[name]
        assert field is not None, f"{name} is unknown"
        assert torch.equal(field.boxes, boxes.int()), name
    return fields


class Net(nn.Module):
    """A convolution, a function of its maps, and another convolution, whose field shows that of the function."""

    def __init__(self, function: Callable[[Tensor], Tensor], channels: int = 4, **modules: nn.Module) -> None:
        super().__init__()
        self.first, self.function = nn.Conv2d(3, 4, 3, 2, 1), function
        self.middle, self.last = nn.Identity(), nn.Conv2d(channels, 2, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.middle(self.function(self.first(x))))


def windows(x: Tensor) -> Tensor:
    """Attention within windows of 4 × 4, as in Swin."""
    n, c, h, w = x.shape
    x = x.roll((-2, -2), (2, 3)).view(n, c, h // 4, 4, w // 4, 4).permute(0, 2, 4, 3, 5, 1).reshape(-1, 16, c)
    x = (x @ x.transpose(1, 2)).softmax(-1) @ x
    return x.view(n, h // 4, w // 4, 4, 4, c).permute(0, 5, 1, 3, 2, 4).reshape(n, c, h, w).roll((2, 2), (2, 3))


def squeezed(x: Tensor) -> Tensor:
    return x * x.mean((2, 3), keepdim=True).sigmoid()


def added_in_place(x: Tensor) -> Tensor:
    y = x.clone()
    y += x.roll(1, 2)
    return y.relu_()


def tokens(x: Tensor) -> Tensor:
    """Maps to tokens after a class token, and back."""
    y = torch.cat([torch.zeros(len(x), 1, 4, dtype=x.dtype), x.flatten(2).transpose(1, 2)], 1)
    return F.layer_norm(y, (4,))[:, 1:].transpose(1, 2).reshape(x.shape)


WEIGHT = torch.rand(4, 4, 3, 3, dtype=torch.float64)
DEPTHWISE = torch.rand(4, 1, 3, 3, dtype=torch.float64)
FUNCTIONS: dict[str, tuple[Callable[[Tensor], Tensor], int]] = {
    "asymmetric": (lambda x: F.conv2d(x, torch.rand(4, 4, 1, 5, dtype=x.dtype), stride=(1, 2), padding=(0, 2)), 4),
    "dilated": (lambda x: F.conv2d(x, WEIGHT, padding=3, dilation=(2, 3)), 4),
    "same, even kernel": (lambda x: F.conv2d(x, torch.rand(4, 4, 4, 2, dtype=x.dtype), padding="same"), 4),
    "unread pixels": (lambda x: F.conv2d(x[:, :, :-1], WEIGHT, stride=3), 4),
    "depthwise after cat": (lambda x: F.conv2d(torch.cat([x[:, :2], x[:, 2:].roll(3, 3)], 1), DEPTHWISE, groups=4), 4),
    "paths of several lengths": (lambda x: torch.cat([x, F.max_pool2d(F.conv2d(x, WEIGHT, padding=1), 3, 1, 1)], 1), 8),
    "residual": (lambda x: x + F.conv2d(x, WEIGHT, padding=1).relu(), 4),
    "in place": (added_in_place, 4),
    "ceil mode": (lambda x: F.avg_pool2d(F.max_pool2d(x, 3, 2, ceil_mode=True), 3, 2, 1, ceil_mode=True), 4),
    "adaptive": (lambda x: F.adaptive_avg_pool2d(x, (5, 7)), 4),
    "asymmetric padding": (lambda x: F.pad(x, (0, 1, 2, -1)), 4),
    "reflection": (lambda x: F.pad(x, (3, 3, 3, 3), mode="reflect"), 4),
    "nearest": (lambda x: F.interpolate(x, scale_factor=2), 4),
    "pixel shuffle": (lambda x: F.pixel_shuffle(F.pad(x, (1, 1)), 2), 1),
    "space to depth": (lambda x: torch.cat([x[:, :, 0::2, 0::2], x[:, :, 1::2, 1::2]], 1), 8),
    "chunks": (lambda x: x.chunk(2, 1)[0] * x.chunk(2, 1)[1].flip(2), 2),
    "squeeze and excite": (squeezed, 4),
    "group norm": (lambda x: F.group_norm(x, 2), 4),
    "instance norm": (F.instance_norm, 4),
    "local response norm": (lambda x: F.local_response_norm(torch.cat([x[:, :1].roll(4, 2), x[:, 1:]], 1), 2), 4),
    "bilinear": (lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"), 4),
    "circular": (lambda x: F.mish(F.pad(x, (2, 1, 1, 2), mode="circular"), inplace=True), 4),
    "channels last": (lambda x: F.gelu(F.linear(x.permute(0, 2, 3, 1), WEIGHT[:, :, 0, 0])).permute(0, 3, 1, 2), 4),
    "tokens": (tokens, 4),
    "window attention": (windows, 4),
    "rows by einsum": (lambda x: torch.einsum("nchw,ncHw->nchH", x, x), 4),
    "greater of two": (lambda x: torch.max(x, x.flip(3)).max(torch.zeros(()).double()), 4),
    "other types": (lambda x: x.half().double().contiguous().type_as(x) * WEIGHT[0, 0, 0, 0].expand_as(x), 4),
    "uneven split": (lambda x: torch.cat(x.split((1, 0, 3), 1)[::-1], 1), 4),
    "normalized": (lambda x: F.normalize(x, dim=1) + F.log_softmax(x, 3), 4),
    "attention": (lambda x: F.scaled_dot_product_attention(x, x, x), 4),
}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_field_of_a_function_is_exact(name: str) -> None:
    function, channels = FUNCTIONS[name]
    assert_exact(Net(function, channels), (24, 32))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "vgg11": lambda: vgg.make_layers(vgg.cfgs["A"]),
    "resnet18": torchvision.models.resnet18,
    "densenet": lambda: torchvision.models.DenseNet(4, (2, 2, 2, 2), 8),
    "shufflenet": torchvision.models.shufflenet_v2_x0_5,
    "mobilenet_v3": torchvision.models.mobilenet_v3_small,
    "convnext": lambda: timm.create_model("convnext_tiny", depths=(1, 1, 2, 1), dims=(8, 16, 24, 32)),
    "swin": lambda: torchvision.models.SwinTransformer([4, 4], 16, [2, 2], [2, 2], [4, 4], num_classes=5),
    "lite0": lambda: timm.create_model("tf_efficientnet_lite0"),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_fields_of_a_published_network_are_exact(name: str) -> None:
    assert None not in assert_exact(NETWORKS[name](), (40, 48)).values()


def test_sizes_agree_with_the_literature() -> None:
    """Araujo, Norris & Sim, Distill 2019: the receptive field of VGG-16 at its last pooling has 212 pixels."""
    fields = receptive_fields(vgg.make_layers(vgg.cfgs["D"]), torch.zeros(1, 3, 224, 224))
    assert fields["30"] is not None
    assert (fields["30"].size, fields["30"].stride) == ((212, 212), (32, 32))
    assert fields["0"] == ReceptiveField((3, 3), (1, 1), (-1, -1), (224, 224), torch.empty(0))


def test_a_single_position_has_size_and_stride() -> None:
    small, large = (
        receptive_fields(torchvision.models.resnet18(), torch.zeros(1, 3, side, side))["layer4"] for side in (32, 224)
    )
    assert small is not None
    assert large is not None
    assert (small.size, small.stride, small.start) == (large.size, large.stride, large.start)


def test_size_stride_and_start_give_the_boxes_of_a_plain_stack() -> None:
    net = nn.Sequential(nn.Conv2d(3, 2, 5, 2, 2), nn.MaxPool2d(3, 2, 1), nn.Conv2d(2, 2, (3, 1), padding=(1, 0)))
    fields = receptive_fields(net, torch.zeros(1, 3, 64, 48))
    for field in fields.values():
        assert field is not None
        for row, column in ((0, 0), (3, 5), (15, 11)):
            top, left = field.start[0] + row * field.stride[0], field.start[1] + column * field.stride[1]
            bottom, right = min(top + field.size[0], 64), min(left + field.size[1], 48)
            assert field.box(row, column) == (max(top, 0), max(left, 0), bottom, right)


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
def test_every_padding_keeps_the_stride(mode: str) -> None:
    field = receptive_fields(nn.Sequential(nn.Conv2d(3, 2, 3, padding=1, padding_mode=mode)), torch.zeros(1, 3, 9, 9))[
        "0"
    ]
    assert field is not None
    assert field.stride == (1, 1)
    assert field.box(4, 4) == (3, 3, 6, 6)


def test_upsampled_positions_have_the_same_size() -> None:
    field = receptive_fields(nn.Sequential(nn.Conv2d(3, 2, 3), nn.Upsample(scale_factor=2)), torch.zeros(1, 3, 9, 9))[
        "1"
    ]
    assert field is not None
    assert field.size == (3, 3)
    assert not field.whole


def test_whole_is_the_whole_picture() -> None:
    net = nn.Sequential(nn.Conv2d(3, 2, 3, 1, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 5))
    fields = receptive_fields(net, torch.zeros(1, 3, 9, 12))
    assert [field is not None and field.whole for field in fields.values()] == [False, True, True, True]
    assert fields["3"] == ReceptiveField((9, 12), (0, 0), (0, 0), (9, 12), torch.empty(0))


def test_attention_depends_on_everything() -> None:
    fields = receptive_fields(timm.create_model("vit_tiny_patch16_224", depth=2), torch.zeros(1, 3, 224, 224))
    patch, block = fields["pos_drop"], fields["blocks.0"]
    assert patch is not None
    assert block is not None
    assert patch.box(2, 3) == (32, 48, 48, 64)
    assert block.whole
    assert block.boxes.shape == (4, 14, 14)


def partly_overwritten(x: Tensor) -> Tensor:
    x[:, :2] += x[:, 2:].roll(1, 2)
    return x


def seen_through_another_view(x: Tensor) -> Tensor:
    view = x.view(x.shape)
    x += x.roll(5, 2)
    return view


def filled_constant(x: Tensor) -> Tensor:
    y = torch.zeros(x.shape, dtype=x.dtype)
    y[:, :2] = x[:, :2]
    return y


UNKNOWN: dict[str, Callable[[Tensor], Tensor]] = {
    "topk": lambda x: x.topk(4, 3).values,
    "transposed": lambda x: F.conv_transpose2d(x, WEIGHT, padding=1),
    "data-dependent index": lambda x: x.index_select(3, x[0, 0, 0].argsort()),
    "bits": lambda x: x.view(torch.int64).double(),
    "memory": lambda x: x.as_strided(x.shape, x.stride()),
    "scattered": lambda x: x.scatter(3, torch.zeros(1, 4, 12, 1, dtype=torch.int64), x),
    "overwritten by a number": lambda x: x.zero_(),
    "partly overwritten": partly_overwritten,
    "another view": seen_through_another_view,
    "filled constant": filled_constant,
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_after_an_operation_without_a_rule_fields_are_unknown(name: str) -> None:
    fields = receptive_fields(Net(UNKNOWN[name]).double(), torch.rand(1, 3, 24, 32, dtype=torch.float64))
    assert [key for key, field in fields.items() if field is None] == ["middle", "last"]


def test_an_operation_without_a_rule_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        receptive_fields(Net(lambda x: x.topk(4, 3).values.topk(4, 2).values), torch.zeros(1, 3, 24, 32))
    assert ["aten.topk" in message for message in caplog.messages] == [True]


def test_a_constant_layer_alone_is_unknown() -> None:
    class Positions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.embed = nn.Conv2d(3, 4, 3), nn.Embedding(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x) + self.embed(torch.arange(4)).mean()

    fields = receptive_fields(Positions(), torch.zeros(1, 3, 8, 8))
    assert fields["embed"] is None
    assert fields["conv"] is not None


def test_tensors_and_modules_of_the_caller_are_unchanged() -> None:
    net, example = Net(added_in_place), torch.zeros(1, 3, 24, 32)
    receptive_fields(net, example)
    assert net.training
    assert not any(module._forward_hooks for module in net.modules())
    loss = net(example).sum()
    loss.backward()
    assert net.first.weight.grad is not None
