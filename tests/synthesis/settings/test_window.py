"""Windows: the same neuron at a smaller price, tried on images it was not made for."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import Tensor, nn

import nets
from phosphene.core.networks.network import Network, Preprocess
from phosphene.core.objectives.classes import Logit, Probability
from phosphene.core.objectives.objective import Objective
from phosphene.core.objectives.units import Channel, ChannelMax, Neuron
from phosphene.synthesis.canvas.canvas import Pixels
from phosphene.synthesis.loop.loop import synthesize
from phosphene.synthesis.loop.optimizers import Ascent
from phosphene.synthesis.losses.priors import L2, TotalVariation
from phosphene.synthesis.settings.window import Window, window
from phosphene.zoo import load


def deep(size: int = 128) -> Network:
    """Three strides, dilation, residuals, and logits: a middle layer sees 31 pixels."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.MaxPool2d(3, 2, 1), nn.Conv2d(8, 8, 3, padding=2, dilation=2),
            nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(8, 8, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Linear(8, 5),
        )  # fmt: skip
    return Network(module.eval(), Preprocess((size, size), (0.5,) * 3, (0.25,) * 3))


def cut(images: Tensor, result: Window) -> Tensor:
    top, left, bottom, right = map(int, result.box)
    assert result.size == (bottom - top, right - left)
    return images[:, :, top:bottom, left:right]


def assert_same(network: Network, objective: Objective, result: Window | None, images: Tensor) -> None:
    assert result is not None, f"no window for {objective}"
    whole = objective(network.tap(images, objective.reads))
    part = result.objective(network.tap(cut(images, result), objective.reads))
    assert torch.allclose(part, whole, rtol=1e-4, atol=1e-5), (str(objective), result.box)


