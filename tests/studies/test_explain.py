"""The main job on a tiny network: all that it promises, and what it does where a method cannot work."""

from __future__ import annotations

import pytest
import torch

import nets
from phosphene.attribution import Attribution
from phosphene.core.errors import OptionError, TargetError
from phosphene.core.images.image import Picture
from phosphene.studies.explain import DEFAULT, RANDOM, Plan, explain

PICTURE = Picture.from_array(nets.pictures(1)[0].permute(1, 2, 0).numpy(), name="noise.png")


def plan(network: nets.Network, **options: object) -> Plan:
    methods = [name for name in DEFAULT if name not in {"smoothgrad", "integrated-gradients"}]
    few = [Attribution.find("smoothgrad")(samples=2), Attribution.find("integrated-gradients")(steps=2)]
    return Plan.of(network, [*methods, *few], steps=4, **options)


def test_every_default_map_comes_with_scores_and_a_cost_that_was_announced() -> None:
    network, told = nets.build("gap"), []
    announced = plan(network).cost(network, nets.pictures(1))
    found = explain(network, PICTURE, plan=plan(network), watch=lambda *each: told.append(each))
    assert {each.name for each in found.heatmaps} == set(DEFAULT)
    assert not found.notes
    assert set(found.curves) == {*DEFAULT, RANDOM}
    assert "integrated-gradients" not in found.sanity  # five passes: not worth the time
    assert "grad-cam" in found.sanity
    assert (found.cost.forwards, found.cost.backwards) == (announced.forwards, announced.backwards)
    assert [done for done, _, _ in told] == sorted(done for done, _, _ in told)
    assert all(done <= total for done, total, _ in told)
    assert found.target.index == found.predictions[0].index


def test_the_announced_passes_are_those_that_run(monkeypatch: pytest.MonkeyPatch) -> None:
    network, seen = nets.build("gap"), [0]
    chosen = plan(network, scores=False)
    network.layers, network.classes  # noqa: B018  traced once, and not part of any map
    handle = network.module.register_forward_pre_hook(lambda _, args: seen.__setitem__(0, seen[0] + len(args[0])))
    explain(network, PICTURE, 0, plan=dataclass_without(chosen, "occlusion"))
    handle.remove()
    assert seen[0] == dataclass_without(chosen, "occlusion").cost(network, nets.pictures(1)).forwards


def dataclass_without(chosen: Plan, name: str) -> Plan:
    """The same plan without a method whose passes run on a private copy of the module."""
    return Plan(tuple(each for each in chosen.methods if each.name != name), chosen.layers, chosen.scores, chosen.steps)


def test_a_method_that_cannot_work_is_left_out_with_its_reason() -> None:
    network = nets.build("tokens")
    found = explain(network, PICTURE, "goldfish", plan=plan(network))
    left = {note.partition(" ")[0] for note in found.notes}
    assert left == {"cam", "guided-backprop", "guided-grad-cam", "deconvnet"}
    assert {each.name for each in found.heatmaps} == set(DEFAULT) - left
    assert any("met no ReLU" in note for note in found.notes)


def test_boxes_lie_in_the_photograph_and_belong_to_maps_of_regions() -> None:
    network = nets.build("gap")
    found = explain(network, PICTURE, plan=plan(network, scores=False))
    assert found.boxes
    assert "gradient" not in found.boxes
    for box in found.boxes.values():
        assert 0 <= box.top < box.bottom <= PICTURE.height
        assert 0 <= box.left < box.right <= PICTURE.width


def test_the_network_is_left_as_it_was() -> None:
    network = nets.build("residual")
    before = {name: value.clone() for name, value in network.module.state_dict().items()}
    explain(network, PICTURE, plan=plan(network))
    after = network.module.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(parameter.grad is None for parameter in network.module.parameters())


def test_a_network_without_maps_still_gets_its_maps_of_pixels() -> None:
    network = nets.build("linear")
    found = explain(network, PICTURE, plan=plan(network))
    assert {"gradient", "input-x-gradient", "smoothgrad", "integrated-gradients", "occlusion"} == {
        each.name for each in found.heatmaps
    }


def test_bad_plans_are_refused() -> None:
    network = nets.build("gap")
    with pytest.raises(OptionError, match="no method was given"):
        Plan.of(network, [])
    with pytest.raises(OptionError, match="did you mean 'grad-cam'"):
        Plan.of(network, ["grad-camm"])
    with pytest.raises(TargetError, match="no class 'dog'"):
        explain(network, PICTURE, "dog", plan=plan(network))
