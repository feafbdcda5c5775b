"""Saliency, guided backprop and the deconvnet, beside closed forms, explicit chains and captum."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import captum.attr
import pytest
import torch
import torch.nn.functional as F
from captum.attr import NeuronDeconvolution, NeuronGuidedBackprop
from torch import Tensor, nn

import nets
from phosphene.attribution import Attribution, attribute, attribute_all
from phosphene.attribution.backprop import Deconvnet, Gradient, GuidedBackprop, InputXGradient, SuperposedDeconvnet
from phosphene.core.errors import LayerError, OptionError, PhospheneError, RuleError
from phosphene.core.network import Network, Preprocess
from phosphene.core.objective import Channel, ChannelMax, Logit, Neuron, Objective

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
    each = torch.stack([attribute(network, images, k, method="gradient").values for k in range(5)], 1)
    expected = p[:, 0, None, None, None] * (each[:, 0] - torch.einsum("nk,nkchw->nchw", p, each))
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
    with pytest.raises(OptionError, match="no baseline is called 'pink'; there are mean, black, white, grey"):
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
def test_guided_backprop_leaves_a_skip_around_a_relu_alone(relu: Any, images: Tensor) -> None:
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


def test_guided_backprop_obeys_every_relu_of_a_residual_network(images: Tensor) -> None:
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


# The deconvnet


def unpool(g: Tensor, x: Tensor, size: int, stride: int, padding: int) -> Tensor:
    """Each value back to where the maximum of its window was; what meets at one place adds up."""
    _, places = F.max_pool2d(x, size, stride, padding, return_indices=True)
    return torch.zeros_like(x).flatten(2).scatter_add(2, places.flatten(2), g.flatten(2)).view_as(x)


def project(module: Chain, images: Tensor, seed: Tensor, pool: tuple[int, int, int]) -> Tensor:
    """The paper's way down from the second layer: unpool, rectify, filter."""
    below = module.relu1(module.one(images))
    g = F.conv_transpose2d(seed.clamp(min=0), module.two.weight, stride=2, padding=1, output_padding=1)
    g = g[..., : module.pool(below).shape[2], : module.pool(below).shape[3]]
    g = unpool(g, below, *pool).clamp(min=0)
    return F.conv_transpose2d(g, module.one.weight, padding=1)


POOLS = [(2, 2, 0), (3, 2, 1)]


def _firing(network: Network, images: Tensor, layer: str = "relu2") -> Iterator[tuple[int, int, int]]:
    maps = network.tap(images, [layer])[layer]
    for channel in range(maps.shape[1]):
        yield channel, *divmod(int(maps[0, channel].argmax()), maps.shape[3])


@pytest.mark.parametrize("pool", POOLS)
def test_the_deconvnet_is_the_explicit_chain(pool: tuple[int, int, int], images: Tensor) -> None:
    network = chain(pool)
    maps = network.tap(images, ["relu2"])["relu2"]
    for channel, row, column in _firing(network, images):
        seed = torch.zeros_like(maps)
        seed[:, channel, row, column] = maps[:, channel, row, column]
        expected = project(network.module, images, seed, pool)
        values = attribute(network, images, Neuron("relu2", channel, row, column), method="deconvnet").values
        torch.testing.assert_close(values, expected, rtol=1e-12, atol=1e-16)


@pytest.mark.parametrize("pool", POOLS)
def test_the_strongest_activation_of_a_map_is_projected_where_each_image_has_it(
    pool: tuple[int, int, int], images: Tensor
) -> None:
    network = chain(pool)
    maps = network.tap(images, ["relu2"])["relu2"]
    for channel in range(4):
        flat = maps[:, channel].flatten(1)
        seed = torch.zeros_like(maps)
        seed[:, channel] = (
            torch.zeros_like(flat)
            .scatter(1, flat.argmax(1, keepdim=True), flat.amax(1, keepdim=True))
            .view_as(seed[:, 0])
        )
        values = attribute(network, images, ChannelMax("relu2", channel), method="deconvnet").values
        torch.testing.assert_close(values, project(network.module, images, seed, pool), rtol=1e-12, atol=1e-16)


@pytest.mark.parametrize("pool", POOLS)
def test_the_deconvnet_is_captums_times_the_activation(pool: tuple[int, int, int], images: Tensor) -> None:
    network = chain(pool)
    peer = NeuronDeconvolution(network.module, network.module.relu2)
    maps = network.tap(images, ["relu2"])["relu2"]
    for channel, row, column in _firing(network, images):
        theirs = peer.attribute(images.clone().requires_grad_(), (channel, row, column))
        ours = attribute(network, images, f"relu2:{channel}@{row},{column}", method="deconvnet").values
        expected = theirs * maps[:, channel, row, column].view(-1, 1, 1, 1)
        torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-16)
        assert ours[0].any() == maps[0, channel].any()


def test_a_unit_that_did_not_fire_gives_nothing_and_says_so(images: Tensor) -> None:
    network = chain()
    with torch.no_grad():
        network.module.two.bias[1] = -100.0
    for target in ("relu2:1@max", "relu2:1@2,3"):
        heatmap = attribute(network, images, target, method="deconvnet")
        assert not heatmap.values.any()
        assert heatmap.notes == tuple(
            f"image {i}: the map is blank because {target} did not fire (its value is 0)" for i in (0, 1)
        )


