"""Saliency, guided backprop and the deconvnet, beside closed forms, explicit chains and captum."""

from __future__ import annotations

import dataclasses
from typing import Any

import captum.attr
import pytest
import torch
import torch.nn.functional as F
from captum.attr import NeuronGuidedBackprop
from torch import Tensor, nn

import nets
from phosphene.attribution import Attribution, attribute, attribute_all
from phosphene.attribution.gradients.backprop import Deconvnet, Gradient, GuidedBackprop, InputXGradient
from phosphene.core.errors import LayerError, OptionError
from phosphene.core.networks.network import Network, Preprocess
from phosphene.core.objectives.classes import Logit
from phosphene.core.objectives.objective import Objective
from phosphene.core.objectives.units import Channel, ChannelMax, Neuron

AS_IS = Preprocess((32, 32), (0.0,) * 3, (1.0,) * 3)
PLAIN = ["functional", "gap", "dead", "linear", "tokens", "residual"]

pytestmark = pytest.mark.filterwarnings("ignore:Setting backward hooks on ReLU:UserWarning")  # how captum works


@pytest.fixture
def images() -> Tensor:
    return nets.pictures(2, torch.float64)


def plain(network: Network) -> Network:
    """The same, on pixels as they are, so that peers can be asked the same question."""
    return dataclasses.replace(network, preprocess=AS_IS)


class Chain(nn.Module):
    """The network of the deconvnet paper in small: convolution, ReLU, max pooling, convolution, ReLU."""

    def __init__(self, pool: tuple[int, int, int] = (2, 2, 0), *, average: bool = False) -> None:
        super().__init__()
        self.one, self.relu1 = nn.Conv2d(3, 6, 3, padding=1), nn.ReLU()
        self.pool = nn.AvgPool2d(*pool) if average else nn.MaxPool2d(*pool)
        self.two, self.relu2 = nn.Conv2d(6, 4, 3, stride=2, padding=1), nn.ReLU()
        self.head = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.relu2(self.two(self.pool(self.relu1(self.one(x))))).mean((2, 3)))


def chain(pool: tuple[int, int, int] = (2, 2, 0), **rest: Any) -> Network:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return Network(Chain(pool, **rest).double().eval(), AS_IS, name="chain")


# Saliency


@pytest.mark.parametrize("net", PLAIN)
def test_saliency_equals_captum(net: str, images: Tensor) -> None:
    network = plain(nets.build(net, torch.float64))
    ours = attribute(network, images, 2, method="gradient").values
    theirs = captum.attr.Saliency(network.module).attribute(images.clone().requires_grad_(), target=2)
    torch.testing.assert_close(ours.abs().amax(1), theirs.amax(1), rtol=1e-12, atol=1e-15)
    signed = captum.attr.Saliency(network.module).attribute(images.clone().requires_grad_(), target=2, abs=False)
    torch.testing.assert_close(ours, signed, rtol=1e-12, atol=1e-15)


def test_the_gradient_of_a_linear_network_is_its_weights(images: Tensor) -> None:
    network = nets.build("linear", torch.float64)  # per unit of RGB: the deviation of 0.25 divides
    weights = network.module.head.weight.view(5, 3, 32, 32) / 0.25
    for target in range(5):
        values = attribute(network, images, target, method="gradient").values
        torch.testing.assert_close(values, weights[target].expand(2, -1, -1, -1), rtol=1e-13, atol=0)
    difference = attribute(network, images, 2 * Logit(1) - 0.5 * Logit(3), method="gradient").values
    torch.testing.assert_close(difference[0], 2 * weights[1] - 0.5 * weights[3], rtol=1e-12, atol=1e-15)


def test_the_gradient_is_that_of_the_logit_and_not_of_the_probability(images: Tensor) -> None:
    network = nets.build("gap", torch.float64)
    logit, probability = (attribute(network, images, text, method="gradient").values for text in ("tabby", "p(tabby)"))
    assert not torch.allclose(logit, probability)
    p = network(images).softmax(1)
    of_class = torch.stack([attribute(network, images, k, method="gradient").values for k in range(5)], 1)
    expected = p[:, 0, None, None, None] * (of_class[:, 0] - torch.einsum("nk,nkchw->nchw", p, of_class))
    torch.testing.assert_close(probability, expected, rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize(
    "target", [Logit(1), ChannelMax("features.5", 3), Neuron("features.4", 2, 3, 4), Channel("features.1", 2)]
)
def test_the_gradient_is_the_slope(target: Objective, images: Tensor) -> None:
    network, one = nets.build("gap", torch.float64), images[:1]
    gradient = Gradient()(network, one, target)
    direction = torch.randn(one.shape, generator=torch.Generator().manual_seed(0), dtype=one.dtype)
    step = 1e-6
    up, down = (target(network.tap(one + sign * step * direction, target.reads)) for sign in (1, -1))
    assert (gradient * direction).sum().item() == pytest.approx(((up - down) / (2 * step)).item(), rel=1e-5)


@pytest.mark.parametrize("baseline", ["mean", "black", "white", "grey"])
def test_input_x_gradient_of_a_linear_network_adds_up(baseline: Any, images: Tensor) -> None:
    network = nets.build("linear", torch.float64)
    color = {"black": 0.0, "white": 1.0}.get(baseline, 0.5)
    values = attribute(network, images, 3, method=InputXGradient(baseline=baseline)).values
    gained = network(images)[:, 3] - network(torch.full_like(images, color))[:, 3]
    torch.testing.assert_close(values.sum((1, 2, 3)), gained, rtol=1e-11, atol=1e-13)


def test_input_x_gradient_equals_captum_on_black(images: Tensor) -> None:
    network = plain(nets.build("gap", torch.float64))
    ours = attribute(network, images, 3, method=InputXGradient(baseline="black")).values
    theirs = captum.attr.InputXGradient(network.module).attribute(images.clone().requires_grad_(), target=3)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-15)


