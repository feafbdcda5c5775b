"""Objectives: the algebra, the values, the grammar."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import re

import pytest
import torch
from torch import Tensor, nn

import nets
from phosphene.core.errors import LayerError, TargetError
from phosphene.core.inputs import bind_target
from phosphene.core.networks.network import Network, Preprocess
from phosphene.core.objectives.classes import Logit, Probability
from phosphene.core.objectives.grammar import parse
from phosphene.core.objectives.objective import Objective
from phosphene.core.objectives.objective import Sum as Sum
from phosphene.core.objectives.units import Channel, ChannelMax, Neuron

LABELS = ("tabby", "tiger cat", "jack-o'-lantern", "crane", "crane", "T-shirt 3", "p(x)", "7")


def _activations(seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    conv = torch.randn(3, 8, 4, 5, generator=generator, dtype=torch.float64)
    return {
        "conv": conv,
        "logits": torch.randn(3, 8, generator=generator, dtype=torch.float64),
        "head": conv[:, :, 0, 0],
    }


def _network() -> Network:
    """Eight classes, one with a hyphen, one that looks like a number, two of one name."""
    module = nn.Sequential()
    module.conv, module.relu = nn.Conv2d(3, 8, 3, 2), nn.ReLU()
    module.pool, module.flat = nn.AdaptiveAvgPool2d(1), nn.Flatten()
    return Network(module.eval(), Preprocess((16, 16)), LABELS, "eight")


UNITS: list[tuple[Objective, Tensor]] = [
    (Logit(3), _activations()["logits"][:, 3]),
    (Probability(3), _activations()["logits"].softmax(1)[:, 3]),
    (Channel("conv", 2), _activations()["conv"][:, 2].mean((1, 2))),
    (Channel("head", 2), _activations()["head"][:, 2]),
    (Channel("logits", 2), _activations()["logits"][:, 2]),
    (ChannelMax("conv", 2), _activations()["conv"][:, 2].amax((1, 2))),
    (ChannelMax("head", 2), _activations()["head"][:, 2]),
    (Neuron("conv", 2, 3, 4), _activations()["conv"][:, 2, 3, 4]),
]


@pytest.mark.parametrize(("unit", "value"), UNITS, ids=repr)
def test_a_unit_has_one_value_per_image(unit: Objective, value: Tensor) -> None:
    torch.testing.assert_close(unit(_activations()), value, rtol=1e-15, atol=0)
    assert unit.reads == {"logits"} if isinstance(unit, Logit) else {unit.layer}  # type: ignore[attr-defined]


@pytest.mark.parametrize(("unit", "value"), UNITS, ids=repr)
def test_objectives_are_linear(unit: Objective, value: Tensor) -> None:
    other, its = Logit(5), _activations()["logits"][:, 5]
    for objective, expected in [
        (unit + other, value + its),
        (unit - other, value - its),
        (-unit, -value),
        (2.5 * unit, 2.5 * value),
        (unit * 2.5, 2.5 * value),
        (3 * (unit - 2 * other) + unit, 4 * value - 6 * its),
        ((unit + other) + (unit + other), 2 * (value + its)),
        (0 * unit, 0 * value),
    ]:
        torch.testing.assert_close(objective(_activations()), expected, rtol=1e-14, atol=1e-15)
        assert objective.reads <= unit.reads | other.reads


def test_objectives_are_values() -> None:
    sums = [Logit(1) - 2 * Channel("conv", 3), Probability("tabby") + Neuron("conv", 0, 1, 2), ChannelMax("conv", 1)]
    for objective in (*(unit for unit, _ in UNITS), *sums):
        assert pickle.loads(pickle.dumps(objective)) == objective
        assert copy.deepcopy(objective) == objective
        assert hash(copy.deepcopy(objective)) == hash(objective)
        assert eval(repr(objective)) == objective
        with pytest.raises(dataclasses.FrozenInstanceError):
            objective.layer = "other"  # type: ignore[attr-defined]
    first = Logit(1)
    second = first + Logit(2)
    assert first == Logit(1)
    assert second != first
    assert Channel("conv", 1) != ChannelMax("conv", 1)
    assert Logit(1) != Probability(1)


def test_the_unit_is_that_of_the_terms() -> None:
    assert (Logit(1) - Logit(2)).unit == "logit"
    assert Probability(1).unit == "probability"
    assert Channel("conv", 1).unit == "activation"
    assert (Logit(1) - Channel("conv", 2)).unit == "mixed units"


@pytest.mark.parametrize(
    "wrong", [lambda: Logit(1) + 1, lambda: Logit(1) * Logit(2), lambda: Logit(1) - "x", lambda: 1 + Logit(1)]
)
def test_sums_with_other_types_are_refused(wrong: object) -> None:
    with pytest.raises(TypeError, match="operand"):
        wrong()  # type: ignore[operator]


# The grammar

TEXTS: list[tuple[str, Objective, str]] = [
    ("tabby", Logit(0), "tabby"),
    ("Tiger_Cat", Logit(1), "tiger cat"),
    ("tiger cat", Logit(1), "tiger cat"),
    ("jack-o'-lantern", Logit(2), "jack-o'-lantern"),
    ("T-shirt 3", Logit(5), "T-shirt 3"),
    ("2", Logit(2), "jack-o'-lantern"),
    ("  tabby  ", Logit(0), "tabby"),
    ("p(tabby)", Probability(0), "p(tabby)"),
    ("p(1)", Probability(1), "p(tiger cat)"),
    ("conv:3", Channel("conv", 3), "conv:3"),
    ("logits:3", Channel("logits", 3), "logits:3"),
    ("conv:3@max", ChannelMax("conv", 3), "conv:3@max"),
    ("conv:3@1,2", Neuron("conv", 3, 1, 2), "conv:3@1,2"),
    ("conv:3@1, 2", Neuron("conv", 3, 1, 2), "conv:3@1,2"),
    ("tabby - tiger cat", Logit(0) - Logit(1), "tabby - tiger cat"),
    ("tabby + 2*tiger cat", Logit(0) + 2 * Logit(1), "tabby + 2*tiger cat"),
    ("0.5*tabby", 0.5 * Logit(0), "0.5*tabby"),
    ("0.5 * tabby", 0.5 * Logit(0), "0.5*tabby"),
    (".5*tabby", 0.5 * Logit(0), "0.5*tabby"),
    ("1e-3*tabby", 1e-3 * Logit(0), "0.001*tabby"),
    ("-1*tabby", -Logit(0), "-1*tabby"),
    ("-2*tabby - -3*tiger cat", -2 * Logit(0) + 3 * Logit(1), "-2*tabby + 3*tiger cat"),
    ("1*tabby", Logit(0), "tabby"),
    (
        "0.5*jack-o'-lantern - p(tiger cat) + 2*conv:1@max - conv:0@0,0",
        0.5 * Logit(2) - Probability(1) + 2 * ChannelMax("conv", 1) - Neuron("conv", 0, 0, 0),
        "0.5*jack-o'-lantern - p(tiger cat) + 2*conv:1@max - conv:0@0,0",
    ),
]


@pytest.mark.parametrize(("text", "objective", "shown"), TEXTS, ids=[text for text, _, _ in TEXTS])
def test_a_text_names_an_objective_which_names_itself(text: str, objective: Objective, shown: str) -> None:
    network = _network()
    parsed = parse(text, network)
    assert parsed == objective
    assert str(parsed) == shown
    assert parse(shown, network) == objective
    assert parsed.bind(network) == parsed


@pytest.mark.parametrize("weight", [0.1, 1 / 3, 1e-5, 123456789.0, 1e20, 2.0, 0.1234567, -1 / 7])
def test_weights_survive_their_text(weight: float) -> None:
    network = _network()
    for objective in (weight * Logit(0), Logit(1) + weight * Logit(0)):
        assert parse(str(objective.bind(network)), network) == objective


def test_a_text_that_is_a_label_means_that_class_though_it_looks_like_an_index() -> None:
    assert parse("7", _network()) == Logit(7)
    digits = dataclasses.replace(_network(), labels=("3", "5", "8"))
    assert parse("3", digits) == Logit(0)
    assert parse("p(5)", digits) == Probability(1)
    assert parse("2", digits) == Logit(2)  # no label, so an index
    assert bind_target(digits, 2, torch.zeros(1, 3, 16, 16)) == Logit(2)


WRONG: list[tuple[str, type[Exception], str]] = [
    ("", TargetError, "the target '' lacks a term; write it like 'tabby - 0.5*tiger cat'"),
    ("tabby - ", TargetError, "the target 'tabby - ' lacks a term"),
    ("tabby - - tiger cat", TargetError, "eight has no class '- tiger cat'; did you mean 'tiger cat'"),
    ("- tabby", TargetError, "lacks a term"),
    ("tabbi", TargetError, "eight has no class 'tabbi'; did you mean 'tabby'?"),
    ("tabby-tiger cat", TargetError, "eight has no class 'tabby-tiger cat'; did you mean"),
    ("crane", TargetError, "2 classes of eight are called 'crane': 3, 4; give the index instead"),
    ("p(crane)", TargetError, "2 classes of eight are called 'crane': 3, 4; give the index instead"),
    ("8", TargetError, "eight has no class 8; its 8 classes are 0 … 7"),
    ("-1", TargetError, "eight has no class -1; its 8 classes are 0 … 7"),
    ("p(99)", TargetError, "eight has no class 99; its 8 classes are 0 … 7"),
    ("conv:8", TargetError, "conv of eight has no channel 8; its 8 are 0 … 7"),
    ("conv:8@max", TargetError, "conv of eight has no channel 8; its 8 are 0 … 7"),
    ("logits:8", TargetError, "logits of eight has no channel 8; its 8 are 0 … 7"),
    ("conv:3@7,0", TargetError, "conv of eight has no place 7,0; its map is 7 × 7"),
    ("conv:3@0,70", TargetError, "conv of eight has no place 0,70; its map is 7 × 7"),
    ("flat:3@0,0", TargetError, "flat of eight has no places; write flat:3"),
    ("logits:3@0,0", TargetError, "logits of eight has no places; write logits:3"),
    ("conv", TargetError, "'conv' is a layer of eight; name a channel of it, such as conv:0"),
    ("con:3", LayerError, "eight has no layer 'con'; did you mean 'conv'?"),
    (
        "conv:x",
        TargetError,
        "'conv:x' is no unit of layer conv; write conv:CHANNEL, conv:CHANNEL@max or conv:CHANNEL@ROW",
    ),
    ("conv:3@7", TargetError, "'conv:3@7' is no unit of layer conv; write conv:CHANNEL"),
    ("tabby -0.5crane", TargetError, "'tabby -0.5crane' is no sum; put spaces around the sign, as in 'tabby - 0.5*"),
    ("2*3*tabby", TargetError, "eight has no class '3*tabby'"),
]


@pytest.mark.parametrize(("text", "kind", "says"), WRONG, ids=[text or "empty" for text, _, _ in WRONG])
def test_a_text_that_names_nothing_is_an_error(text: str, kind: type[Exception], says: str) -> None:
    with pytest.raises(kind, match=re.escape(says)) as caught:
        parse(text, _network())
    assert "\n" not in str(caught.value)


def test_a_class_whose_name_is_also_that_of_a_layer_is_the_class() -> None:
    digits = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16, 4)).eval()
    for labels in ((), ("0", "1", "2", "3")):
        assert parse("1", Network(digits, Preprocess((4, 4)), labels)) == Logit(1)


def test_maps_of_logits_have_positions() -> None:
    network = Network(nn.Conv2d(3, 4, 3).eval(), Preprocess((16, 16)), name="segmenter")
    images = torch.rand(2, 3, 16, 16)
    target = parse("logits:3@2,5", network)
    assert target(network.tap(images, target.reads)).tolist() == network(images)[:, 3, 2, 5].tolist()
    assert parse("logits:3", network)(network.tap(images, ["logits"])).shape == (2,)
    with pytest.raises(TargetError, match=re.escape("logits of segmenter has no place 14,0; its map is 14 × 14")):
        parse("logits:3@14,0", network)
    with pytest.raises(TargetError, match=r"returns \(2, 4, 14, 14\), not \(N, K\) logits; name a place"):
        Logit(3)(network.tap(images, ["logits"]))


def test_a_label_must_be_looked_up_first() -> None:
    with pytest.raises(TargetError, match=r"the label 'tabby' is not looked up yet; call .bind\(network\)"):
        Logit("tabby")(_activations())
    assert (Logit("tabby") - Logit("tiger cat")).bind(_network()) == Logit(0) - Logit(1)


def test_targets_come_in_four_kinds() -> None:
    network, images = nets.build("gap"), nets.pictures(1)
    best = int(network(images).argmax())
    assert bind_target(network, "top", images) == Logit(best)
    assert str(bind_target(network, "top", images)) == nets.LABELS[best]
    assert (
        bind_target(network, 2, images)
        == bind_target(network, "goldfish", images)
        == bind_target(network, Logit("goldfish"), images)
    )
    with pytest.raises(TargetError, match="gap has no class 9"):
        bind_target(network, Logit(9), images)


def test_top_of_images_that_disagree_is_an_error() -> None:
    network = Network(
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), Preprocess((4, 4)), ("red", "green", "blue")
    )
    images = torch.eye(3)[:, :, None, None].expand(3, 3, 4, 4)
    with pytest.raises(TargetError, match=r"the images have 3 best classes \(red, green, blue\); name one"):
        bind_target(network, "top", images)
    assert bind_target(network, "top", images[:1].repeat(2, 1, 1, 1)) == Logit(0)
