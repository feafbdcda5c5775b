"""A network as everything else sees it: what goes in, what is read, what is left behind."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
import skimage.data
import timm
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

import nets
from phosphene.attribution import attribute
from phosphene.core.errors import ImageError, LayerError, NetworkError, TargetError
from phosphene.core.image import Picture
from phosphene.core.network import Box, Network, Preprocess

WHITE = Preprocess((32, 32), (0.0,) * 3, (1.0,) * 3)


def small(module: nn.Module, **rest: Any) -> Network:
    """A network that sees pixels as they are."""
    return Network(module.eval(), WHITE, **rest)


def called(network: Network) -> list[str]:
    """Fills with the names of the modules that run from now on."""
    seen: list[str] = []
    for name, each in network.module.named_modules():
        each.register_forward_hook(lambda *_, name=name: seen.append(name))
    return seen


# What goes in


def test_a_network_wants_a_module() -> None:
    with pytest.raises(NetworkError, match=r"wants a torch.nn.Module, not function; wrap it"):
        Network(lambda x: x)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("images", "text"),
    [
        (
            torch.rand(3, 32, 32),
            "images are float32 (3, 32, 32); phosphene wants float (N, 3, H, W). Use phosphene.image",
        ),
        (torch.rand(1, 32, 32, 3), "images are float32 (1, 32, 32, 3); phosphene wants float (N, 3, H, W)."),
        (torch.zeros(1, 3, 32, 32, dtype=torch.uint8), "images are uint8 (1, 3, 32, 32); phosphene wants float"),
        (torch.full((1, 3, 32, 32), 255.0), "images lie in [255, 255]; phosphene wants RGB in [0, 1]"),
        (torch.full((1, 3, 32, 32), float("nan")), "images lie in [nan, nan]; phosphene wants RGB in [0, 1]"),
        (torch.full((1, 3, 32, 32), 1.004), "images lie in [1.004, 1.004]; phosphene wants RGB in [0, 1]"),
    ],
)
def test_images_that_cannot_be_used_are_refused(images: Tensor, text: str) -> None:
    with pytest.raises(ImageError) as caught:
        nets.build("gap").check(images)
    assert str(caught.value).startswith(text)


def test_normalized_images_are_recognized() -> None:
    images = torch.linspace(-2.1, 2.6, 3 * 32 * 32).view(1, 3, 32, 32)
    with pytest.raises(ImageError) as caught:
        attribute(nets.build("gap"), images, 0)
    assert str(caught.value).startswith(
        "images lie in [-2.1, 2.6]; phosphene wants RGB in [0, 1] and normalizes inside Network. Undo your Normalize"
    )


def test_what_resizing_overshoots_by_a_rounding_is_let_through() -> None:
    images = torch.tensor([-5e-4, 1 + 5e-4, 0.5]).view(1, 3, 1, 1).expand(1, 3, 32, 32)
    assert torch.equal(nets.build("gap").check(images), images)


def test_images_come_at_the_precision_of_the_weights() -> None:
    assert nets.build("gap", torch.float64).check(nets.pictures()).dtype == torch.float64
    assert small(nn.Flatten()).check(nets.pictures()).dtype == torch.float32


def test_images_of_a_size_that_the_network_cannot_take_are_an_error_with_both_sizes() -> None:
    network = nets.build("linear")
    with pytest.raises(ImageError, match=r"linear cannot take images of 16×16.*; it wants 32×32"):
        attribute(network, torch.rand(1, 3, 16, 16), 0, method="gradient")


def test_a_preprocess_of_another_size_is_an_error_that_says_so() -> None:
    linear = dataclasses.replace(nets.build("linear"), preprocess=Preprocess((16, 16)))
    vit = Network(timm.create_model("vit_tiny_patch16_224", img_size=64).eval(), Preprocess((32, 32)), name="vit")
    for network in (linear, vit):
        with pytest.raises(
            NetworkError, match=rf"{network.name} cannot take images of \d+×\d+: .*[^.]\. Set Preprocess"
        ) as caught:
            network.layers  # noqa: B018
        assert "\n" not in str(caught.value)
        with pytest.raises(NetworkError, match="Set Preprocess"):
            attribute(network, torch.rand(1, 3, *network.preprocess.size), 0)


def test_channels_are_ordered_and_normalized() -> None:
    images = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64).view(1, 3, 1, 1)
    mean, std = (0.0, 0.1, 0.2), (0.5, 0.25, 0.125)

    def seen(order: Any, mean: tuple[float, ...] = mean, std: tuple[float, ...] = std) -> list[float]:
        return Preprocess((1, 1), mean, std, order=order).normalize(images).flatten().tolist()

    assert seen("rgb") == pytest.approx([0.2, 0.4, 0.8])
    assert seen("bgr") == pytest.approx([0.6, 0.4, -0.8])
    assert seen("grey", (0.0,), (1.0,)) == pytest.approx([0.299 * 0.1 + 0.587 * 0.2 + 0.114 * 0.3])


def test_normalizing_lets_gradients_through() -> None:
    for order, mean in (("rgb", (0.5,) * 3), ("bgr", (0.5,) * 3), ("grey", (0.5,))):
        images = nets.pictures(1, torch.float64).requires_grad_()
        assert torch.autograd.gradcheck(Preprocess((32, 32), mean, mean, order=order).normalize, images[:, :, :3, :3])


# Photographs

CAT = skimage.data.chelsea()  # 300 × 451


def picture(height: int, width: int) -> Picture:
    """A photograph of a size, cut or enlarged from a cat."""
    return Picture.from_array(np.asarray(Image.fromarray(CAT).resize((width, height), Image.Resampling.BICUBIC)))


SIZES = [(300, 451), (451, 300), (224, 224), (1000, 750), (20, 30), (31, 17), (225, 224), (1, 1), (3, 200)]


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_preparing_equals_pillow_and_the_center_crop(height: int, width: int, interpolation: Any) -> None:
    preprocess = Preprocess((96, 96), crop=0.875, interpolation=interpolation)
    given = picture(height, width)
    images, _ = preprocess.prepare(given)
    short = 109  # 96 / 0.875, as torchvision and timm round it
    resized = (int(short * height / min(height, width) + 1e-6), int(short * width / min(height, width) + 1e-6))
    sampling = getattr(Image.Resampling, interpolation.upper())
    expected = np.asarray(Image.fromarray(given.pixels).resize(resized[::-1], sampling)).astype(int)
    top, left = (resized[0] - 96) // 2, (resized[1] - 96) // 2
    found = (images[0] * 255).permute(1, 2, 0).round().int().numpy()
    assert images.shape == (1, 3, 96, 96)
    assert images.dtype == torch.float32
    assert abs(found - expected[top : top + 96, left : left + 96]).max() <= 1


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_the_box_is_what_the_network_sees(height: int, width: int) -> None:
    rows, columns = np.indices((height, width))
    ramp = np.stack([rows * 255 / max(height - 1, 1), columns * 255 / max(width - 1, 1), 0 * rows], -1).round()
    images, box = Preprocess((64, 48), crop=0.8).prepare(Picture.from_array(ramp.astype(np.uint8)))
    assert 0 <= box.top < box.bottom <= height
    assert 0 <= box.left < box.right <= width
    assert box.top + box.bottom == pytest.approx(height, abs=height / 64 + 1)
    assert box.left + box.right == pytest.approx(width, abs=width / 48 + 1)
    assert (box.bottom - box.top) / (box.right - box.left) == pytest.approx(64 / 48, rel=0.05)
    middle = (images[0, 0, 32, 24] * (height - 1)).item(), (images[0, 1, 32, 24] * (width - 1)).item()
    wanted = [(box.top + box.bottom) / 2 - 0.5, (box.left + box.right) / 2 - 0.5]
    assert middle == pytest.approx(wanted, abs=max(1.0, height / 64, width / 48))


def test_a_crop_of_one_keeps_the_whole_short_side() -> None:
    _, box = Preprocess((50, 50), crop=1.0).prepare(picture(100, 200))
    assert box == Box(0, 50, 100, 150)


def test_prepared_images_pass_the_check() -> None:
    network = nets.build("gap", torch.float64)
    images, _ = network.prepare(picture(40, 60))
    assert images.dtype == torch.float64
    assert network.check(images) is images


# What is read


def test_logits_come_first_in_tuples_and_mappings() -> None:
    images, gap = nets.pictures(), nets.build("gap")
    expected = gap(images)
    assert expected.shape == (2, 5)
    assert torch.equal(nets.build("tuple")(images), expected)
    for wrap in (lambda y: {"loss": None, "logits": y}, lambda y: [y, y + 1], lambda y: ((None, y),)):
        other = dataclasses.replace(gap, module=_Wrapped(gap.module, wrap))
        assert torch.equal(other(images), expected)
        assert torch.equal(attribute(other, images, 0).values, attribute(gap, images, 0).values)


def test_a_network_that_returns_no_tensor_is_refused() -> None:
    network = Network(_Wrapped(nn.Flatten(), lambda _: {"text": "no"}), WHITE)
    with pytest.raises(NetworkError, match="the module returned dict, which holds no tensor of logits; wrap it"):
        network(nets.pictures())


def test_a_network_can_be_differentiated_by_its_images() -> None:
    network, images = nets.build("gap"), nets.pictures().requires_grad_()
    network(images)[:, 0].sum().backward()
    assert images.grad is not None
    assert torch.equal(images.grad, attribute(network, images, 0, method="gradient").values)
    assert all(each.grad is None for each in network.module.parameters())


def test_a_pass_stops_after_the_last_layer_read() -> None:
    network, images = nets.build("gap"), nets.pictures()
    network.layers  # noqa: B018  a pass of its own
    seen = called(network)
    found = network.tap(images, ["features.1"])
    assert found.keys() == {"features.1"}
    assert seen == ["features.0", "features.1"]
    seen.clear()
    network.tap(images, ["features.3", "features.0"])
    assert seen[-1] == "features.3"
    seen.clear()
    network.tap(images, ["features.0", "logits"])
    assert seen[-1] == ""
    seen.clear()
    assert network.tap(images, ["input"])["input"] is images
    assert not seen


def test_what_is_read_is_what_the_module_returned() -> None:
    network, images = nets.build("gap"), nets.pictures()
    x = network.preprocess.normalize(images)
    expected = {"input": images}
    for i, each in enumerate(network.module.features):
        x = F.relu(x) if isinstance(each, nn.ReLU) else each(x)
        expected[f"features.{i}"] = x
    expected["features"], expected["logits"] = x, network.module(network.preprocess.normalize(images))
    found = network.tap(images, expected)
    assert found.keys() == expected.keys()
    for name, each in expected.items():
        assert torch.equal(found[name], each), name


@pytest.mark.parametrize("mode", ["grad", "no_grad", "inference_mode"])
@pytest.mark.parametrize("gradients", [(), ("one",), ("two",), ("one", "two", "input")])
def test_overwritten_layers_are_read_as_they_were(mode: str, gradients: tuple[str, ...]) -> None:
    plain, images = nets.build("functional"), nets.pictures()
    if mode != "grad" and gradients:
        return  # a graph needs gradients
    context = {"grad": torch.enable_grad, "no_grad": torch.no_grad, "inference_mode": torch.inference_mode}[mode]
    with context():
        expected = plain.tap(images, ["one", "two", "logits"], gradients=gradients)
        for name in ("in-place", "shared"):
            other = nets.build(name)
            for _ in range(2):
                found = other.tap(images, ["one", "two", "logits"], gradients=gradients)
                assert found["one"].min() < 0 > found["two"].min()
                for layer, each in expected.items():
                    assert torch.equal(found[layer], each), (name, layer)
                if gradients:
                    for layer in gradients:
                        ours = torch.autograd.grad(found["logits"].sum(), found[layer], retain_graph=True)
                        theirs = torch.autograd.grad(expected["logits"].sum(), expected[layer], retain_graph=True)
                        assert torch.equal(ours[0], theirs[0])


def test_a_layer_before_a_skip_added_in_place_is_read_as_it_was() -> None:
    network, images = nets.build("residual", torch.float64), nets.pictures(2, torch.float64)
    module = network.module
    found = network.tap(images, ["bn", "conv", "logits"], gradients=["conv"])
    skip = module.pool(module.cap(module.stem(network.preprocess.normalize(images))))
    assert torch.equal(found["bn"], module.bn(module.conv(skip.relu())))
    conv = module.conv(skip.relu()).detach().requires_grad_()
    logits = module.head((module.bn(conv) + skip.detach()).relu().mean((2, 3)))
    torch.testing.assert_close(found["logits"], logits)
    for target in range(5):
        ours = torch.autograd.grad(found["logits"][:, target].sum(), found["conv"], retain_graph=True)[0]
        theirs = torch.autograd.grad(logits[:, target].sum(), conv, retain_graph=True)[0]
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-15)


def test_reading_again_costs_one_pass_once() -> None:
    network, images = nets.build("in-place"), nets.pictures()
    network.layers  # noqa: B018
    passes: list[int] = []
    network.module.register_forward_pre_hook(lambda *_: passes.append(1))
    for expected in (2, 3, 4):
        network.tap(images, ["one", "two"])
        assert len(passes) == expected


def test_the_graph_starts_at_the_first_layer_asked_for() -> None:
    network, images = nets.build("gap"), nets.pictures()
    found = network.tap(images, ["logits", "features.0"], gradients=["features.3"])
    assert found["features.3"].is_leaf
    assert found["features.3"].requires_grad
    assert found["logits"].requires_grad
    assert not found["features.0"].requires_grad
    assert not any(each.requires_grad for each in network.tap(images, ["logits", "features.0"]).values())


def test_each_call_of_a_shared_module_has_a_name() -> None:
    network, images = nets.build("shared"), nets.pictures()
    assert {"relu", "relu#1"} <= network.layers.keys()
    found, plain = network.tap(images, ["relu", "relu#1"]), nets.build("functional").tap(images, ["one", "two"])
    assert torch.equal(found["relu"], plain["one"].relu())
    assert torch.equal(found["relu#1"], plain["two"].relu())
    assert network.layer("relu#1").shape == (8, 16, 16)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("features.55", "gap has no layer 'features.55'; did you mean 'features.5'"),
        ("Features.0", "gap has no layer 'Features.0'; did you mean 'features.0'"),
        ("layer4", "gap has no layer 'layer4'; there are "),
        ("features.2#1", "layer 'features.2#1' of gap is not there to read: 'features.2' is called 1 time;"),
        ("spare", "layer 'spare' of gap is not there to read: 'spare' is never called on its own;"),
    ],
)
def test_a_layer_that_is_not_there_is_an_error_with_the_nearest(name: str, text: str) -> None:
    network = nets.build("gap")
    network.module.spare = nn.Linear(2, 2)
    with pytest.raises(LayerError) as caught:
        network.tap(nets.pictures(), [name])
    assert str(caught.value).startswith(text)
    if "has no layer" in text:
        assert str(caught.value).endswith("(phosphene layers gap lists all 9)")


def test_a_layer_that_the_pass_did_not_reach_is_an_error() -> None:
    network = small(_Sometimes(), name="sometimes")
    assert network.tap(torch.zeros(1, 3, 32, 32), ["extra"])["extra"].shape == (1, 3, 32, 32)
    with pytest.raises(LayerError, match="the pass of sometimes did not reach layer 'extra' on these images"):
        network.tap(torch.ones(1, 3, 32, 32), ["extra"])


class _Pair(OrderedDict[str, Tensor]):
    """A mapping with a type of its own, as some libraries return it."""


@dataclasses.dataclass
class _Record:
    note: str
    maps: Tensor


RETURNS: dict[str, Any] = {
    "tuple": lambda y: (None, y),
    "list": lambda y: ["", y],
    "dict": lambda y: {"note": None, "maps": y},
    "mapping": lambda y: _Pair(maps=y),
    "nested": lambda y: (("", {"a": y}),),
    "dataclass": lambda y: _Record("", y),
}


@pytest.mark.parametrize("returns", RETURNS)
@pytest.mark.parametrize("in_place", [False, True])
def test_layers_that_return_more_than_a_tensor_are_read(returns: str, in_place: bool) -> None:
    conv, head = nn.Conv2d(3, 4, 3), nn.Linear(4, 5)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.wrapped, self.head = _Wrapped(conv, RETURNS[returns]), head

        def forward(self, x: Tensor) -> Tensor:
            found = self.wrapped(x)
            while not isinstance(found, Tensor):
                found = vars(found) if isinstance(found, _Record) else found
                found = list(found.values())[-1] if isinstance(found, dict) else found[-1]
            return self.head(F.relu(found, inplace=in_place).mean((2, 3)))

    images = nets.pictures()
    found = small(Net()).tap(images, ["logits"], gradients=["wrapped"])
    maps = conv(images).detach().requires_grad_()
    logits = head(maps.relu().mean((2, 3)))
    assert torch.equal(found["wrapped"], maps)
    assert torch.equal(found["logits"], logits)
    ours, theirs = (
        torch.autograd.grad(y[:, 1].sum(), x)[0] for y, x in ((found["logits"], found["wrapped"]), (logits, maps))
    )
    assert torch.equal(ours, theirs)


def test_tokens_are_read_as_maps_and_gradients_flow_through_them() -> None:
    network, images = nets.build("tokens", torch.float64), nets.pictures(2, torch.float64)
    raw: dict[str, Tensor] = {}
    handle = network.module.norm.register_forward_hook(lambda _m, _a, out: raw.update(norm=out))
    found = network.tap(images, ["logits", "norm", "patch"], gradients=["norm", "patch"])
    handle.remove()
    assert found["norm"].shape == found["patch"].shape == (2, 12, 4, 4)
    assert torch.equal(found["norm"].flatten(2).transpose(1, 2), raw["norm"][:, 1:])
    torch.testing.assert_close(found["logits"], network(images))  # attention has a kernel for no gradients
    gradient = torch.autograd.grad(found["logits"][:, 0].sum(), found["norm"], retain_graph=True)[0]
    step, at = 1e-6, (0, 5, 2, 3)
    moved = []
    for sign in (1, -1):

        def nudge(_m: nn.Module, _a: object, out: Tensor, sign: int = sign) -> Tensor:
            out = out.clone()
            out[0, 1 + 2 * 4 + 3, 5] += sign * step
            return out

        handle = network.module.norm.register_forward_hook(nudge)
        moved.append(network(images)[0, 0])
        handle.remove()
    assert gradient[at].item() == pytest.approx(((moved[0] - moved[1]) / (2 * step)).item(), rel=1e-6, abs=1e-9)


def test_tokens_of_images_of_another_size_are_refused_rather_than_misread() -> None:
    network = nets.build("tokens")
    with pytest.raises(
        LayerError, match=r"norm holds 65 tokens for these images, and 1 \+ 4 × 4 for those of the size"
    ):
        network.tap(torch.rand(1, 3, 64, 64), ["norm"])


def test_maps_of_images_of_another_size_are_read_where_the_network_takes_them() -> None:
    network = nets.build("gap")
    assert network.tap(torch.rand(1, 3, 64, 48), ["features.5"])["features.5"].shape == (1, 12, 16, 12)
    assert attribute(network, torch.rand(1, 3, 64, 48), 0).values.shape == (1, 1, 64, 48)


# What it says


def test_predictions_are_the_softmax_in_order() -> None:
    network, images = nets.build("gap"), nets.pictures()
    logits = network(images)
    rows = network.predict(images, 3)
    assert [len(row) for row in rows] == [3, 3]
    for row, each in zip(rows, logits, strict=True):
        assert [found.index for found in row] == each.argsort(descending=True)[:3].tolist()
        assert [found.logit for found in row] == each.sort(descending=True).values[:3].tolist()
        assert [found.probability for found in row] == pytest.approx(
            each.softmax(0).sort(descending=True).values[:3].tolist()
        )
        assert all(found.label == nets.LABELS[found.index] for found in row)
    assert [len(row) for row in network.predict(images, 100)] == [5, 5]
    assert network.predict(images)[0][0].index == logits[0].argmax()


def test_a_class_without_a_label_is_called_by_its_index() -> None:
    network = dataclasses.replace(nets.build("gap"), labels=("tabby",))
    assert [network.label(i) for i in (0, 1, 4)] == ["tabby", "1", "4"]


@pytest.mark.parametrize("text", ["tiger cat", "Tiger Cat", "tiger_cat", "  tiger  cat ", "TIGER_CAT"])
def test_labels_are_found_however_they_are_written(text: str) -> None:
    assert nets.build("gap").index(text) == 1


def test_labels_are_found_by_any_of_their_synonyms() -> None:
    network = dataclasses.replace(nets.build("gap"), labels=("tabby, tabby cat", "great white shark, white shark"))
    assert network.index("tabby cat") == 0
    assert network.index("white shark") == 1
    assert network.index("tabby, tabby cat") == 0


@pytest.mark.parametrize(
    ("labels", "label", "text"),
    [
        (nets.LABELS, "crane", "2 classes of gap are called 'crane': 3, 4; give the index instead"),
        (nets.LABELS, "goldfisch", "gap has no class 'goldfisch'; did you mean 'goldfish'?"),
        ((), "cat", "gap has no class 'cat'; it has no labels: give an index"),
    ],
)
def test_labels_that_do_not_name_one_class_are_errors(labels: tuple[str, ...], label: str, text: str) -> None:
    with pytest.raises(TargetError) as caught:
        dataclasses.replace(nets.build("gap"), labels=labels).index(label)
    assert str(caught.value) == text


def test_the_number_of_classes_is_that_of_the_logits() -> None:
    assert nets.build("gap").classes == 5
    assert small(nn.Conv2d(3, 7, 1)).classes == 7


class _Wrapped(nn.Module):
    """A module whose output is wrapped."""

    def __init__(self, module: nn.Module, wrap: Any) -> None:
        super().__init__()
        self.module, self.wrap = module, wrap

    def forward(self, x: Tensor) -> Any:
        return self.wrap(self.module(x))


class _Sometimes(nn.Module):
    """Calls a layer on dark images only."""

    def __init__(self) -> None:
        super().__init__()
        self.extra = nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return (self.extra(x) if x.mean() < 0.5 else x).mean((2, 3))
