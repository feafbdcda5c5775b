"""Networks of other precisions and colors, and callers in other modes: pictures stay float32, and what they were."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio

import nets
from phosphene.core.images import image
from phosphene.core.images.image import Picture
from phosphene.core.images.samples import sample
from phosphene.core.networks.network import Images, Network
from phosphene.core.objectives.classes import Logit
from phosphene.core.objectives.units import Channel
from phosphene.synthesis.canvas.canvas import Canvas, Fourier, Perturbation, Pixels
from phosphene.synthesis.canvas.maco import MACO
from phosphene.synthesis.canvas.pyramid import Pyramid
from phosphene.synthesis.loop import budget
from phosphene.synthesis.loop.loop import synthesize
from phosphene.synthesis.loop.optimizers import Ascent
from phosphene.synthesis.recipes.dream import Dream, dream
from phosphene.synthesis.recipes.invert import Invert, invert
from phosphene.synthesis.recipes.layer_matches import network_view
from phosphene.synthesis.recipes.visualize import visualize
from phosphene.synthesis.recipes.zoom import zoom
from phosphene.synthesis.settings.preset import Best, Lecture
from phosphene.synthesis.transforms.transforms import Affine, Crops

OTHERS = [torch.float64, torch.bfloat16, torch.float16]
CANVASES = [Fourier(), MACO(), Perturbation(), Pixels(), Pyramid()]
MANY = Dream(("features.2",), octaves=2, steps=4, tile=16)
"""Of more passes than the making of a fused copy takes."""


def cat() -> Picture:
    return Picture.from_array(nets.pictures(1)[0])


def film(network: Network) -> Images:
    frames = zoom(network, cat(), frames=5, recipe=dataclasses.replace(MANY, steps=2))
    return torch.from_numpy(np.stack(list(frames))).permute(0, 3, 1, 2) / 255


WAYS: dict[str, Callable[[Network], Images]] = {
    "best": lambda network: visualize(network, ["goldfish", "features.2:1"], preset=Best(steps=17)).images,
    "lecture": lambda network: visualize(network, "goldfish", preset=Lecture(steps=3)).images,
    "dream": lambda network: dream(network, nets.pictures(1), recipe=dataclasses.replace(MANY, steps=1)).images,
    "dream of many passes": lambda network: dream(network, nets.pictures(1), recipe=MANY).images,
    "guided dream": lambda network: dream(network, nets.pictures(1), recipe=MANY, guide=cat()).images,
    "zoom": film,
    "invert": lambda network: invert(network, nets.pictures(1), "features.2", recipe=Invert(2, 17, 2, lr=0.1)).images,
}
every = pytest.mark.parametrize("way", WAYS)


@every
@pytest.mark.parametrize("dtype", OTHERS)
def test_networks_of_other_precisions_make_pictures_of_float32(way: str, dtype: torch.dtype) -> None:
    usual, result = (WAYS[way](nets.build("gap", value)) for value in (torch.float32, dtype))
    assert result.dtype == torch.float32
    assert result.isfinite().all()
    assert 0 <= result.min() <= result.max() <= 1
    if dtype == torch.float64:
        assert torch.allclose(result, usual, atol=1e-3)
    alike = torch.corrcoef(torch.stack([result.flatten(), usual.flatten()]))[0, 1]
    assert alike > 0.8  # rounding takes small pictures other ways, but not far


@pytest.mark.parametrize("canvas", CANVASES)
def test_every_canvas_begins_from_pictures_of_a_network_of_float64(canvas: Canvas) -> None:
    made = [
        synthesize(nets.build("gap", dtype), [Logit(0)] * 2, canvas, start=nets.pictures(2).to(dtype), steps=3).images
        for dtype in (torch.float32, torch.float64)
    ]
    assert made[1].dtype == torch.float32
    assert torch.allclose(*made, atol=1e-3)


@pytest.mark.parametrize("dtype", OTHERS)
def test_pictures_of_one_precision_suit_networks_of_another(dtype: torch.dtype) -> None:
    network = nets.build("residual", dtype)
    for given in (torch.float32, torch.float64):
        shown = nets.pictures(1, given)
        assert dream(network, shown, recipe=Dream(octaves=1, steps=1)).images.dtype == torch.float32
        assert visualize(network, 0, preset=Lecture(steps=1), starts=shown).images.dtype == torch.float32
        assert network_view(network, shown).dtype == torch.float32


def test_numbers_whose_squares_float16_cannot_hold_are_weighed_all_the_same() -> None:
    notes = []
    for dtype in (torch.float32, torch.float16):
        network = nets.build("gap", dtype)
        network.module.head.weight.data *= 8000
        assert network(nets.pictures(1)).abs().max() > 300
        result = visualize(network, "goldfish", preset=Best(steps=2))
        assert result.scores.isfinite().all()
        notes.append([note for note in result.notes if "penalties count" in note])
    assert len(notes[0]) == 1
    assert notes[0] == notes[1]


@every
def test_inference_mode_around_it_changes_nothing(way: str) -> None:
    network = nets.build("gap")
    usual = WAYS[way](network)
    for around in (network, nets.build("gap")):  # known already, and new
        with torch.inference_mode():
            again = WAYS[way](around)
        assert torch.equal(again, usual)


def test_nor_does_it_where_a_budget_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "seconds_of", lambda work: (work(), 0.2)[1])
    monkeypatch.setattr(time, "perf_counter", lambda: 0.0)
    network = nets.build("residual")

    def make() -> Images:
        return visualize(network, ["goldfish", "bn:1"], preset=Best(steps=9), seconds=5).images

    usual = make()
    with torch.inference_mode():
        assert torch.equal(make(), usual)


@pytest.mark.parametrize("canvas", CANVASES)
@pytest.mark.parametrize("name", ["gap", "residual", "tokens"])
def test_autocast_around_it_changes_nothing(name: str, canvas: Canvas) -> None:
    network = nets.build(name)
    how = {"start": nets.pictures(1), "steps": 17, "transforms": [Affine(3), Crops(2, noise=0.05)]}
    usual = synthesize(network, Logit(0), canvas, **how)  # type: ignore[arg-type]
    with torch.autocast("cpu", torch.bfloat16):
        again = synthesize(network, Logit(0), canvas, **how)  # type: ignore[arg-type]
    assert torch.equal(again.images, usual.images)
    assert torch.equal(again.scores, usual.scores)


@pytest.mark.parametrize(
    "make",
    [
        lambda network: visualize(network, "goldfish", preset=Best(steps=3)),
        lambda network: invert(network, nets.pictures(1), "bn", recipe=Invert(4, 8, 4)),
        lambda network: dream(network, nets.pictures(1), recipe=Dream(("bn",), octaves=2, steps=17)),
    ],
    ids=["visualize", "invert", "dream"],
)
def test_nor_does_it_around_what_stands_on_it(make: Callable[[Network], Any]) -> None:
    usual = make(nets.build("residual")).images
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(make(nets.build("residual")).images, usual)


def test_nor_does_it_where_half_precision_is_asked_for() -> None:
    how = {"optimizer": Ascent(), "steps": 3, "precision": "bfloat16"}
    target = Channel("features.5", 3)
    usual = synthesize(nets.build("gap"), target, Pixels(), **how).images  # type: ignore[arg-type]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(synthesize(nets.build("gap"), target, Pixels(), **how).images, usual)  # type: ignore[arg-type]


def grey() -> Network:
    """The network of the laws, as one that sees no colors."""
    network = nets.build("gap")
    stem = network.module.features[0]
    stem.weight.data, stem.in_channels = stem.weight.data.sum(1, keepdim=True), 1
    preprocess = dataclasses.replace(network.preprocess, mean=(0.5,), std=(0.25,), order="grey")
    return dataclasses.replace(network, preprocess=preprocess, name="grey")


def test_what_sees_no_colors_sees_a_picture_of_three_equal_ones() -> None:
    network, shown = grey(), nets.pictures(1)
    result = network_view(network, shown)
    assert result.shape == shown.shape
    red, green, blue = shown[0]
    assert torch.allclose(result, (0.299 * red + 0.587 * green + 0.114 * blue).expand_as(result), atol=1e-6)
    assert torch.allclose(network(result), network(shown), atol=1e-5)
    photograph = network_view(network, image.load(sample("cat")))
    assert torch.equal(photograph, photograph[:, :1].expand_as(photograph))
    assert torch.equal(network_view(nets.build("gap"), shown), shown)


def test_a_colored_picture_that_is_inverted_without_colors_is_judged_in_grey() -> None:
    network, shown = grey(), nets.pictures(1)
    result = invert(network, shown, "features.0", recipe=Invert(20, 150, 50, lr=0.1, tv=0.01, alpha_weight=0.01))
    assert torch.equal(result.original, network_view(network, shown))
    nearness = [
        peak_signal_noise_ratio(image.levels(value), result.pictures()[0])
        for value in (network_view(network, shown), shown)
    ]
    assert result.psnr[0] == pytest.approx(nearness[0])
    assert nearness[0] > nearness[1] + 5  # no grey picture is near one in colors
