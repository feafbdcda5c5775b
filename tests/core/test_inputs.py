"""Pictures, targets, methods, layers and networks in every spelling that users write."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import nets
import phosphene as ph
from phosphene.core.errors import ImageError, LayerError, NetworkError, OptionError, TargetError
from phosphene.core.images.image import Picture, save
from phosphene.core.inputs import (
    as_picture,
    bind_target,
    bind_targets,
    full_size_inputs,
    layer_name,
    one_input,
    prepare_inputs,
)
from phosphene.core.networks.network import Network
from phosphene.core.objectives.classes import Logit, Probability
from phosphene.core.objectives.grammar import parse
from phosphene.core.objectives.objective import Objective
from phosphene.core.objectives.per_image import PerImage
from phosphene.core.objectives.units import Channel, ChannelMax

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)


@pytest.fixture(scope="module")
def network() -> Network:
    return nets.build("gap")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return save(tmp_path / "x.png", PIXELS)


def spellings(file: Path) -> dict[str, Any]:
    return {
        "text": str(file),
        "path": file,
        "Picture": Picture.from_array(PIXELS),
        "Pillow": Image.fromarray(PIXELS),
        "uint8 array": PIXELS,
        "float array": PIXELS / 255,
        "list": [PIXELS],
        "tuple of a path": (file,),
        "batch of arrays": PIXELS[None],
    }


def test_a_photograph_is_the_same_in_every_spelling(network: Network, file: Path) -> None:
    expected = network.prepare(Picture.from_array(PIXELS))
    for spelling, picture in spellings(file).items():
        inputs = prepare_inputs(network, picture)
        assert torch.equal(inputs.images, expected.images), spelling
        assert np.array_equal(inputs.pictures[0].pixels, PIXELS), spelling
        assert inputs.boxes == (expected.box,), spelling


def test_tensors_are_taken_as_they_are(network: Network) -> None:
    images = nets.pictures(2)
    for tensor in (images, list(images), [images[:1], images[1]]):
        inputs = prepare_inputs(network, tensor)
        assert torch.equal(inputs.images, images)
        assert [picture.pixels.shape for picture in inputs.pictures] == [(32, 32, 3)] * 2
        assert inputs.boxes[0] == (0, 0, 32, 32)
    eight_bits = (images * 255).round().byte()
    assert torch.allclose(prepare_inputs(network, eight_bits).images, images, atol=1 / 255)


def test_photographs_and_tensors_go_together(network: Network, file: Path) -> None:
    inputs = prepare_inputs(network, ["sample:cat", file, nets.pictures(1)[0]])
    assert inputs.images.shape == (3, 3, 32, 32)
    assert inputs.pictures[0].name == "chelsea"
    assert inputs.photographs == ()
    assert len(prepare_inputs(network, ["sample:cat", file]).photographs) == 2


def test_grey_arrays_are_pictures(network: Network) -> None:
    assert prepare_inputs(network, PIXELS[..., 0]).images.shape == (1, 3, 32, 32)


def test_another_size_and_the_own_size(network: Network) -> None:
    assert prepare_inputs(network, PIXELS, size=(16, 24)).images.shape == (1, 3, 16, 24)
    whole = full_size_inputs(network, PIXELS)
    assert torch.equal(whole.images, Picture.from_array(PIXELS).tensor())
    assert whole.boxes == ((0, 0, 40, 60),)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (3.5, "float is no picture; give a path, a Picture, a Pillow image, an array (H, W, 3) or a tensor"),
        ([], "no picture was given; give at least one"),
        (torch.zeros(3, 3), "images are float32 (3, 3); phosphene wants float (N, 3, H, W)"),
        (torch.full((1, 3, 32, 32), 2.0), "images lie in [2, 2]; phosphene wants RGB in [0, 1]"),
        (np.zeros((4, 4, 5)), "pixels are (4, 4, 5); phosphene wants arrays (H, W, 3)"),
        ("missing.png", "missing.png does not exist"),
        ("sample:dog", "there is no sample photograph 'dog'"),
        ([torch.zeros(3, 32, 32), torch.zeros(3, 16, 16)], "the pictures have several sizes (16 × 16, 32 × 32)"),
    ],
)
def test_what_is_no_picture_is_an_error(network: Network, wrong: Any, says: str) -> None:
    with pytest.raises(ImageError, match=re.escape(says)):
        prepare_inputs(network, wrong)


def test_a_verb_of_one_picture_refuses_several(network: Network) -> None:
    with pytest.raises(ImageError, match="2 pictures were given; explain takes one"):
        one_input(prepare_inputs(network, nets.pictures(2)), "explain")


def test_a_picture_alone(file: Path) -> None:
    for spelling in (str(file), file, PIXELS, Image.fromarray(PIXELS)):
        assert np.array_equal(as_picture(spelling).pixels, PIXELS)


# Targets


@pytest.mark.parametrize(
    ("target", "objective"),
    [
        (2, Logit(2)),
        (np.int64(2), Logit(2)),
        ("goldfish", Logit(2)),
        ("2", Logit(2)),
        (Logit("goldfish"), Logit(2)),
        ("features.5:3@max", ChannelMax("features.5", 3)),
        ([2, "goldfish"], Logit(2)),
        ([2, 0], PerImage((Logit(2), Logit(0)))),
        (torch.tensor([2, 0]), PerImage((Logit(2), Logit(0)))),
        (np.array([2, 0]), PerImage((Logit(2), Logit(0)))),
        (("tabby - goldfish", Channel("features.5", 1)), PerImage((Logit(0) - Logit(2), Channel("features.5", 1)))),
    ],
    ids=str,
)
def test_a_target_in_every_spelling(network: Network, target: Any, objective: Objective) -> None:
    assert bind_target(network, target, nets.pictures(2)) == objective


def test_top_of_each_image() -> None:
    module = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    colors = Network(module, ph.Preprocess((4, 4)), ("red", "green", "blue"))
    images = torch.eye(3)[:, :, None, None].expand(3, 3, 4, 4)
    assert bind_target(colors, ["top"] * 3, images) == PerImage((Logit(0), Logit(1), Logit(2)))
    assert bind_target(colors, "top", images[[1, 1]]) == Logit(1)
    with pytest.raises(TargetError, match=r"the images have 2 best classes \(red, green\); name one"):
        bind_target(colors, "top", images[:2])


@pytest.mark.parametrize(
    ("target", "says"),
    [
        (None, "NoneType is no target; give a label, an index, a text such as 'tabby - tiger cat', or an objective"),
        (True, "bool is no target"),
        (1.5, "float is no target"),
        ([1, 2, 3], "3 targets for 2 images; give one for each, or one for all"),
        ([], "0 targets for 2 images"),
        (9, "gap has no class 9"),
    ],
    ids=str,
)
def test_what_is_no_target_is_an_error(network: Network, target: Any, says: str) -> None:
    with pytest.raises(TargetError, match=re.escape(says)):
        bind_target(network, target, nets.pictures(2))


def test_top_without_a_picture_is_an_error(network: Network) -> None:
    with pytest.raises(TargetError, match="'top' is the most probable class of a picture, and there is none here"):
        bind_target(network, "top")


def test_several_targets_of_one_picture_each(network: Network) -> None:
    shared = Channel("features.5", 1)
    bound = bind_targets(network, [shared, "tabby", shared])
    assert bound == (shared, Logit(0), shared)
    assert bound[0] is bound[2]
    difference = shared - 0.5 * Logit("tabby")
    bound = bind_targets(network, [difference, difference])
    assert bound[0] is bound[1]
    assert bind_targets(network, 3) == bind_targets(network, ["3"]) == (Logit(3),)


def test_each_image_gets_its_own_target(network: Network) -> None:
    images, objective = nets.pictures(3), PerImage((Logit(3), Channel("features.5", 1), Logit(3)))
    activations = network.tap(images, objective.reads)
    values = objective(activations)
    assert values.tolist() == [own(activations)[i].item() for i, own in enumerate(objective.objectives)]
    assert objective.unit == "mixed units"
    assert str(objective) == "3, features.5:1, 3"
    with pytest.raises(TargetError, match="3 targets for 2 images"):
        objective(network.tap(images[:2], objective.reads))


@pytest.mark.parametrize("method", sorted(ph.Attribution.table))
def test_every_method_explains_each_image_by_its_own_target(network: Network, method: str) -> None:
    small = {
        "rise": {"masks": 8}, "smoothgrad": {"samples": 3}, "integrated-gradients": {"steps": 3},
        "occlusion": {"patch": 16}, "occlusion-class": {"patch": 16},
    }  # fmt: skip
    chosen = ph.Attribution.find(method)(**small.get(method, {}))
    images, targets = nets.pictures(2), [2, "tabby - tiger cat"]
    together = ph.attribute(network, images, targets, method=chosen)
    for i, target in enumerate(targets):
        alone = ph.attribute(network, images[i], target, method=chosen)
        torch.testing.assert_close(together.values[i], alone.values[0], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(together.scores[i], alone.scores[0])


# Labels that look like the grammar

ODD = ("cat - dog", "p(x)", "2*tabby", "conv:3", "goldfish", "x", "12", 'the "big" one', "a + b")


def odd() -> Network:
    module = nn.Sequential(nn.Conv2d(3, len(ODD), 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    return Network(module, ph.Preprocess((8, 8)), ODD, "odd")


@pytest.mark.parametrize("index", range(len(ODD)), ids=ODD)
def test_every_label_can_be_named(index: int) -> None:
    network = odd()
    assert parse(ODD[index], network) == Logit(index)
    objectives = [Logit(index), Logit(4) - 2 * Logit(index)]
    if ODD[index] != "x":  # "p(x)" is the name of a class here, and not the probability of x
        objectives += [Probability(index), Probability(index) + Logit(5)]
    for objective in objectives:
        bound = objective.bind(network)
        assert parse(str(bound), network) == bound


@pytest.mark.parametrize(
    ("text", "objective"),
    [
        ('"cat - dog" - goldfish', Logit(0) - Logit(4)),
        ('goldfish + 0.5*"a + b"', Logit(4) + 0.5 * Logit(8)),
        ('p("cat - dog")', Probability(0)),
        ('p("x")', Probability(5)),
        ('"12"', Logit(6)),
        ("p(x) - goldfish", Logit(1) - Logit(4)),
        ("2*2*tabby", 2 * Logit(2)),
    ],
)
def test_quotes_make_a_label_of_anything(text: str, objective: Objective) -> None:
    assert parse(text, odd()) == objective


def test_a_quoted_label_that_is_none_is_named_as_it_was_written() -> None:
    with pytest.raises(TargetError, match="odd has no class 'dog - cat'"):
        parse('"dog - cat" + x', odd())
    with pytest.raises(TargetError, match='odd has no class \'"a" "b"\''):
        parse('"a" "b"', odd())


# Methods, layers, networks


def test_a_method_by_name_class_or_instance(network: Network) -> None:
    images = nets.pictures(1)
    values = [
        ph.attribute(network, images, 0, method=method).values for method in ("grad-cam", ph.GradCAM, ph.GradCAM())
    ]
    assert torch.equal(values[0], values[1])
    assert torch.equal(values[0], values[2])
    for wrong, says in [(ph.Logit, "Logit is no attribution"), (3, "int is no attribution")]:
        with pytest.raises(OptionError, match=says):
            ph.attribute(network, images, 0, method=wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("method", [ph.GradCAM, ph.CAM, ph.ScoreCAM, ph.LayerCAM, ph.SuperposedDeconvnet])
def test_a_layer_as_the_module_itself(network: Network, method: Any) -> None:
    module = network.module.features[5]  # type: ignore[index,union-attr]
    heatmap = ph.attribute(network, nets.pictures(1), 0, method=method(layer=module))
    named = ph.attribute(network, nets.pictures(1), 0, method=method(layer="features.5"))
    assert torch.equal(heatmap.values, named.values)
    assert heatmap.layer == heatmap.method.layer == "features.5"  # type: ignore[attr-defined]
    called = method(layer=module)(network, nets.pictures(1), 0)
    assert torch.equal(called, named.values)


def test_what_is_no_layer_is_an_error(network: Network) -> None:
    assert layer_name(network, "logits") == "logits"
    with pytest.raises(LayerError, match="this Conv2d is no module of gap; give one of its modules, or a name"):
        layer_name(network, nn.Conv2d(3, 3, 1))
    with pytest.raises(LayerError, match="3 is no layer of gap"):
        layer_name(network, 3)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="layer of grad-cam is of type int; give a text or a Module or None"):
        ph.GradCAM(layer=3)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="GradCAM takes options here, and the network when it is called"):
        ph.GradCAM(network, "features.5")  # type: ignore[arg-type]


def test_a_bare_module_is_told_to_be_wrapped(network: Network) -> None:
    with pytest.raises(NetworkError, match=r"a bare Gap tells nothing of its preprocessing; wrap it: Network\("):
        ph.attribute(network.module, nets.pictures(1))  # type: ignore[arg-type]
    with pytest.raises(NetworkError, match="a str is no network; give a Network, such as"):
        ph.attribute("resnet50", nets.pictures(1))  # type: ignore[arg-type]


# The first calls of a new user

IMAGES, ONE_STEP = nets.pictures(1), ph.Invert(coarse=0, steps=1, finish=0)
FIRST_CALLS: dict[str, Callable[[Network, Path], Any]] = {
    "attribute a path": lambda net, file: ph.attribute(net, str(file)),
    "attribute an array": lambda net, _: ph.attribute(net, PIXELS),
    "attribute a Pillow image": lambda net, _: ph.attribute(net, Image.fromarray(PIXELS)),
    "attribute by a class": lambda net, _: ph.attribute(net, IMAGES, method=ph.GradCAM),
    "attribute at a module": lambda net, _: ph.attribute(net, IMAGES, method=ph.GradCAM(layer=net.module.features)),
    "attribute two targets": lambda net, _: ph.attribute(net, nets.pictures(2), [2, 1]),
    "call a method": lambda net, _: ph.GradCAM()(net, IMAGES, 2),
    "attribute all": lambda net, file: ph.attribute_all(net, file, ["tabby", 1], ["grad-cam", ph.LayerCAM]),
    "activations of a picture": lambda net, _: ph.activations(net, Picture.from_array(PIXELS), net.module.features),
    "explain a tensor": lambda net, _: ph.explain(net, IMAGES),
    "explain a path": lambda net, file: ph.explain(net, [file]),
    "dream of a path": lambda net, file: ph.dream(net, file, recipe=ph.Dream(octaves=1, steps=1)),
    "invert a path": lambda net, file: ph.invert(net, str(file), "features.2", recipe=ONE_STEP),
    "zoom into an array": lambda net, _: list(ph.zoom(net, PIXELS, frames=1, recipe=ph.Dream(octaves=1, steps=1))),
    "synthesize a label": lambda net, _: ph.synthesize(net, "goldfish", steps=1),
    "synthesize two": lambda net, _: ph.synthesize(net, ["goldfish", 2], steps=1),
    "visualize an index": lambda net, _: ph.visualize(net, 2, preset=ph.Lecture(steps=1)),
    "visualize a numpy index": lambda net, _: ph.visualize(net, np.int64(2), preset=ph.Lecture(steps=1)),
}


@pytest.mark.parametrize("call", FIRST_CALLS)
def test_the_first_calls_of_a_new_user_work(network: Network, file: Path, call: str) -> None:
    assert FIRST_CALLS[call](network, file) is not None
