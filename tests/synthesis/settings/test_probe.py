"""What a probe finds, on networks with known defects."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor, nn

import nets
from phosphene.core.errors import NetworkError
from phosphene.core.images.image import load
from phosphene.core.images.samples import SAMPLES, sample
from phosphene.core.networks.network import Network, Preprocess
from phosphene.core.objectives.classes import Logit
from phosphene.core.objectives.units import Channel, Neuron
from phosphene.synthesis.recipes.visualize import visualize
from phosphene.synthesis.settings.preset import Best, Lecture
from phosphene.synthesis.settings.probe import probe


def network(module: nn.Module, order: str = "rgb") -> Network:
    return Network(module.eval(), Preprocess((32, 32), (0.5,) * 3, (0.25,) * 3, order=order))  # type: ignore[arg-type]


def colors(bias: float = 0.0, weight: float = 1.0) -> nn.Conv2d:
    """A convolution whose only channel is weight · red + bias, of normalized pixels."""
    conv = nn.Conv2d(3, 1, 1)
    conv.weight.data = torch.tensor([weight, 0.0, 0.0]).view(1, 3, 1, 1)
    conv.bias.data.fill_(bias)
    return conv


class Spelled(nn.Module):
    """red - 1, rectified in one of many ways."""

    def __init__(self, spelling: str) -> None:
        super().__init__()
        self.conv, self.spelling, self.out = colors(-1.0), spelling, nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        rectified = {
            "function": nn.functional.relu,
            "method": Tensor.relu,
            "in place": nn.functional.relu_,
            "relu6": nn.functional.relu6,
            "hardtanh": lambda x: nn.functional.hardtanh(x, 0.0, 6.0),
            "clamp": lambda x: x.clamp(min=0),
        }[self.spelling](x)
        return self.out(rectified).mean((2, 3))


@pytest.mark.parametrize("spelling", ["function", "method", "in place", "relu6", "hardtanh", "clamp"])
def test_an_inactive_unit_has_no_gradient_however_its_relu_is_spelled(spelling: str) -> None:
    result = probe(network(Spelled(spelling)), [Channel("out", 0), Channel("conv", 0)], Best()).targets
    assert [value.no_gradient for value in result] == [True, False]
    assert not any(value.dead for value in result)
    assert result[0].at_start == 0
    assert result[0].natural[1] > 0  # red enough in photographs


def soft(module: nn.Module) -> Network:
    torch.manual_seed(0)
    body = (nn.Conv2d(3, 4, 5, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4))
    return network(nn.Sequential(*body, module))


def test_probabilities_are_known_and_the_scores_before_them_are_climbed() -> None:
    (softmax,), (plain,) = (probe(soft(value), [Logit(1)], Best()).targets for value in (nn.Softmax(1), nn.Identity()))
    assert (softmax.pre_activation, plain.pre_activation) == ("4", None)
    assert 0.3 < softmax.deviation / plain.deviation < 3
    result = visualize(soft(nn.Softmax(1)), [1, "1:2"], preset=Best(steps=2))
    (note,) = (note for note in result.notes if "probabilities" in note)
    assert note.endswith("which saturate: the scores before its softmax, those of 4, are maximized")
    assert result.names == ("1", "1:2")
    assert 0 < result.activations[0] < 1


def test_a_softmax_that_is_no_layer_is_told() -> None:
    class Function(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.softmax(1)

    result = visualize(soft(Function()), 1, preset=Best(steps=2))
    assert any(note.endswith(": end it before its softmax") for note in result.notes)


def test_what_nothing_reaches_is_dead_and_what_only_rests_is_not() -> None:
    gone = probe(network(nn.Sequential(colors(-1.0, weight=0.0), nn.ReLU())), [Channel("1", 0)], Best())
    (result,) = gone.targets
    assert (result.no_gradient, result.dead, result.constant) == (True, True, True)
    rests = probe(network(nn.Sequential(colors(-9.0), nn.ReLU())), [Channel("1", 0)], Best())
    (result,) = rests.targets
    assert (result.no_gradient, result.dead, result.constant) == (True, False, True)
    assert gone.dead_units([0.0]) == ()  # that was said before
    assert rests.dead_units([0.0]) == ("1:0 is dead: neither photographs nor its own picture activate it",)
    assert rests.dead_units([0.1]) == ()


class Bright(nn.Module):
    """Red where it is bright: 0, and without gradient under every rule, elsewhere."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x > 1, x, torch.zeros_like(x)).mean((2, 3))


