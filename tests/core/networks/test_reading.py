"""One pass that records chosen layers: their activations, and where it stops."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import nets
from phosphene.attribution import attribute
from phosphene.core.errors import LayerError
from phosphene.core.networks.network import Network, Preprocess

WHITE = Preprocess((32, 32), (0.0,) * 3, (1.0,) * 3)


def small(module: nn.Module, **rest: Any) -> Network:
    """A network whose preprocessing changes nothing."""
    return Network(module.eval(), WHITE, **rest)


def called(network: Network) -> list[str]:
    """A list to which the names of all modules that run are appended."""
    seen: list[str] = []
    for name, module in network.module.named_modules():
        module.register_forward_hook(lambda *_, name=name: seen.append(name))
    return seen


def test_a_pass_stops_after_the_last_layer_read() -> None:
    network, images = nets.build("gap"), nets.pictures()
    network.layers  # noqa: B018  a pass of its own
    seen = called(network)
    activations = network.tap(images, ["features.1"])
    assert activations.keys() == {"features.1"}
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


def test_activations_are_the_outputs_of_the_modules() -> None:
    network, images = nets.build("gap"), nets.pictures()
    x = network.preprocess.normalize(images)
    expected = {"input": images}
    for i, module in enumerate(network.module.features):
        x = F.relu(x) if isinstance(module, nn.ReLU) else module(x)
        expected[f"features.{i}"] = x
    expected["features"], expected["logits"] = x, network.module(network.preprocess.normalize(images))
    activations = network.tap(images, expected)
    assert activations.keys() == expected.keys()
    for name, maps in expected.items():
        assert torch.equal(activations[name], maps), name


@pytest.mark.parametrize("mode", ["grad", "no_grad", "inference_mode"])
@pytest.mark.parametrize("gradients", [(), ("one",), ("two",), ("one", "two", "input")])
def test_layers_overwritten_later_are_read_as_returned(mode: str, gradients: tuple[str, ...]) -> None:
    plain, images = nets.build("functional"), nets.pictures()
    if mode != "grad" and gradients:
        return  # a graph needs gradients
    context = {"grad": torch.enable_grad, "no_grad": torch.no_grad, "inference_mode": torch.inference_mode}[mode]
    with context():
        expected = plain.tap(images, ["one", "two", "logits"], gradients=gradients)
        for name in ("in-place", "shared"):
            other = nets.build(name)
            for _ in range(2):
                read = other.tap(images, ["one", "two", "logits"], gradients=gradients)
                assert read["one"].min() < 0 > read["two"].min()
                for layer, maps in expected.items():
                    assert torch.equal(read[layer], maps), (name, layer)
                if gradients:
                    for layer in gradients:
                        ours = torch.autograd.grad(read["logits"].sum(), read[layer], retain_graph=True)
                        theirs = torch.autograd.grad(expected["logits"].sum(), expected[layer], retain_graph=True)
                        assert torch.equal(ours[0], theirs[0])


def test_a_layer_before_a_skip_added_in_place_is_read_as_returned() -> None:
    network, images = nets.build("residual", torch.float64), nets.pictures(2, torch.float64)
    module = network.module
    activations = network.tap(images, ["bn", "conv", "logits"], gradients=["conv"])
    skip = module.pool(module.cap(module.stem(network.preprocess.normalize(images))))
    assert torch.equal(activations["bn"], module.bn(module.conv(skip.relu())))
    conv = module.conv(skip.relu()).detach().requires_grad_()
    logits = module.head((module.bn(conv) + skip.detach()).relu().mean((2, 3)))
    torch.testing.assert_close(activations["logits"], logits)
    for target in range(5):
        ours = torch.autograd.grad(activations["logits"][:, target].sum(), activations["conv"], retain_graph=True)[0]
        theirs = torch.autograd.grad(logits[:, target].sum(), conv, retain_graph=True)[0]
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-15)


def test_an_overwritten_layer_costs_a_second_pass_once() -> None:
    network, images = nets.build("in-place"), nets.pictures()
    network.layers  # noqa: B018
    passes: list[int] = []
    network.module.register_forward_pre_hook(lambda *_: passes.append(1))
    for expected in (2, 3, 4):
        network.tap(images, ["one", "two"])
        assert len(passes) == expected


def test_the_graph_starts_at_the_first_layer_asked_for() -> None:
    network, images = nets.build("gap"), nets.pictures()
    activations = network.tap(images, ["logits", "features.0"], gradients=["features.3"])
    assert activations["features.3"].is_leaf
    assert activations["features.3"].requires_grad
    assert activations["logits"].requires_grad
    assert not activations["features.0"].requires_grad
    assert not any(maps.requires_grad for maps in network.tap(images, ["logits", "features.0"]).values())


def test_each_call_of_a_shared_module_has_a_name() -> None:
    network, images = nets.build("shared"), nets.pictures()
    assert {"relu", "relu#1"} <= network.layers.keys()
    activations, plain = network.tap(images, ["relu", "relu#1"]), nets.build("functional").tap(images, ["one", "two"])
    assert torch.equal(activations["relu"], plain["one"].relu())
    assert torch.equal(activations["relu#1"], plain["two"].relu())
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
            output = self.wrapped(x)
            while not isinstance(output, Tensor):
                output = vars(output) if isinstance(output, _Record) else output
                output = list(output.values())[-1] if isinstance(output, dict) else output[-1]
            return self.head(F.relu(output, inplace=in_place).mean((2, 3)))

    images = nets.pictures()
    activations = small(Net()).tap(images, ["logits"], gradients=["wrapped"])
    maps = conv(images).detach().requires_grad_()
    logits = head(maps.relu().mean((2, 3)))
    assert torch.equal(activations["wrapped"], maps)
    assert torch.equal(activations["logits"], logits)
    ours, theirs = (
        torch.autograd.grad(y[:, 1].sum(), x)[0]
        for y, x in ((activations["logits"], activations["wrapped"]), (logits, maps))
    )
    assert torch.equal(ours, theirs)


def test_tokens_are_read_as_maps_and_gradients_flow_through_them() -> None:
    network, images = nets.build("tokens", torch.float64), nets.pictures(2, torch.float64)
    raw: dict[str, Tensor] = {}
    handle = network.module.norm.register_forward_hook(lambda _m, _a, out: raw.update(norm=out))
    activations = network.tap(images, ["logits", "norm", "patch"], gradients=["norm", "patch"])
    handle.remove()
    assert activations["norm"].shape == activations["patch"].shape == (2, 12, 4, 4)
    assert torch.equal(activations["norm"].flatten(2).transpose(1, 2), raw["norm"][:, 1:])
    torch.testing.assert_close(activations["logits"], network(images))  # attention has a kernel for no gradients
    gradient = torch.autograd.grad(activations["logits"][:, 0].sum(), activations["norm"], retain_graph=True)[0]
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
