"""The deconvnet, beside the explicit chain of the paper and captum."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from captum.attr import NeuronDeconvolution
from torch import Tensor, nn

import nets
from phosphene.attribution import attribute
from phosphene.attribution.gradients.backprop import SuperposedDeconvnet
from phosphene.core.errors import LayerError, OptionError, PhospheneError, RuleError
from phosphene.core.networks.network import Network, Preprocess
from phosphene.core.objectives.units import ChannelMax, Neuron

AS_IS = Preprocess((32, 32), (0.0,) * 3, (1.0,) * 3)

pytestmark = pytest.mark.filterwarnings("ignore:Setting backward hooks on ReLU:UserWarning")  # how captum works


@pytest.fixture
def images() -> Tensor:
    return nets.pictures(2, torch.float64)


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


def test_an_activation_of_zero_gives_a_blank_map_and_a_note(images: Tensor) -> None:
    network = chain()
    with torch.no_grad():
        network.module.two.bias[1] = -100.0
    for target in ("relu2:1@max", "relu2:1@2,3"):
        heatmap = attribute(network, images, target, method="deconvnet")
        assert not heatmap.values.any()
        assert heatmap.notes == tuple(
            f"image {i}: the map is blank because the value of {target} is not positive (0)" for i in (0, 1)
        )


def test_a_negative_activation_gives_a_blank_map_too(images: Tensor) -> None:
    network = chain()
    with torch.no_grad():
        network.module.head.bias[2] = -100.0
        network.module.two.bias[1] = -100.0
    for target in ("2", "two:1@max", "two:1@2,3"):
        heatmap = attribute(network, images, target, method="deconvnet")
        assert not heatmap.values.any()
        assert f"the value of {target} is not positive (-" in heatmap.notes[0]
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
            tuple(int(index) for index in torch.unravel_index(flat, maps.shape[1:]))
            for flat in maps[i].flatten().topk(3).indices
        ]
        expected = sum(attribute(network, one, Neuron("relu2", *place), method="deconvnet").values for place in places)
        torch.testing.assert_close(values[i : i + 1], expected, rtol=1e-12, atol=1e-16)
    values = attribute(network, images, 0, method=SuperposedDeconvnet(layer="relu2", top=0)).values
    expected = sum(attribute(network, images, ChannelMax("relu2", k), method="deconvnet").values for k in range(4))
    torch.testing.assert_close(values, expected, rtol=1e-12, atol=1e-16)


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
def test_superposing_a_negative_number_is_refused(
    options: dict[str, Any], kind: type[PhospheneError], text: str, images: Tensor
) -> None:
    with pytest.raises(kind, match=text):
        attribute(chain(), images, 0, method=SuperposedDeconvnet(**options))


def test_the_strongest_of_every_channel_is_also_there_on_vectors(images: Tensor) -> None:
    values = attribute(chain(), images, 0, method=SuperposedDeconvnet(layer="head", top=0)).values
    torch.testing.assert_close(
        values, attribute(chain(), images, 0, method=SuperposedDeconvnet(layer="head", top=5)).values
    )
