"""The way back of a batch is that of its images one by one; the effective field holds what it says."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch

import nets
from phosphene.attribution.gradients.backprop import Deconvnet, Gradient, GuidedBackprop
from phosphene.core.errors import RuleError
from phosphene.core.networks.network import Box
from phosphene.core.objectives.classes import Logit
from phosphene.core.objectives.units import Neuron
from phosphene.studies.evidence.neurons import (
    METHODS,
    Neurons,
    ProjectionMethod,
    default_method,
    effective_field,
    inside,
    neuron_gradients,
)
from phosphene.survey.store.patch import Patch

CLASSES = {"deconvnet": Deconvnet, "guided-backprop": GuidedBackprop, "gradient": Gradient}


def patch(layer: str, channel: int, row: int, column: int, *, whole: bool = False) -> Patch:
    return Patch(layer, channel, "top", 0, 0, 1.0, row, column, Box(0, 0, 1, 1), whole)


def test_methods_are_those_of_the_type() -> None:
    assert tuple(METHODS) == get_args(ProjectionMethod)


@pytest.mark.parametrize("method", get_args(ProjectionMethod))
@pytest.mark.parametrize(("name", "layer"), [("gap", "features.5"), ("gap", "features.2"), ("residual", "bn")])
def test_a_batch_of_neurons_equals_them_one_by_one(method: ProjectionMethod, name: str, layer: str) -> None:
    network, images = nets.build(name), nets.pictures(3)
    places = [(0, 2, 3), (5, 0, 0), (7, 4, 1)]
    with torch.no_grad():
        maps = network.tap(images, [layer])[layer]
    gradients = neuron_gradients(network, images, [patch(layer, *place) for place in places], method)
    for i, (place, gradient) in enumerate(zip(places, gradients, strict=True)):
        alone = CLASSES[method]()(network, images[i : i + 1], Neuron(layer, *place))[0]
        assert gradient.activation == pytest.approx(maps[i, *place].item(), rel=1e-5, abs=1e-7)
        values = torch.zeros_like(alone)
        inside(values, gradient.field.tolist()).copy_(
            torch.from_numpy(gradient.values.astype(np.float32) * gradient.scale)
        )
        assert (values - alone).abs().max() <= 1e-3 * alone.abs().max()
        assert gradient.scale == pytest.approx(alone.abs().max().item(), rel=1e-4)


def test_logits_come_back_from_their_own_class() -> None:
    network, images = nets.build("gap"), nets.pictures(2)
    gradients = neuron_gradients(network, images, [patch("logits", c, 0, 0, whole=True) for c in (4, 1)], "gradient")
    for i, index in enumerate((4, 1)):
        alone = Gradient()(network, images[i : i + 1], Logit(index))[0]
        assert np.abs(gradients[i].values * gradients[i].scale - alone.numpy()).max() <= 1e-3 * alone.abs().max().item()


def test_values_that_half_floats_cannot_hold_keep_their_scale() -> None:
    network = nets.build("gap")
    torch.nn.Module.get_parameter(network.module, "features.0.weight").data.mul_(1e6)
    (gradient,) = neuron_gradients(network, nets.pictures(1), [patch("features.0", 0, 3, 3)], "gradient")
    assert np.isfinite(gradient.values).all()
    assert np.abs(gradient.values).max() == 1
    assert gradient.scale > np.finfo(np.float16).max


@pytest.mark.parametrize("seed", range(8))
def test_the_effective_field_is_a_square_in_the_field_with_its_share(seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    top, left = torch.randint(0, 20, (2,), generator=random).tolist()
    seen, spot = Box(top, left, top + 30, left + 24), torch.zeros(3, 64, 64)
    place = torch.rand(1, generator=random).item()
    rows, columns = torch.meshgrid(torch.arange(30.0), torch.arange(24.0), indexing="ij")
    bump = torch.exp(-((rows - 30 * place) ** 2 + (columns - 12) ** 2) / 20)
    inside(spot, seen).copy_(bump * torch.randn(3, 30, 24, generator=random))
    effective = effective_field(spot, seen)
    assert effective.bottom - effective.top == effective.right - effective.left
    assert seen.top <= effective.top < effective.bottom <= seen.bottom
    assert seen.left <= effective.left < effective.right <= seen.right
    assert inside(spot, effective).abs().sum() >= 0.95 * spot.abs().sum()


def test_no_gradient_leaves_the_field_as_it_is() -> None:
    assert effective_field(torch.zeros(3, 8, 8), Box(1, 2, 5, 6)) == Box(1, 2, 5, 6)


@pytest.mark.parametrize("method", ["deconvnet", "guided-backprop"])
def test_a_rule_that_meets_no_relu_is_refused(method: ProjectionMethod) -> None:
    with pytest.raises(RuleError, match=r"met no ReLU between features\.0 and the pixels"):
        neuron_gradients(nets.build("gap"), nets.pictures(1), [patch("features.0", 0, 0, 0)], method)


@pytest.mark.parametrize(
    ("name", "layer", "method"),
    [
        ("gap", "features.5", "deconvnet"),
        ("gap", "logits", "deconvnet"),
        ("gap", "features.0", "gradient"),
        ("functional", "two", "guided-backprop"),
        ("tokens", "norm", "gradient"),
    ],
)
def test_the_default_is_what_works_at_the_layer(name: str, layer: str, method: str) -> None:
    assert default_method(nets.build(name), layer) == method


def test_the_default_of_a_network_in_half_precision() -> None:
    network = nets.build("gap")
    network.module.half()
    assert default_method(network, "features.5") == "deconvnet"


def test_neurons_read_one_layer() -> None:
    assert Neurons("two", ((0, 1, 1),)).reads == frozenset({"two"})