def test_what_photographs_activate_is_not_dead_though_no_gradient_reaches_it() -> None:
    (result,) = probe(network(nn.Sequential(colors(), Bright())), [Logit(0)], Lecture()).targets
    assert result.natural[1] > 0
    assert (result.no_gradient, result.dead) == (True, False)


def test_a_capped_unit_and_the_layer_before_its_activation() -> None:
    module = nn.Sequential(colors(9.0), nn.ReLU6(), nn.Conv2d(1, 1, 1))
    (result,) = probe(network(module), [Channel("1", 0)], Best()).targets
    assert (result.capped, result.pre_activation) == (1.0, "0")
    assert probe(network(module), [Channel("0", 0)], Best()).targets[0].pre_activation is None
    spread = nn.Sequential(colors(5.0, weight=2.0), nn.ReLU6())
    (result,) = probe(network(spread), [Neuron("1", 0, 3, 3)], Best()).targets
    assert 0.1 < result.capped < 0.9
    assert result.pre_activation == "0"
    rare = nn.Sequential(colors(4.2), nn.ReLU6())
    (result,) = probe(network(rare), [Channel("1", 0)], Best()).targets
    assert 0 < result.capped < 0.1
    assert result.pre_activation is None


def test_the_cap_of_a_functional_relu6_is_seen_but_nothing_before_it() -> None:
    (result,) = probe(network(Capped()), [Channel("out", 0)], Best()).targets
    assert result.capped > 0.1
    assert result.pre_activation is None


class Capped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.out = colors(5.0, weight=2.0), nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.out(nn.functional.relu6(self.conv(x))).mean((2, 3))


def test_the_spread_is_that_of_the_units_of_the_layer() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    once = probe(network(module), [Channel("0", 1), Logit(1), Logit(0) + 2 * Logit(1)], Best()).targets
    module[0].weight.data *= 10
    tenfold = probe(network(module), [Channel("0", 1), Logit(1)], Best()).targets
    assert once[0].deviation == pytest.approx(once[1].deviation, rel=1e-4)
    assert once[2].deviation == pytest.approx(once[1].deviation * 5**0.5, rel=1e-4)
    assert tenfold[0].deviation == pytest.approx(10 * once[0].deviation, rel=1e-4)


def test_left_and_right() -> None:
    blind = nn.Sequential(nn.Conv2d(3, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert probe(network(blind), [Logit(0)], Best()).mirror_difference == pytest.approx(0, abs=1e-6)
    torch.manual_seed(0)
    assert probe(network(nn.Sequential(nn.Flatten(), nn.Linear(3072, 9))), [Logit(0)], Best()).mirror_difference > 0.2


def test_mirror_images_as_different_as_other_photographs_have_a_difference_of_one() -> None:
    torch.manual_seed(0)
    sided = network(nn.Sequential(nn.Flatten(), nn.Linear(3072, 9)))
    photographs = torch.cat([sided.prepare(load(sample(name))).images for name in SAMPLES])
    logits, mirrored = sided(photographs), sided(photographs.flip(3))
    pairs = torch.combinations(torch.arange(len(SAMPLES)))
    between = (logits[pairs[:, 0]] - logits[pairs[:, 1]]).square().mean()
    expected = ((logits - mirrored).square().mean() / between).item()
    assert probe(sided, [Logit(0)], Best()).mirror_difference == pytest.approx(expected, rel=1e-4)


def test_stride_is_that_of_the_deepest_map_read() -> None:
    result = [probe(nets.build("gap"), [target], Best()).stride for target in (Channel("features.2", 1), Logit(0))]
    assert result == [2, 4]


def test_a_network_that_gives_no_numbers() -> None:
    module = nn.Sequential(colors(float("nan")), nn.Flatten())
    with pytest.raises(NetworkError, match="makes numbers at 0 that are not finite, of ordinary photographs; check"):
        probe(network(module), [Channel("0", 0)], Best())


def test_it_says_what_it_cost_and_leaves_the_network_as_it_was() -> None:
    gap = nets.build("gap")
    before = {name: value.clone() for name, value in gap.module.state_dict().items()}
    gap.module.train()
    result = probe(gap, [Logit(0), Channel("features.5", 3)], Best())
    assert result.cost.backwards == 2 + sum(target.no_gradient for target in result.targets)
    assert gap.module.training
    assert all(torch.equal(value, before[name]) for name, value in gap.module.state_dict().items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in gap.module.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in gap.module.modules())


def test_the_grey_are_known_by_their_preprocess() -> None:
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten())
    grey = Network(module, Preprocess((28, 28), (0.2,), (0.3,), order="grey"))
    result = probe(grey, [Channel("0", 1)], Best())
    assert result.grey
    assert not dataclasses.replace(result, grey=False).grey