def test_a_value_below_zero_did_not_fire_either(images: Tensor) -> None:
    network = chain()
    with torch.no_grad():
        network.module.head.bias[2] = -100.0
        network.module.two.bias[1] = -100.0
    for target in ("2", "two:1@max", "two:1@2,3"):
        heatmap = attribute(network, images, target, method="deconvnet")
        assert not heatmap.values.any()
        assert f"{target} did not fire (its value is -" in heatmap.notes[0]
    layer = SuperposedDeconvnet(layer="two", top=0)
    bright = attribute(network, images, 0, method=layer).values
    with torch.no_grad():
        network.module.two.bias[1] = -1e6  # no more than silent
    assert torch.equal(attribute(network, images, 0, method=layer).values, bright)


def test_one_convolution_gives_its_kernel_put_in_place() -> None:
    class One(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.relu = nn.Conv2d(3, 2, 5, stride=2), nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            return self.relu(self.conv(x)).mean((2, 3))

    torch.manual_seed(1)
    network, images = Network(One().double().eval(), AS_IS), nets.pictures(1, torch.float64)
    maps = network.tap(images, ["relu"])["relu"]
    for channel in range(2):
        row, column = divmod(int(maps[0, channel].argmax()), maps.shape[3])
        values = attribute(network, images, ChannelMax("relu", channel), method="deconvnet").values[0]
        expected = torch.zeros_like(values)
        # Correlation going up, so the kernel itself, unturned, lies where it matched.
        kernel = network.module.conv.weight[channel].detach()
        expected[:, 2 * row : 2 * row + 5, 2 * column : 2 * column + 5] = maps[0, channel, row, column] * kernel
        torch.testing.assert_close(values, expected, rtol=1e-13, atol=0)


def test_average_pooling_spreads(images: Tensor) -> None:
    network = chain((2, 2, 0), average=True)
    maps = network.tap(images, ["pool"])["pool"]
    values = attribute(network, images, "pool:2@3,4", method="deconvnet").values
    seed = torch.zeros(2, 6, 32, 32, dtype=torch.float64)
    seed[:, 2, 6:8, 8:10] = maps[:, 2, 3, 4].view(-1, 1, 1) / 4
    torch.testing.assert_close(
        values, F.conv_transpose2d(seed, network.module.one.weight, padding=1), rtol=1e-12, atol=1e-16
    )


def test_the_superposed_deconvnet_is_the_sum_of_its_projections(images: Tensor) -> None:
    network = chain()
    maps = network.tap(images, ["relu2"])["relu2"]
    values = attribute(network, images, 0, method=SuperposedDeconvnet(layer="relu2", top=3)).values
    for i, one in enumerate(images.split(1)):
        places = [
            tuple(int(each) for each in torch.unravel_index(flat, maps.shape[1:]))
            for flat in maps[i].flatten().topk(3).indices
        ]
        expected = sum(attribute(network, one, Neuron("relu2", *place), method="deconvnet").values for place in places)
        torch.testing.assert_close(values[i : i + 1], expected, rtol=1e-12, atol=1e-16)
    each = attribute(network, images, 0, method=SuperposedDeconvnet(layer="relu2", top=0)).values
    expected = sum(attribute(network, images, ChannelMax("relu2", k), method="deconvnet").values for k in range(4))
    torch.testing.assert_close(each, expected, rtol=1e-12, atol=1e-16)


def test_superposing_more_than_there_are_takes_all(images: Tensor) -> None:
    network = chain()
    method = SuperposedDeconvnet(layer="head", top=50)
    heatmap = attribute(network, images, 0, method=method)
    scores = network(images)
    expected = sum(attribute(network, images, k, method="deconvnet").values for k in range(5))
    torch.testing.assert_close(heatmap.values, expected, rtol=1e-12, atol=1e-16)
    assert scores.shape[1] == 5
    assert heatmap.cost.backwards == 2 * 5


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"layer": "nope"}, LayerError, "chain has no layer 'nope'"),
        ({"top": -1}, OptionError, "top=-1: want at least 0; 0 takes the strongest of every channel"),
        ({"layer": "one"}, RuleError, "met no ReLU between one and the pixels of chain"),
    ],
)
def test_superposing_what_cannot_be_is_refused(
    options: dict[str, Any], kind: type[PhospheneError], text: str, images: Tensor
) -> None:
    with pytest.raises(kind, match=text):
        attribute(chain(), images, 0, method=SuperposedDeconvnet(**options))


def test_the_strongest_of_every_channel_is_also_there_on_vectors(images: Tensor) -> None:
    values = attribute(chain(), images, 0, method=SuperposedDeconvnet(layer="head", top=0)).values
    torch.testing.assert_close(
        values, attribute(chain(), images, 0, method=SuperposedDeconvnet(layer="head", top=5)).values
    )


def test_a_network_that_runs_without_a_graph_is_refused(images: Tensor) -> None:
    class Graphless(nets.Gap):
        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                return super().forward(x)

    network = dataclasses.replace(nets.build("gap", torch.float64), module=Graphless().double().eval())
    for method in ("gradient", "guided-backprop", "deconvnet", "grad-cam", "integrated-gradients"):
        with pytest.raises(LayerError, match="does not depend on"):
            attribute(network, images, 0, method=method)


def test_the_same_pass_answers_each_rule_as_if_alone(images: Tensor) -> None:
    network = nets.build("residual", torch.float64)
    methods: list[Attribution] = [GuidedBackprop(), Gradient(), Deconvnet(), Gradient(), GuidedBackprop()]
    for shared in attribute_all(network, images, [Logit(0), Channel("bn", 2)], methods):
        assert torch.equal(shared.values, attribute(network, images, shared.target, method=shared.method).values)
