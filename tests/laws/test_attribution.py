"""What holds for every registered way of attribution, on nine tiny networks."""

from __future__ import annotations

import copy
import dataclasses
import gc
import io
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor

import nets
from laws.left_as_found import nothing_left
from phosphene.attribution import Attribution, attribute, attribute_all
from phosphene.attribution.cams.cam import CAM
from phosphene.core.errors import LayerError, PhospheneError, RuleError, TargetError
from phosphene.core.networks.network import Network
from phosphene.core.objectives.classes import Logit
from phosphene.core.objectives.units import Channel

METHODS = sorted(Attribution.table)
NETS = sorted(nets.NETS)
FEW: dict[str, Any] = {"samples": 3, "steps": 3, "masks": 6, "patch": 16, "stride": 16, "grid": 3, "channels": 4}
"""Options that make a method run many passes, and values that make it run few."""

POOLED = {name for name in METHODS if issubclass(Attribution.find(name), CAM)}
LAYERED = {name for name in METHODS if "layer" in {option.name for option in Attribution.find(name).options()}}
RULED = {name for name in METHODS if Attribution.find(name)().rule is not None}
REFUSED: dict[str, dict[str, type[PhospheneError]]] = {
    "functional": dict.fromkeys(POOLED, LayerError),
    "in-place": dict.fromkeys(POOLED, LayerError),
    "residual": dict.fromkeys(POOLED, LayerError),
    "linear": dict.fromkeys(RULED, RuleError) | dict.fromkeys(LAYERED, LayerError),
    "tokens": dict.fromkeys(RULED, RuleError) | dict.fromkeys(POOLED, LayerError),
}
"""Where a method cannot work, and how it says so. All other pairs must work."""

PAIRS = [(method, net) for method in METHODS for net in NETS]
WORKING = [(method, net) for method, net in PAIRS if method not in REFUSED.get(net, {})]
REFUSING = [(method, net) for method, net in PAIRS if method in REFUSED.get(net, {})]

everywhere = pytest.mark.parametrize(("method", "net"), WORKING)


PERTURBING = {"occlusion", "occlusion-class", "rise", "score-cam"}
PROBES = 10
"""Images that perturbing methods run, once a pass, to check that a faster copy of the network agrees."""


def few(name: str) -> Attribution:
    """A method with as few passes as its options allow."""
    cls = Attribution.find(name)
    return cls(**{option.name: FEW[option.name] for option in cls.options() if option.name in FEW})


def run(network: Network, method: Attribution, images: Tensor, target: Any = 0) -> Tensor:
    """The raw map."""
    return attribute(network, images, target, method=method).values


@everywhere
def test_a_map_has_one_value_or_one_color_for_each_pixel(method: str, net: str) -> None:
    heatmap = attribute(nets.build(net), nets.pictures(2), 0, method=few(method))
    values = heatmap.values
    assert values.shape in {(2, 1, 32, 32), (2, 3, 32, 32)}
    assert values.dtype == torch.float32
    assert not values.requires_grad
    assert values.isfinite().all()
    assert heatmap.scores.shape == (2,)
    assert heatmap.unit


@everywhere
def test_a_map_is_not_blank_or_a_note_says_why(method: str, net: str) -> None:
    heatmap = attribute(nets.build(net), nets.pictures(1), "top", method=few(method))
    assert heatmap.values.any() or "blank" in "".join(heatmap.notes) or "zero" in "".join(heatmap.notes)
    if net not in {"dead", "tokens"} and heatmap.values.shape[1] == 3 and heatmap.scores > 0:
        assert heatmap.values.any()


@pytest.mark.parametrize(("method", "net"), REFUSING)
def test_what_cannot_work_is_refused_with_a_reason(method: str, net: str) -> None:
    network = nets.build(net)
    network.layers, network.classes  # noqa: B018  both are passes of their own
    with nothing_left(network), pytest.raises(REFUSED[net][method]) as caught:
        attribute(network, nets.pictures(), 0, method=few(method))
    text = str(caught.value)
    assert "\n" not in text
    assert net in text
    assert "use" in text.lower()


@everywhere
def test_a_batch_is_its_images_one_by_one(method: str, net: str) -> None:
    network, images = nets.build(net, torch.float64), nets.pictures(3, torch.float64)
    together = run(network, few(method), images)
    singles = torch.cat([run(network, few(method), image) for image in images.split(1)])
    torch.testing.assert_close(together, singles, rtol=1e-9, atol=1e-12)


@everywhere
def test_a_second_call_equals_the_first(method: str, net: str) -> None:
    network, images = nets.build(net), nets.pictures()
    first = run(network, few(method), images)
    torch.manual_seed(12345)
    assert first.numpy().tobytes() == run(network, few(method), images).numpy().tobytes()
    assert first.numpy().tobytes() == run(nets.build(net), few(method), images.clone()).numpy().tobytes()


@everywhere
def test_a_network_is_left_as_it_was_found(method: str, net: str) -> None:
    network = nets.build(net)
    network.module.train()
    next(network.module.children()).eval()
    next(network.module.parameters()).requires_grad_(False)
    with nothing_left(network):
        run(network, few(method), nets.pictures())


@everywhere
def test_it_is_left_so_after_a_failure_within(method: str, net: str) -> None:
    network, images = nets.build(net), nets.pictures()
    network.module.train()
    last = list(network.module.children())[-1]
    network.layers, network.classes  # noqa: B018  known before the network breaks
    run(network, few(method), images)
    broken = last.register_forward_pre_hook(_fail)
    with nothing_left(network), pytest.raises((_Broken, LayerError)) as caught:
        run(network, few(method), images, 1)
    broken.remove()
    assert caught.type is _Broken
    run(network, few(method), images, 1)


