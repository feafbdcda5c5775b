"""The only optimization loop: what it maximizes, what it leaves alone, what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import nets
from phosphene.core.errors import ImageError, LayerError, NetworkError, OptionError, TargetError
from phosphene.core.networks.network import Images, Network, Preprocess
from phosphene.core.objectives.classes import Logit
from phosphene.core.objectives.objective import Objective
from phosphene.core.objectives.units import Channel, Neuron
from phosphene.core.progress import Progress
from phosphene.synthesis.canvas.canvas import Canvas, Fourier, Perturbation, Pixels
from phosphene.synthesis.canvas.maco import MACO
from phosphene.synthesis.canvas.pyramid import Pyramid
from phosphene.synthesis.loop.loop import synthesize
from phosphene.synthesis.loop.optimizers import LBFGS, Adam, Ascent, Optimizer
from phosphene.synthesis.losses.priors import L2
from phosphene.synthesis.transforms.pixel_regularizers import Blur, Decay
from phosphene.synthesis.transforms.transforms import Affine, Crops, Pad


@pytest.mark.parametrize("optimizer", [Adam(0.1), Ascent(0.02), Ascent(0.02, sign=True), LBFGS()])
@pytest.mark.parametrize("canvas", [Pixels(), Fourier()])
def test_every_optimizer_climbs_on_every_canvas(optimizer: Optimizer, canvas: Canvas) -> None:
    result = synthesize(nets.build("gap"), -L2((1.0, 0.0, 0.0)), canvas, optimizer=optimizer, steps=60)
    assert result.scores[-1] > result.scores[0]
    red, *others = result.images[0].mean((1, 2)).tolist()
    assert red > max(others) + 0.02  # the waves of "fourier" move a flat color slowly


@pytest.mark.parametrize("name", ["functional", "shared", "residual", "gap", "tokens", "tuple"])
def test_a_class_grows_on_every_network(name: str) -> None:
    network = nets.build(name)
    result = synthesize(network, Logit(1), steps=30, transforms=[Affine(2)])
    grey = torch.full((1, 3, 32, 32), 0.5)
    assert network(result.images)[0, 1] > network(grey)[0, 1]
    assert 0 <= result.images.min() <= result.images.max() <= 1


def test_several_objectives_get_an_image_each_and_do_not_disturb_one_another() -> None:
    network, targets = nets.build("gap"), [Logit(0), Channel("features.5", 3), Neuron("features.2", 1, 4, 4)]
    together = synthesize(network, targets, Pixels(), optimizer=Ascent(), steps=8)
    for place, target in enumerate(targets):
        alone = synthesize(network, target, Pixels(), optimizer=Ascent(), steps=8)
        assert torch.allclose(together.images[place], alone.images[0], atol=1e-5)
        assert torch.allclose(together.scores[:, place], alone.scores[:, 0], rtol=1e-4, atol=1e-5)


def test_the_same_seed_gives_the_same_bytes() -> None:
    def make(seed: int) -> Images:
        how = {"transforms": [Pad(2), Affine(3), Crops(2, noise=0.05)], "steps": 6, "seed": seed}
        return synthesize(nets.build("residual"), Logit(2), **how).images  # type: ignore[arg-type]

    assert torch.equal(make(1), make(1))
    assert not torch.equal(make(1), make(2))


def test_the_network_and_the_random_numbers_are_left_as_they_were() -> None:
    network = nets.build("residual")
    network.module.train()
    network.module.requires_grad_(True)
    before = {name: value.clone() for name, value in network.module.state_dict().items()}
    torch.manual_seed(5)
    state = torch.get_rng_state()
    synthesize(network, Logit(0), steps=3, transforms=[Affine()], redirect_steps=2)
    assert network.module.training
    assert all(parameter.requires_grad and parameter.grad is None for parameter in network.module.parameters())
    assert all(torch.equal(before[name], value) for name, value in network.module.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


def test_the_pass_stops_at_the_target_and_the_cost_is_told() -> None:
    network, ran = nets.build("gap"), []
    assert "features.2" in network.layers
    for name, value in network.module.named_modules():
        value.register_forward_hook(lambda *_, name=name: ran.append(name))
    result = synthesize(network, Channel("features.2", 0), steps=2, transforms=[Crops(3)])
    assert set(ran) == {"features.0", "features.1", "features.2"}
    assert (result.cost.forwards, result.cost.backwards) == (6, 6)


def test_watching_and_stopping() -> None:
    told: list[tuple[int, tuple[int, ...]]] = []

    def watch(progress: Progress) -> bool:
        told.append((progress.done, tuple(progress.preview.shape)))
        assert progress.scores.shape == (1,)
        return progress.done == 3

    result = synthesize(nets.build("gap"), Logit(0), steps=9, watch=watch, size=(40, 48))
    assert told == [(1, (1, 3, 40, 48)), (2, (1, 3, 40, 48)), (3, (1, 3, 40, 48))]
    assert result.scores.shape == (3, 1)


def test_who_stops_a_synthesis_may_go_on_with_it(tmp_path: Path) -> None:
    how = {"steps": 8, "state": tmp_path / "state.pt"}
    network = nets.build("gap")
    part = synthesize(network, Logit(0), watch=lambda progress: progress.done == 3, **how)  # type: ignore[arg-type]
    assert part.notes == ("stopped after 3 of 8 steps",)
    whole = synthesize(network, Logit(0), **how)  # type: ignore[arg-type]
    assert whole.notes == ("went on at step 3",)
    assert torch.equal(whole.images, synthesize(network, Logit(0), steps=8).images)


class Numb(nn.Module):
    """Says something of images, and keeps how to itself."""

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


class Loud(nn.Module):
    """Its second class is no number once the image is a little brighter than grey."""

    def forward(self, x: Tensor) -> Tensor:
        means = x.mean((2, 3))
        return torch.cat([means[:, :1], (0.01 - means[:, 1:2]).sqrt()], 1)


@pytest.mark.parametrize("wanted", [Logit(0), Logit(0) - L2()])
def test_a_network_that_lets_no_gradient_through(wanted: Objective) -> None:
    network = Network(Numb().eval(), Preprocess((8, 8)), name="numb")
    with pytest.raises(NetworkError, match="no gradient of numb reaches the image"):
        synthesize(network, wanted, steps=2)


def test_what_is_no_number_any_more_is_said_and_the_last_good_state_is_left(tmp_path: Path) -> None:
    network = Network(Loud().eval(), Preprocess((8, 8), (0.5,) * 3, (0.5,) * 3), name="loud")
    how = {"optimizer": Ascent(0.004), "steps": 9}
    assert synthesize(network, Logit(0), Pixels(), **how).scores.isfinite().all()  # type: ignore[arg-type]
    with pytest.raises(NetworkError, match=r"^-1\*1 is no number any more; take smaller steps"):
        synthesize(network, [Logit(0), -1 * Logit(1)], Pixels(), **how)  # type: ignore[arg-type]


def test_pictures_that_share_their_curvature_would_disturb_one_another() -> None:
    with pytest.raises(OptionError, match="lbfgs makes one picture at a time; found 2"):
        synthesize(nets.build("gap"), [Logit(0), Logit(1)], Pixels(), optimizer=LBFGS())


def test_a_place_outside_of_a_small_image() -> None:
    with pytest.raises(TargetError, match=r"features.2:1@9,9 is outside of a map of 6 × 6; give a larger image"):
        synthesize(nets.build("gap"), Neuron("features.2", 1, 9, 9), size=(12, 12))


def test_a_silent_unit_is_woken_by_the_redirected_gradient() -> None:
    network = nets.build("gap")
    with torch.no_grad():
        network.module.features[4].bias[3] = -0.6
    unit = Channel("features.5", 3)
    grey = torch.zeros(1, 3, 32, 32) + 0.5
    assert network.tap(grey, ["features.5"])["features.5"][0, 3].max() == 0
    stuck = synthesize(network, unit, Pixels(), optimizer=Ascent(0.05), steps=20)
    woken = synthesize(network, unit, Pixels(), optimizer=Ascent(0.05), steps=20, redirect_steps=16)
    assert stuck.scores.max() == 0
    assert woken.scores[-1] > 0


@pytest.mark.parametrize(
    ("how", "error", "text"),
    [
        ({"steps": 0}, OptionError, "give at least one of each"),
        ({"objective": []}, OptionError, "0 objectives"),
        ({"objective": Logit(99)}, TargetError, "no class 99"),
        ({"objective": Channel("nope", 0)}, LayerError, "no layer 'nope'"),
        ({"canvas": Fourier(), "pixel_regularizers": [Decay()]}, OptionError, 'give them the canvas "pixels"'),
        ({"start": torch.zeros(3, 3, 32, 32)}, ImageError, "1 of 32 × 32 begin from 1 or 1 of their size"),
        ({"start": torch.zeros(1, 3, 32, 32), "size": (40, 40)}, ImageError, "1 of 40 × 40 begin from"),
        ({"start": torch.full((1, 3, 32, 32), 255.0)}, ImageError, r"wants RGB in \[0, 1\]"),
    ],
)
def test_what_makes_no_image_is_refused(how: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        synthesize(nets.build("gap"), **{"objective": Logit(0), **how})


def test_pixel_regularizers_act_after_each_step() -> None:
    plain = synthesize(nets.build("gap"), Logit(0), Pixels(), optimizer=Ascent(0.05), steps=12)
    edited = synthesize(
        nets.build("gap"),
        Logit(0),
        Pixels(),
        optimizer=Ascent(0.05),
        steps=12,
        pixel_regularizers=[Decay(0.2), Blur(1, 2)],
    )

    def rough(images: Images) -> float:
        return images.diff(dim=3).abs().mean().item()

    assert rough(edited.images) < 0.5 * rough(plain.images)


def test_chunks_give_what_one_pass_gives() -> None:
    targets = [Logit(0), Channel("features.5", 3), Logit(0)]
    how = {"transforms": [Crops(3, noise=0.05)], "steps": 4}
    whole = synthesize(nets.build("gap"), targets, **how)  # type: ignore[arg-type]
    parts = synthesize(nets.build("gap"), targets, batch=2, **how)  # type: ignore[arg-type]
    assert torch.allclose(parts.images, whole.images, atol=1e-4)
    assert torch.allclose(parts.scores, whole.scores, atol=1e-4)
    assert parts.cost.forwards == whole.cost.forwards == 36


def test_patience_ends_what_no_longer_grows() -> None:
    wish = -1 * L2((1.0, 0.0, 0.0))
    result = synthesize(nets.build("gap"), wish, Pixels(), optimizer=Ascent(0.05), steps=200, patience=10)
    assert 20 <= len(result.scores) < 200
    assert result.notes == (f"stopped after {len(result.scores)} of 200 steps",)


@pytest.mark.parametrize(("lr", "steps"), [(0.003, 6), (0.0008, 2)])  # scores grow by 1 % and by 0.3 % a step
def test_half_a_percent_is_progress(lr: float, steps: int) -> None:
    colors = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    mean = Network(colors, Preprocess((8, 8), (0.0,) * 3, (1.0,) * 3), name="mean")
    grey = torch.full((1, 3, 8, 8), 0.5)
    result = synthesize(mean, Logit(0), Pixels(), start=grey, optimizer=Ascent(lr), steps=6, patience=1)
    assert len(result.scores) == steps


@pytest.mark.parametrize("optimizer", [Adam(), Ascent(), LBFGS()])
def test_the_score_of_a_step_is_that_of_the_picture_before_it(optimizer: Optimizer) -> None:
    network, start = nets.build("gap"), nets.pictures(1)
    result = synthesize(network, Logit(0), Pixels(), start=start, optimizer=optimizer, steps=1)
    assert result.scores.item() == pytest.approx(network(start)[0, 0].item(), rel=1e-4)


def test_the_score_is_the_mean_over_the_views_of_an_image() -> None:
    network = nets.build("gap")
    one, three = (
        synthesize(
            network, Channel("features.2", 1), Pixels(), start=nets.pictures(1), transforms=[Crops(count, 1.0)], steps=1
        )
        for count in (1, 3)
    )
    assert three.scores.item() == pytest.approx(one.scores.item(), rel=1e-5)
    read = network.tap(nets.pictures(1), ["features.2"])
    assert three.scores.item() == pytest.approx(Channel("features.2", 1)(read).item(), rel=1e-5)


def test_half_precision_leads_nearly_the_same_way() -> None:
    whole = synthesize(nets.build("gap"), Logit(0), Pixels(), optimizer=Ascent(), steps=2)
    half = synthesize(nets.build("gap"), Logit(0), Pixels(), optimizer=Ascent(), steps=2, precision="bfloat16")
    assert half.images.dtype == torch.float32
    assert not torch.equal(half.images, whole.images)
    moved = [value.images - 0.5 for value in (whole, half)]
    assert torch.cosine_similarity(moved[0].flatten(), moved[1].flatten(), dim=0) > 0.9


def test_what_is_watched_are_the_pictures_that_were_scored() -> None:
    seen: list[tuple[Images, Tensor]] = []
    network = nets.build("gap")
    synthesize(network, Logit(0), steps=3, watch=lambda progress: seen.append((progress.preview, progress.scores)))
    for images, scores in seen:
        assert torch.allclose(network(images)[:, 0], scores, atol=1e-4)


@pytest.mark.parametrize("canvas", [Fourier(), MACO(), Perturbation(), Pixels(), Pyramid()])
def test_inference_mode_around_it_changes_nothing(canvas: Canvas) -> None:
    network, images = nets.build("gap"), nets.pictures(1)
    usual = synthesize(network, Logit(0), canvas, start=images, steps=3).images
    with torch.inference_mode():
        assert torch.equal(synthesize(network, Logit(0), canvas, start=nets.pictures(1), steps=3).images, usual)


def test_pixels_never_leave_their_range() -> None:
    seen: list[Images] = []
    synthesize(
        nets.build("gap"),
        Logit(0),
        Pixels(),
        optimizer=Ascent(0.5),
        steps=3,
        watch=lambda told: seen.append(told.preview),
    )
    assert all(images.min() >= 0 and images.max() <= 1 for images in seen)
