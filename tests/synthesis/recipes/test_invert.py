"""Feature inversion: close to the picture where the layer knows it, and honest about how close."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import nets
import phosphene as ph
from phosphene.core.errors import ImageError, LayerError, OptionError
from phosphene.core.images import image
from phosphene.core.images.samples import sample
from phosphene.core.networks.fuse import fused
from phosphene.core.networks.network import Images, Network
from phosphene.core.progress import Progress
from phosphene.synthesis.loop import budget
from phosphene.synthesis.loop import recipe as loop_recipe
from phosphene.synthesis.loop.loop import synthesize
from phosphene.synthesis.loop.recipe import Job
from phosphene.synthesis.loop.run import run
from phosphene.synthesis.loop.synthesis import Synthesis
from phosphene.synthesis.losses.feature_match import Match
from phosphene.synthesis.recipes import invert as module
from phosphene.synthesis.recipes.inversion import Strip
from phosphene.synthesis.recipes.invert import Invert, invert
from phosphene.synthesis.recipes.layer_matches import inverted_layers, network_view

QUICK = Invert(20, 60, 20, lr=0.1)


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("functional", "one"), ("in-place", "one"), ("shared", "relu#1"), ("residual", "cap"), ("gap", "features.2"),
        ("gap", "logits"), ("linear", "logits"), ("tokens", "norm"), ("tokens", "logits"), ("tuple", "features"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("canvas", ["fourier", "pixels"])
def test_the_layer_comes_to_take_noise_for_the_picture(name: str, layer: str, canvas: str) -> None:
    network, shown = nets.build(name), nets.pictures(1)
    how = dataclasses.replace(QUICK, canvas=canvas, tv=0.1, alpha_weight=0.01)
    result = invert(network, shown, layer, recipe=how if canvas == "fourier" else dataclasses.replace(how, lr=0.005))
    started = -result.scores[0].item()
    assert result.error < 0.25 * min(started, result.unrelated)
    assert 0 <= result.images.min() <= result.images.max() <= 1


def test_where_nothing_is_lost_the_picture_comes_back() -> None:
    network, shown = nets.build("functional"), nets.pictures(1)
    result = invert(network, shown, "one", recipe=Invert(100, 300, 100, lr=0.1, tv=0.01, alpha_weight=0.0))
    assert (result.images - shown).abs().mean() < 0.03
    assert result.error < 0.01


def test_the_error_is_that_of_the_picture_as_saved(tmp_path: Path) -> None:
    # Peers report the loss of the last step: before 8 bits, and before clipping.
    network, shown = nets.build("gap"), nets.pictures(1)
    result = invert(network, shown, "features.2", seeds=2, recipe=QUICK)
    *entries, last = result.save(tmp_path)["files"]
    assert torch.equal(torch.from_numpy(np.load(tmp_path / "features.2-scores.npy")), result.scores)
    facts = {"kind": "table", "layer": "features.2", "shape": [100, 2]}
    assert last == {"path": "features.2-scores.npy", **facts}
    for error, entry in zip(result.reconstruction_errors, entries, strict=True):
        saved = image.load(tmp_path / entry["path"]).tensor()
        with torch.no_grad():
            wanted, mine = (network.module.features[:3]((value - 0.5) / 0.25) for value in (shown, saved))
        assert error == entry["error"]
        assert error == pytest.approx(((mine - wanted).square().sum() / wanted.square().sum()).item(), rel=1e-4)
        probabilities = [value.probability for value in result.recognized[result.reconstruction_errors.index(error)]]
        assert [value.probability for value in network.predict(saved)[0]] == pytest.approx(probabilities, rel=1e-5)


def test_the_likeness_is_that_of_the_files(tmp_path: Path) -> None:
    result = invert(nets.build("gap"), nets.pictures(1), "features.2", seeds=2, recipe=QUICK)
    Strip(inversions=(result,)).save(tmp_path)
    wanted = image.load(tmp_path / "original.png").pixels.astype(float)
    for number, psnr in enumerate(result.psnr):
        apart = image.load(tmp_path / f"features.2-{number}.png").pixels - wanted
        assert psnr == pytest.approx(20 * np.log10(255 / np.sqrt((apart**2).mean())))
    assert result.record()["psnr"] == list(result.psnr)
    assert f"PSNR {np.mean(result.psnr):.1f} dB, SSIM {np.mean(result.ssim):.2f}" in str(result)
    nearer = dataclasses.replace(result, images=(result.images + 3 * result.original) / 4)
    assert all(before < after < 1 for before, after in zip(result.ssim, nearer.ssim, strict=True))


def test_what_is_the_same_is_infinitely_near_and_still_can_be_written() -> None:
    network, shown = nets.build("functional"), nets.pictures(1)[:, :, :5, :4]
    result = invert(network, shown, "one", recipe=Invert(0, 1, 0))
    same = dataclasses.replace(result, images=result.original)
    assert (same.psnr, same.ssim, same.record()["psnr"]) == ((np.inf,), (1.0,), [None])
    assert result.psnr[0] < 60
    assert result.ssim[0] < 1


def test_other_seeds_are_other_pictures_and_the_same_seed_the_same() -> None:
    network, shown = nets.build("gap"), nets.pictures(1)
    first, again, other = (invert(network, shown, "logits", seeds=2, recipe=QUICK, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.images, again.images)
    apart = [first.images[0], first.images[1], *other.images]
    assert len({image.encode_png(value) for value in apart}) == 4
    assert (apart[0] - apart[1]).abs().mean() > 0.01
    assert first.spread == pytest.approx(float(np.std(first.reconstruction_errors, ddof=1)))


def test_a_batch_of_seeds_is_its_pictures_one_by_one() -> None:
    network, shown = nets.build("residual"), nets.pictures(1)
    how = Invert(3, 5, 2)
    alone, together = (invert(network, shown, "bn", seeds=seeds, recipe=how) for seeds in (1, 3))
    assert torch.allclose(alone.images[0], together.images[0], atol=1e-4)


def test_many_seeds_go_through_in_passes_of_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    network, shown, how = nets.build("gap"), nets.pictures(1), Invert(0, 3, 0)
    network.module.register_forward_hook(lambda _, args, out: sizes.append(len(args[0])))
    parts = invert(network, shown, "logits", seeds=10, recipe=how)
    assert max(sizes) == 8
    monkeypatch.setattr(module, "_BATCH", 11)
    whole = invert(network, shown, "logits", seeds=10, recipe=how)
    assert max(sizes) == 11
    assert torch.allclose(parts.images, whole.images, atol=1e-4)
    assert parts.reconstruction_errors == pytest.approx(whole.reconstruction_errors, rel=1e-3)
    assert parts.predictions[0].logit == pytest.approx(whole.predictions[0].logit, rel=1e-5)


def test_half_precision_ends_nearly_as_near() -> None:
    network, shown = nets.build("gap"), nets.pictures(1)
    whole, half = (
        invert(network, shown, "features.2", recipe=QUICK, precision=name) for name in ("float32", "bfloat16")
    )
    assert not torch.equal(half.images, whole.images)
    assert half.error < 2 * whole.error


def test_the_first_step_is_as_large_as_the_second() -> None:
    # A peer divides its learning rate by ten before the first step.
    network, shown, went = nets.build("gap"), nets.pictures(1), []

    def watch(progress: Progress) -> None:
        went.append(progress.preview.clone())
        assert (progress.done, progress.scores.shape) == (len(went), (1,))

    how = Invert(0, 4, 0, lr=0.01, canvas="pixels")
    result = invert(network, shown, "features.2", recipe=how, watch=watch)
    steps = [
        (after - before).abs().mean().item() for before, after in zip(went, [*went[1:], result.images], strict=True)
    ]
    assert steps[0] == pytest.approx(0.01, rel=0.05)
    assert min(steps) > 0.5 * steps[0]


def test_each_stage_begins_where_the_last_one_ended() -> None:
    told: list[int] = []
    network, shown = nets.build("gap"), nets.pictures(1)
    result = invert(network, shown, "features.2", recipe=QUICK, watch=lambda progress: told.append(progress.done))
    assert told == list(range(1, 101))
    assert result.scores.shape == (100, 1)
    assert result.scores[20] > result.scores[0]
    assert result.scores[80] > result.scores[20]
    assert (result.cost.backwards, result.cost.forwards) == (100, 100 + 1 + 2 + 6)


def test_total_variation_smooths_and_the_alpha_norm_holds_colors_back() -> None:
    network, shown = nets.build("gap"), nets.pictures(1)

    def make(tv: float, alpha: float) -> Images:
        return invert(network, shown, "logits", recipe=dataclasses.replace(QUICK, tv=tv, alpha_weight=alpha)).images

    free, smooth, pale = make(0, 0), make(1000, 0), make(0, 1000)
    assert smooth.diff(dim=3).abs().mean() < 0.5 * free.diff(dim=3).abs().mean()
    assert (pale - 0.5).abs().max() < 0.7 * (free - 0.5).abs().max()


def test_an_interrupted_inversion_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    network, shown = nets.build("gap"), nets.pictures(1)
    whole = invert(network, shown, "features.2", recipe=QUICK)

    def watch(progress: Progress) -> None:
        if progress.done == 50:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        invert(network, shown, "features.2", recipe=QUICK, state=tmp_path, watch=watch)
    result = invert(network, shown, "features.2", recipe=QUICK, state=tmp_path)
    assert torch.equal(result.images, whole.images)
    assert torch.equal(result.scores, whole.scores)
    assert result.notes[0] == "features.2, stage 1: went on at step 20"


def afforded(recipe: Invert, job: Job, seconds: float) -> Any:
    """The recipe that a budget leaves, which begins now."""
    return budget.afford(recipe, job, seconds, time.perf_counter())[0]


def test_a_budget_buys_steps_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "perf_counter", lambda: 0.0)
    recipe = Invert(10, 20, 0, layers=("features.2", "logits"))
    job = Job(nets.build("gap"), (nets.pictures(1),), state=tmp_path)
    monkeypatch.setattr(budget, "seconds_of", lambda work: (work(), 2.0)[1])  # of two steps
    bought = afforded(recipe, job, 30)
    assert (bought.coarse, bought.steps, bought.finish) == (3, 5, 0)
    monkeypatch.setattr(budget, "seconds_of", lambda _: pytest.fail("timed again"))
    assert afforded(recipe, job, 30) == bought
    monkeypatch.setattr(budget, "seconds_of", lambda work: (work(), 1e-9)[1])
    assert afforded(dataclasses.replace(recipe, layers=("logits",)), job, 30).passes == recipe.passes
    other = Job(nets.build("dead"), job.inputs, state=tmp_path)
    assert afforded(recipe, other, 30) == recipe


def test_a_budget_times_what_will_run_and_leaves_time_to_prepare_it(monkeypatch: pytest.MonkeyPatch) -> None:
    now, timed = 0.0, []

    def fuse(*given: Any) -> Network:
        nonlocal now
        now += 1
        return fused(*given)

    def make(network: Network, *given: Any, **options: Any) -> Synthesis:
        timed.append((network, options["precision"]))
        return synthesize(network, *given, **options)

    monkeypatch.setattr(time, "perf_counter", lambda: now)
    monkeypatch.setattr(loop_recipe, "fused", fuse)
    monkeypatch.setattr(loop_recipe, "synthesize", make)
    monkeypatch.setattr(budget, "seconds_of", lambda work: (work(), 0.2)[1])
    recipe = Invert(100, 200, 0, layers=("bn", "logits"))
    job = Job(nets.build("residual"), (nets.pictures(1),), precision="bfloat16")
    bought = afforded(recipe, job, 40)
    assert [precision for _, precision in timed] == ["bfloat16"] * 2
    assert not any(isinstance(part, nn.BatchNorm2d) for twin, _ in timed for part in twin.module.modules())
    # Nine tenths of the 38 s that are left, less 2 then; all 300 steps of both layers would take 60 s.
    assert 300 * 32.2 / 60 - 7 <= bought.passes <= 300 * 32.2 / 60 - 5


def test_layers_by_name_by_pattern_and_all_stages() -> None:
    network = nets.build("gap")
    assert inverted_layers(network, ("logits", "features.2", "logits")) == ("logits", "features.2")
    assert inverted_layers(network, ("features.*",))[:2] == ("features.0", "features.1")
    assert inverted_layers(network, ()) == inverted_layers(network, ("all",))
    strip = run(Invert(0, 2, 0, layers=("features.*", "logits")), network, nets.pictures(1))
    assert [inversion.layer for inversion in strip.inversions][-2:] == ["features.5", "logits"]


def test_the_network_is_left_as_it_was_found() -> None:
    network = nets.build("residual")
    network.module.train()
    before = {name: value.clone() for name, value in network.module.state_dict().items()}
    torch.manual_seed(3)
    state = torch.get_rng_state()
    invert(network, nets.pictures(1), "bn", recipe=Invert(1, 2, 1))
    assert network.module.training
    assert all(torch.equal(before[name], value) for name, value in network.module.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


def test_a_photograph_at_another_size_and_other_photographs_beside_it() -> None:
    network, cat = nets.build("gap"), image.load(sample("cat"))
    result = invert(network, cat, "features.2", size=(40, 24), recipe=Invert(0, 1, 0))
    assert result.images.shape == result.original.shape == (1, 3, 40, 24)
    # The picture itself is one of the samples, and is not counted among the others.
    others = [image.load(sample(name)) for name in ("coffee", "rocket", "astronaut", "temple", "flower")]
    match = Match.of(network, result.original, "features.2")
    with torch.no_grad():
        prepared = torch.cat([network_view(network, other, size=(40, 24)) for other in others])
        assert result.unrelated == pytest.approx(match(network.tap(prepared, ["features.2"])).mean().item(), rel=1e-5)


@pytest.mark.parametrize(
    ("how", "error", "text"),
    [
        ({"seeds": 0}, OptionError, "0 seeds make no picture"),
        ({"layer": "features.9"}, LayerError, "no layer 'features.9'"),
        ({"picture": nets.pictures(2)}, ImageError, "invert wants one"),
        ({"size": (64, 64)}, ImageError, "at its own size"),
        ({"picture": nets.pictures(1) * 255}, ImageError, "RGB in"),
    ],
)
def test_what_cannot_be_inverted(how: dict[str, object], error: type[Exception], text: str) -> None:
    options: dict[str, object] = {"picture": nets.pictures(1), "layer": "logits", **how}
    with pytest.raises(error, match=text):
        invert(nets.build("gap"), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong", [{"lr": 0.0}, {"tv": -1.0}, {"coarse": -1}, {"coarse": 0, "steps": 0, "finish": 0}, {"noise": -0.1}]
)
def test_options_that_make_no_sense(wrong: dict[str, float]) -> None:
    with pytest.raises(OptionError, match="invert wants a step"):
        Invert(**wrong)  # type: ignore[arg-type]


def test_layers_called_like_other_files_keep_their_pictures(tmp_path: Path) -> None:
    outcome = invert(nets.build("gap"), nets.pictures(1), "features.2", recipe=Invert(0, 2, 0))
    layers = [dataclasses.replace(outcome, layer=name) for name in ("original", "Conv", "conv")]
    names = [file["path"] for file in Strip(inversions=tuple(layers)).save(tmp_path)["files"]]
    assert {"original.png", "original-2.png", "Conv.png", "conv-2.png"} <= set(names)
    written = {path.name for path in tmp_path.iterdir()}
    assert {*names, "result.json", ".phosphene"} == written


def test_the_strip_has_a_column_for_each_layer_and_a_row_for_each_seed(tmp_path: Path) -> None:
    network, shown = nets.build("gap"), nets.pictures(1)
    strip = run(Invert(0, 2, 0, layers=("features.2", "logits"), seeds=2), network, shown)
    height, width, _ = strip.picture().shape
    assert width == 3 * 128 + 2 * 4  # small pictures are enlarged
    assert height == 2 * (128 + 20) + 4
    names = [file["path"] for file in strip.save(tmp_path)["files"]]
    written = {path.name for path in tmp_path.iterdir()}
    assert {*names, "result.json", ".phosphene"} == written
    assert names == [
        "strip.png",
        "original.png",
        *(f"{name}-{rest}" for name in ("features.2", "logits") for rest in ("0.png", "1.png", "scores.npy")),
    ]


def test_the_embedded_network_knows_a_cat_in_its_third_block() -> None:
    result = invert(ph.load(), image.load(sample("cat")), "blocks.1", recipe=Invert(30, 50, 0, lr=0.03))
    assert result.error < 0.15 < 1 < result.unrelated
    assert result.recognized[0][0].label in {"tabby", "tiger cat", "Egyptian cat"}
    pixels, wanted = (value.flatten(2).mean(1).flatten() for value in (result.images, result.original))
    assert torch.corrcoef(torch.stack([pixels, wanted]))[0, 1] > 0.8


def test_the_penalties_of_the_last_stage_weigh_a_tenth() -> None:
    network, images = nets.build("gap"), nets.pictures(1)
    match = Match.of(network, images, "features.2")
    noise = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    activations = {**network.tap(noise, ["features.2"]), "input": noise}
    distance = match(activations).item()
    penalties = [
        -stage.objective[0](activations).item() - distance  # type: ignore[index]
        for stage in Invert().layer_stages(match, images)
    ]
    assert penalties[0] > 0
    assert penalties == pytest.approx([penalties[0], penalties[0], penalties[0] / 10], rel=1e-3)


def test_a_copy_of_the_picture_is_none_of_the_other_photographs() -> None:
    cat = image.load(sample("cat")).pixels
    copy = np.where(cat < 255, cat + 1, cat).astype(np.uint8)
    first, second = (
        invert(nets.build("gap"), picture, "features.2", recipe=Invert(0, 1, 0)).unrelated for picture in (cat, copy)
    )
    assert second == pytest.approx(first, rel=0.05)