@everywhere
def test_it_is_left_so_after_a_target_that_does_not_exist(method: str, net: str) -> None:
    network = nets.build(net)
    network.module.train()
    with nothing_left(network), pytest.raises(TargetError, match=r"has no class 5; its 5 classes are 0 … 4"):
        run(network, few(method), nets.pictures(), 5)


@everywhere
def test_images_stay_as_they_were(method: str, net: str) -> None:
    network, images = nets.build(net), nets.pictures()
    plain = run(network, few(method), images)
    before = images.clone()
    images.requires_grad_()
    asked = run(network, few(method), images)
    assert torch.equal(asked, plain)
    assert not asked.requires_grad
    assert torch.equal(images, before)
    assert images.requires_grad
    assert images.is_leaf
    assert images.grad is None


@everywhere
def test_the_state_of_the_caller_plays_no_part(method: str, net: str) -> None:
    network, images = nets.build(net), nets.pictures()
    plain = run(network, few(method), images)
    for state in (torch.no_grad(), torch.inference_mode()):
        with state:
            assert torch.equal(run(network, few(method), images), plain)
    with torch.inference_mode():
        images_within = images.clone()
        assert images_within.is_inference()
    fresh = nets.build(net)
    with torch.inference_mode():
        assert torch.equal(run(fresh, few(method), images_within), plain)
    network.module.requires_grad_(False)
    assert torch.equal(run(network, few(method), images), plain)


@pytest.mark.parametrize("net", NETS)
def test_all_methods_share_one_pass(net: str) -> None:
    network, images = nets.build(net), nets.pictures()
    methods = [few(name) for name in METHODS if (name, net) in WORKING]
    targets = [Logit(0), Logit(2) - 0.5 * Logit(1)]
    shared = attribute_all(network, images, targets, methods)
    assert [(heatmap.target, heatmap.method) for heatmap in shared] == [
        (t.bind(network), m) for t in targets for m in methods
    ]
    for heatmap in shared:
        alone = attribute(network, images, heatmap.target, method=heatmap.method)
        if net == "tokens":  # attention runs by another kernel without gradients
            torch.testing.assert_close((heatmap.values, heatmap.scores), (alone.values, alone.scores))
        else:
            assert torch.equal(heatmap.values, alone.values), heatmap.method
            assert torch.equal(heatmap.scores, alone.scores)
        assert (heatmap.layer, heatmap.notes) == (alone.layer, alone.notes)


@everywhere
def test_the_cost_is_what_was_announced(method: str, net: str) -> None:
    network, images, seen = nets.build(net), nets.pictures(3), []
    run(network, few(method), images)  # tables of layers and classes are made once, and are not of the map
    network.module.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    heatmap = attribute(network, images, 0, method=few(method))
    extra = sum(seen) - heatmap.cost.forwards
    assert 0 <= extra <= PROBES if method in PERTURBING else extra == 0
    assert heatmap.cost.seconds > 0


@pytest.mark.parametrize("method", METHODS)
def test_methods_are_values(method: str) -> None:
    cls = Attribution.find(method)
    for made in (cls(), few(method)):
        assert pickle.loads(pickle.dumps(made)) == made
        assert copy.deepcopy(made) == made
        assert eval(repr(made), {cls.__name__: cls}) == made
        assert made.manifest()["name"] == method
    option = next(iter(cls.options()), None)
    if option is not None:
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(few(method), option.name, None)


@pytest.mark.parametrize("method", METHODS)
def test_methods_explain_themselves(method: str) -> None:
    cls = Attribution.find(method)
    assert cls.summary().endswith(".")
    assert cls.reading.endswith(".")
    assert cls.weakness.endswith(".")
    assert "Cost:" in (cls.__doc__ or "")
    assert "Reference:" in (cls.__doc__ or "")
    for option in cls.options():
        assert option.help, option.name
        assert option.default is not dataclasses.MISSING


@pytest.mark.parametrize("method", METHODS)
def test_a_target_may_be_a_neuron_within(method: str) -> None:
    network, images = nets.build("gap"), nets.pictures()
    target = Channel("features.5", 3)
    if method in POOLED:
        with pytest.raises(LayerError, match="CAM explains classes and their differences, not features"):
            run(network, few(method), images, target)
    else:
        assert run(network, few(method), images, target).any()


def test_nothing_grows_with_the_number_of_calls() -> None:
    network, images = nets.build("gap"), nets.pictures()
    methods = [few(name) for name in METHODS]

    def tensors() -> int:
        gc.collect()
        return sum(issubclass(type(held), Tensor) for held in gc.get_objects())

    counts = []
    for _ in range(3):
        attribute_all(network, images, [Logit(0)], methods)
        counts.append(tensors())
    assert counts[2] <= counts[1]


def test_a_network_may_be_pickled_after_it_was_used() -> None:
    network, images = nets.build("gap"), nets.pictures()
    first = run(network, few("gradient"), images)
    buffer = io.BytesIO(pickle.dumps(network))
    assert torch.equal(run(pickle.load(buffer), few("gradient"), images), first)


class _Broken(Exception):
    """Raised by the network itself."""


def _fail(*_: object) -> None:
    raise _Broken
