"""The main job on a tiny network: all that it promises, and what it does where a method cannot work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import nets
from phosphene.attribution import Attribution, attribute
from phosphene.attribution.cams.cam import GradCAM
from phosphene.core.errors import OptionError, TargetError
from phosphene.core.images.image import Picture
from phosphene.core.progress import Progress
from phosphene.report.report import report
from phosphene.studies.explain import DEFAULT, RANDOM, explain, explanation_cost
from phosphene.studies.explanation import Explanation

PICTURE = Picture.from_array(nets.pictures(1)[0].permute(1, 2, 0).numpy(), name="noise.png")


METHODS = [
    *(name for name in DEFAULT if name not in {"smoothgrad", "integrated-gradients"}),
    Attribution.find("smoothgrad")(samples=2),
    Attribution.find("integrated-gradients")(steps=2),
]


def few_steps(network: nets.Network, target: str | int = "top", **options: Any) -> Explanation:
    return explain(network, PICTURE, target, methods=METHODS, steps=4, **options)


def test_every_default_map_comes_with_scores_and_a_cost_that_was_announced() -> None:
    network, told = nets.build("gap"), list[Progress]()
    announced = explanation_cost(network, methods=METHODS, steps=4)
    explanation = few_steps(network, watch=told.append)
    assert {made.name for made in explanation.heatmaps} == set(DEFAULT)
    assert not explanation.notes
    assert set(explanation.curves) == {*DEFAULT, RANDOM}
    assert "integrated-gradients" not in explanation.sanity  # five passes: not worth the time
    assert "grad-cam" in explanation.sanity
    assert (explanation.cost.forwards, explanation.cost.backwards) == (announced.forwards, announced.backwards)
    assert [progress.done for progress in told] == sorted(progress.done for progress in told)
    assert all(progress.done <= progress.total for progress in told)
    assert explanation.target.index == explanation.predictions[0].index


def test_the_announced_passes_are_those_that_run() -> None:
    network, seen = nets.build("gap"), [0]
    methods = [method for method in METHODS if method != "occlusion"]  # its passes run on a private copy of the module
    network.layers, network.classes  # noqa: B018  traced once, and not part of any map
    handle = network.module.register_forward_pre_hook(lambda _, args: seen.__setitem__(0, seen[0] + len(args[0])))
    explain(network, PICTURE, 0, methods=methods, scores=False)
    handle.remove()
    assert seen[0] == explanation_cost(network, methods=methods, scores=False).forwards


def test_a_method_that_cannot_work_is_left_out_with_its_reason() -> None:
    network = nets.build("tokens")
    explanation = few_steps(network, "goldfish")
    left = {note.partition(" ")[0] for note in explanation.notes}
    assert left == {"cam", "guided-backprop", "guided-grad-cam", "deconvnet"}
    assert {heatmap.name for heatmap in explanation.heatmaps} == set(DEFAULT) - left
    assert any("met no ReLU" in note for note in explanation.notes)


def test_boxes_lie_in_the_photograph_and_belong_to_maps_of_regions() -> None:
    network = nets.build("gap")
    explanation = few_steps(network, scores=False)
    assert explanation.boxes
    assert "gradient" not in explanation.boxes
    for box in explanation.boxes.values():
        assert 0 <= box.top < box.bottom <= PICTURE.height
        assert 0 <= box.left < box.right <= PICTURE.width


def test_the_network_is_left_as_it_was() -> None:
    network = nets.build("residual")
    before = {name: value.clone() for name, value in network.module.state_dict().items()}
    few_steps(network)
    after = network.module.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(parameter.grad is None for parameter in network.module.parameters())


def test_a_network_without_maps_still_gets_its_maps_of_pixels() -> None:
    network = nets.build("linear")
    explanation = few_steps(network)
    assert {"gradient", "input-x-gradient", "smoothgrad", "integrated-gradients", "occlusion"} == {
        heatmap.name for heatmap in explanation.heatmaps
    }


def test_unknown_methods_and_targets_are_refused() -> None:
    network = nets.build("gap")
    with pytest.raises(OptionError, match="no method was given"):
        explain(network, PICTURE, methods=[])
    with pytest.raises(OptionError, match="did you mean 'grad-cam'"):
        explain(network, PICTURE, methods=["grad-camm"])
    with pytest.raises(TargetError, match="no class 'dog'"):
        few_steps(network, "dog")


def test_a_method_that_is_run_twice_keeps_both_maps(tmp_path: Path) -> None:
    network = nets.build("gap")
    methods = [GradCAM(), GradCAM(layer="features.3")]
    explanation = explain(network, PICTURE, 0, methods=methods, layers=(), scores=False)
    assert list(explanation.maps) == ["grad-cam", "grad-cam~2"]
    stored = report(explanation).save(tmp_path)
    arrays = [file["path"] for file in stored["files"] if file["path"].endswith(".npy")]
    assert arrays == ["grad-cam.npy", "grad-cam-2.npy"]
    assert stored["options"]["layers"] == []


def test_curves_have_20_steps_by_default() -> None:
    network = nets.build("gap")
    explanation = explain(network, PICTURE, 0, methods=["gradient"], layers=())
    assert len(explanation.curves["gradient"][0].shares) == 21
    assert explanation.cost.forwards == explanation_cost(network, methods=["gradient"]).forwards == 1 + 2 * 42 + 1


def test_what_one_pass_reads_is_what_separate_passes_read() -> None:
    network = nets.build("residual")
    explanation = few_steps(network, scores=False)
    assert explanation.predictions == network.predict(explanation.images)[0]
    for made in explanation.heatmaps:
        alone = attribute(network, explanation.images, explanation.target, method=made.method)
        assert torch.equal(made.values, alone.values), made.name
    for maps in explanation.activations:
        assert torch.equal(maps.values, network.tap(explanation.images, [maps.layer])[maps.layer])


def test_a_watcher_that_says_stop_gets_what_is_done() -> None:
    network = nets.build("gap")
    explanation = explain(network, PICTURE, 0, methods=["gradient", "grad-cam"], watch=lambda seen: seen.done > 1)
    assert [made.name for made in explanation.heatmaps] == ["gradient"]
    assert (explanation.curves, explanation.sanity) == ({}, {})
    assert explanation.notes == ("stopped before grad-cam; everything from there on is left out",)