@pytest.mark.parametrize("size", [128, 125, 131])
@pytest.mark.parametrize(("layer", "side"), [("0", 64), ("3", 32), ("4", 32), ("6", 16)])
def test_a_neuron_says_the_same_in_its_window_wherever_it_is(layer: str, side: int, size: int) -> None:
    network, images = deep(size), torch.rand(2, 3, size, size)
    rows, columns = network.layers[layer].shape[1:]
    for row, column in ((0, 0), (0, columns // 2), (rows // 2, columns // 3), (rows - 1, columns - 1), (rows - 2, 1)):
        objective = Neuron(layer, 3, row, column)
        assert_same(network, objective, window(network, objective, min_size=(4, 4)), images)
        assert_same(network, objective, window(network, objective, margin=9), images)


def test_no_pixel_of_a_window_of_a_neuron_is_missing_and_few_are_too_many() -> None:
    network, objective = deep(), Neuron("4", 1, 16, 15)
    result = window(network, objective, min_size=(4, 4))
    assert result is not None
    leaf = torch.rand(1, 3, 128, 128, requires_grad=True)
    seen = torch.autograd.grad(network.tap(leaf, ["3"])["3"][0, 1, 16, 15], leaf)[0].abs().amax((0, 1)) > 0
    inside = torch.zeros_like(seen)
    cut(inside[None, None], result).fill_(True)
    assert not (seen & ~inside).any()
    rows = seen.any(1).nonzero().flatten()
    assert result.size[0] - 4 <= rows[-1] - rows[0] + 1 <= result.size[0]


@pytest.mark.parametrize(
    "make",
    [
        load,
        lambda: Network(timm.create_model("resnet18").eval(), Preprocess((224, 224))),
        lambda: Network(timm.create_model("convnext_atto").eval(), Preprocess((192, 192))),
    ],
    ids=["efficientnet-lite0", "resnet18", "convnext"],
)
def test_neurons_of_real_networks(make: type[Network]) -> None:
    network = make()
    images = torch.rand(1, 3, *network.preprocess.size)
    fields = {name: value for name, value in network.receptive_fields.items() if value and all(value.stride)}
    small = [name for name, value in fields.items() if max(value.size) < 100]
    for name in small[:: len(small) // 4]:
        objective = Neuron(name, 2, 3, network.layers[name].shape[2] // 2)
        assert_same(network, objective, window(network, objective), images)


def test_a_sum_of_neurons_gets_a_box_around_both_and_priors_have_no_say() -> None:
    network, images = deep(), torch.rand(1, 3, 128, 128)
    objective = Neuron("4", 1, 10, 12) - 0.5 * Neuron("0", 2, 26, 30)
    result = window(network, objective)
    assert_same(network, objective, result, images)
    with_priors = window(network, objective - 2 * L2() - TotalVariation())
    assert result is not None
    assert with_priors is not None
    assert with_priors.box == result.box
    assert str(with_priors.objective).endswith("2*l2 - total-variation")
    assert window(network, Neuron("4", 1, 0, 0) + Neuron("4", 1, 31, 31)) is None


def test_a_channel_gets_room_for_three_fields_and_at_least_64_pixels() -> None:
    network = deep(256)
    first, second = (window(network, Channel(layer, 1)) for layer in ("0", "4"))
    assert first == Window(Channel("0", 1), (64, 64), first.box if first else None)  # type: ignore[arg-type]
    assert second is not None
    field = network.receptive_fields["4"]
    assert field is not None
    assert 3 * field.size[0] <= second.size[0] < 3 * field.size[0] + 4
    assert window(network, ChannelMax("0", 1)) is not None
    both = window(network, Channel("0", 1) + Neuron("4", 1, 2, 60))
    assert both is not None
    assert both.size == (64, 64)
    assert (both.box.top, both.box.right) == (0, 256)


def test_where_it_would_not_pay_there_is_none() -> None:
    network = deep(64)
    assert window(network, Channel("4", 1)) is None
    assert window(network, Neuron("6", 1, 4, 4), min_size=(56, 56)) is None
    assert window(deep(), Neuron("4", 1, 16, 16), margin=60) is None


@pytest.mark.parametrize(
    "objective", [Logit(0), Probability(0), Channel("7", 1), -L2(), Neuron("4", 1, 4, 4) + Logit(1)]
)
def test_what_sees_everything_or_nothing_has_no_window(objective: Objective) -> None:
    assert window(deep(), objective) is None


def test_tokens_have_none() -> None:
    assert window(nets.build("tokens"), Neuron("norm", 1, 1, 1)) is None


def test_a_network_that_knows_its_size_or_the_place_has_none() -> None:
    class Placed(nn.Module):
        def __init__(self, *, fixed: bool) -> None:
            super().__init__()
            self.one, self.two, self.fixed = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1), fixed
            self.place = nn.Parameter(torch.rand(1, 4, 128, 128))

        def forward(self, x: Tensor) -> Tensor:
            x = self.one(x)
            x = x + (self.place if self.fixed else self.place[:, :, : x.shape[2], : x.shape[3]])
            return self.two(x).mean((2, 3))

    for fixed in (True, False):
        network = Network(Placed(fixed=fixed).eval(), Preprocess((128, 128)))
        assert window(network, Neuron("one", 1, 64, 64)) is not None
        assert window(network, Neuron("two", 1, 64, 64)) is None


def test_ascent_in_the_window_is_ascent_in_the_whole() -> None:
    network, objective = deep(), Neuron("4", 1, 16, 15)
    result = window(network, objective)
    assert result is not None
    how = {"optimizer": Ascent(0.05, sign=True), "steps": 4}
    whole = synthesize(network, objective, Pixels(), **how)  # type: ignore[arg-type]
    part = synthesize(network, result.objective, Pixels(), size=result.size, **how)  # type: ignore[arg-type]
    assert torch.allclose(part.scores, whole.scores, rtol=1e-4, atol=1e-5)
    assert torch.allclose(part.images, cut(whole.images, result), atol=1e-3)