def test_the_mean_color_is_the_one_that_the_network_sees_as_zero() -> None:
    for order in ("rgb", "bgr"):
        network = dataclasses.replace(
            nets.build("gap", torch.float64), preprocess=Preprocess((32, 32), (0.2, 0.4, 0.6), order=order)
        )
        color = torch.tensor([0.2, 0.4, 0.6], dtype=torch.float64)
        images = (color if order == "rgb" else color.flip(0)).view(1, 3, 1, 1).expand(1, 3, 32, 32)
        assert not network.preprocess.normalize(images).any()
        assert not attribute(network, images, 0, method="input-x-gradient").values.any()


def test_a_baseline_that_does_not_exist_is_refused(images: Tensor) -> None:
    with pytest.raises(
        OptionError, match="input-x-gradient has no baseline 'pink'; give a picture, or mean, black, white, grey"
    ):
        attribute(nets.build("gap"), images, 0, method=InputXGradient(baseline="pink"))  # type: ignore[arg-type]


# Guided backprop


@pytest.mark.parametrize("target", range(3))
def test_guided_backprop_equals_captum(target: int, images: Tensor) -> None:
    network = chain()
    ours = attribute(network, images, target, method="guided-backprop").values
    theirs = captum.attr.GuidedBackprop(network.module).attribute(images.clone().requires_grad_(), target=target)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-15)
    neuron = NeuronGuidedBackprop(network.module, network.module.relu2)
    theirs = neuron.attribute(images.clone().requires_grad_(), (target, 2, 5))
    ours = attribute(network, images, f"relu2:{target}@2,5", method="guided-backprop").values
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-15)


class _Guided(torch.autograd.Function):
    """The paper's rule, written out."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Tensor:
        (x,), (g,) = ctx.saved_tensors, gradients
        return g * ((g > 0) & (x > 0))


class _Skip(nn.Module):
    """A skip taken from before a ReLU: tools that hook the tensor treat the skip as well."""

    def __init__(self, relu: Any) -> None:
        super().__init__()
        self.one, self.two, self.head = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1), nn.Linear(6, 5)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        x = self.one(x)
        return self.head(self.relu(x + self.two(self.relu(x))).mean((2, 3)))


@pytest.mark.parametrize("relu", [F.relu, torch.relu, nn.ReLU(), lambda x: x.relu(), lambda x: x.clamp(min=0)])
def test_guided_backprop_does_not_change_a_skip_around_a_relu(relu: Any, images: Tensor) -> None:
    torch.manual_seed(0)
    reference = _Skip(_Guided.apply).double().eval()
    module = _Skip(relu).double().eval()
    module.load_state_dict(reference.state_dict())
    network = Network(module, AS_IS)
    for target in range(3):
        x = images.clone().requires_grad_()
        theirs = torch.autograd.grad(reference(x)[:, target].sum(), x)[0]
        ours = attribute(network, images, target, method="guided-backprop").values
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-15)


def test_guided_backprop_applies_to_every_relu_of_a_residual_network(images: Tensor) -> None:
    network = plain(nets.build("residual", torch.float64))
    module = network.module
    ours = attribute(network, images, 1, method="guided-backprop").values
    guided = _Guided.apply
    x = images.clone().requires_grad_()
    stem = guided(module.stem(x))
    assert stem.max() < 6
    skip = module.pool(stem)
    out = guided(module.bn(module.conv(guided(skip))) + skip)
    theirs = torch.autograd.grad(module.head(out.mean((2, 3)))[:, 1].sum(), x)[0]
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-15)
    assert ours.any()


def test_a_network_that_runs_without_a_graph_is_refused(images: Tensor) -> None:
    class Graphless(nets.Gap):
        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                return super().forward(x)

    network = dataclasses.replace(nets.build("gap", torch.float64), module=Graphless().double().eval())
    for method in ("gradient", "guided-backprop", "deconvnet", "grad-cam", "integrated-gradients"):
        with pytest.raises(LayerError, match="does not depend on"):
            attribute(network, images, 0, method=method)


def test_one_pass_gives_each_rule_the_map_that_it_has_alone(images: Tensor) -> None:
    network = nets.build("residual", torch.float64)
    methods: list[Attribution] = [GuidedBackprop(), Gradient(), Deconvnet(), Gradient(), GuidedBackprop()]
    for shared in attribute_all(network, images, [Logit(0), Channel("bn", 2)], methods):
        assert torch.equal(shared.values, attribute(network, images, shared.target, method=shared.method).values)
