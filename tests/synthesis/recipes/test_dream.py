"""DeepDream: detail is carried up, the picture stays sharp, any size and any network, killed and resumed."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import nets
from phosphene.core.errors import ImageError, OptionError
from phosphene.core.images import image
from phosphene.core.images.image import Picture
from phosphene.core.networks.fuse import fused
from phosphene.core.networks.network import Network, Preprocess
from phosphene.core.objectives.units import Channel
from phosphene.core.progress import Progress
from phosphene.synthesis.loop import budget
from phosphene.synthesis.loop import recipe as module
from phosphene.synthesis.loop.recipe import Job, Recipe, Stage, perform
from phosphene.synthesis.recipes import dream as dreams
from phosphene.synthesis.recipes.dream import Dream, dream
from phosphene.synthesis.recipes.zoom import Zoom

FEW = Dream(("features.2",), octaves=3, steps=3)
MANY = dataclasses.replace(FEW, tile=16)  # passes, so that the lean copy is used


def grey_network() -> Network:
    """28 × 28 grey digits, as a student has them."""
    torch.manual_seed(0)
    features = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3), nn.ReLU())
    net = nn.Sequential(features, nn.Flatten(), nn.Linear(6 * 12 * 12, 10))  # takes this one size alone
    return Network(net.eval(), Preprocess((28, 28), (0.5,), (0.5,), order="grey"), (), "digits")


def checkered(height: int, width: int) -> Tensor:
    """As sharp as pixels are."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return ((rows + columns) % 2).float().expand(1, 3, -1, -1) * 0.4 + 0.3


@pytest.mark.parametrize("size", [(45, 70), (28, 28), (9, 100)])
def test_no_step_gives_the_picture_back_exactly(size: tuple[int, int]) -> None:
    images = torch.rand(2, 3, *size)
    result = dream(nets.build("gap"), images, recipe=dataclasses.replace(FEW, steps=0))
    assert torch.equal(result.images, images)
    assert result.scores.shape == (len(result.sizes), 0, 2)


def test_the_picture_stays_as_sharp_as_it_was() -> None:
    """Where the whole picture is resized at each octave, no pixel pattern survives."""
    images = checkered(60, 60)
    result = dream(nets.build("gap"), images, recipe=dataclasses.replace(FEW, octaves=4, lr=1e-4)).images
    assert torch.allclose(result.diff(dim=3).abs().mean(), images.diff(dim=3).abs().mean(), rtol=0.02)


def test_detail_of_the_small_octaves_is_in_the_large_picture() -> None:
    images, network = nets.pictures(1), nets.build("gap")
    kept = [dream(network, images, recipe=Dream(("features.2",), octaves=number, steps=4)).images for number in (1, 3)]
    coarse = [image.resize(value - images + 0.5, (6, 6)).sub(0.5).square().mean().sqrt() for value in kept]
    assert coarse[1] > 1.3 * coarse[0]


@pytest.mark.parametrize("name", ["functional", "in-place", "shared", "residual", "gap", "tokens", "tuple", "linear"])
def test_every_network_at_every_size(name: str) -> None:
    network = nets.build(name)
    target = "goldfish" if name == "linear" else None
    images = torch.nn.functional.interpolate(nets.pictures(1), (50, 43), mode="bilinear")
    result = dream(network, images, target, recipe=Dream(octaves=2, steps=6))
    assert result.images.shape == images.shape
    assert result.images.isfinite().all()
    assert 0 <= result.images.min() < result.images.max() <= 1
    assert result.scores[:, -1].mean() > result.scores[:, 0].mean()


def test_a_network_of_grey_digits_leaves_the_colors_of_a_photograph() -> None:
    picture = Picture.from_array(nets.pictures(1)[0] * 0.5 + 0.25)
    result = dream(grey_network(), picture, recipe=Dream(octaves=4, steps=3, lr=0.005))
    assert result.sizes[0] == (12, 12)
    change = result.images - picture.tensor()
    assert change.abs().mean() > 1e-3
    assert torch.allclose(change, change.mean(1, keepdim=True), atol=1e-5)


def test_dreams_grow_by_an_objective_a_target_and_a_guide() -> None:
    network, picture = nets.build("gap"), Picture.from_array(nets.pictures(1)[0])
    how = Dream(octaves=2, steps=5)
    for options in ({"target": Channel("features.5", 3)}, {"target": "goldfish"}, {"guide": picture}):
        result = dream(network, picture, recipe=how, **options)
        assert result.scores[-1, -1] > result.scores[0, 0]
    assert dream(network, picture, "goldfish", recipe=how).lines()[0].startswith("goldfish: ")


def test_images_of_a_batch_each_have_a_dream() -> None:
    images = nets.pictures(2)
    result = dream(nets.build("gap"), images, recipe=FEW)
    assert result.scores.shape == (3, 3, 2)
    assert ((result.images - images).abs().flatten(1).mean(1) > 1e-3).all()


def test_memory_is_bounded_by_the_batch_and_the_result_is_not_changed() -> None:
    images = torch.nn.functional.interpolate(nets.pictures(1), (70, 90), mode="bilinear")
    network, most = nets.build("gap"), []
    seen = network.module.register_forward_pre_hook(lambda _, inputs: most.append(len(inputs[0])))
    one, eight = (dream(network, images, recipe=dataclasses.replace(FEW, batch=number)).images for number in (1, 8))
    seen.remove()
    assert max(most) == 8
    assert torch.allclose(one, eight, atol=1e-3)


def test_the_same_seed_gives_the_same_bytes_and_another_does_not() -> None:
    network, images = nets.build("gap"), nets.pictures(1)
    first, again, other = (dream(network, images, recipe=FEW, seed=seed).images for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(("how", "last"), [(FEW, 1), (FEW, 3), (FEW, 5), (FEW, 8), (MANY, 5)])
def test_killed_at_any_step_it_goes_on_to_the_same_bytes(
    tmp_path: Path, how: Dream, last: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("phosphene.synthesis.loop.state_file.StateFile.due", property(lambda _: True))
    network, images = nets.build("gap"), nets.pictures(1)

    def die(progress: Progress) -> None:
        if progress.done == last:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dream(network, images, recipe=how, state=tmp_path, watch=die)
    told: list[int] = []
    result = dream(network, images, recipe=how, state=tmp_path, watch=lambda progress: told.append(progress.done))
    assert torch.equal(result.images, dream(network, images, recipe=how).images)
    assert told == list(range(last, 10))  # the step in which it died was not kept
    assert ("octave 1: went on at step" in " ".join(result.notes)) == (last > 1)
    told.clear()
    again = dream(network, images, recipe=how, state=tmp_path, watch=lambda progress: told.append(progress.done))
    assert torch.equal(again.images, result.images)
    assert not told  # what had finished is returned at once


@pytest.mark.parametrize(("name", "layer"), [("dead", "features.5"), ("tokens", "norm")])
def test_what_no_gradient_comes_from_is_said(name: str, layer: str) -> None:
    """A layer that is silent, and a layer norm, whose energy is that of any picture."""
    network, how = nets.build(name), Dream((layer,), octaves=2, steps=3)
    result = dream(network, nets.pictures(1), recipe=how)
    why = f"nothing was dreamed: all of {layer} did not move on this picture; choose another layer"
    assert result.notes[0].startswith(why)
    assert "on 2 of 2 pictures" in dream(network, nets.pictures(2), recipe=how).notes[0]
    assert not dream(network, nets.pictures(1), recipe=dataclasses.replace(how, steps=0)).notes


def test_a_dream_of_many_passes_is_dreamed_on_the_fused_network(monkeypatch: pytest.MonkeyPatch) -> None:
    network, images, made = nets.build("gap"), nets.pictures(1), []
    monkeypatch.setattr(module, "fused", lambda *given: made.append(given) or fused(*given))
    dream(network, images, recipe=FEW)
    assert not made
    result = dream(network, images, recipe=MANY)
    assert made == [(network, {"features.2"})]
    assert not result.notes
    monkeypatch.setattr(dreams, "FUSED_FROM_PASSES", 1000)
    assert torch.allclose(result.images, dream(network, images, recipe=MANY).images, atol=1e-3)


def test_half_the_precision_gives_much_the_same_dream() -> None:
    network, images = nets.build("gap"), nets.pictures(1)
    half, whole = (dream(network, images, recipe=FEW, precision=name).images for name in ("bfloat16", "float32"))
    assert 0 < (half - whole).abs().mean() < 0.2 * (whole - images).abs().mean()


def test_a_folder_of_states_keeps_what_else_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    dream(nets.build("gap"), nets.pictures(1), recipe=FEW, state=tmp_path)
    assert (tmp_path / "thesis.txt").exists()


@pytest.mark.parametrize("stop", [1, 5, 8])
def test_a_watcher_that_stops_leaves_a_step_to_each_octave_that_has_not_begun(stop: int) -> None:
    result = dream(nets.build("gap"), nets.pictures(1), recipe=FEW, watch=lambda progress: progress.done == stop)
    done = result.scores.isfinite()[..., 0].sum(1).tolist()
    assert done == [min(3, max(1, stop - 3 * number)) for number in range(3)]
    assert "nan" not in result.lines()[0]


def test_half_a_state_of_another_dream_is_no_start(tmp_path: Path) -> None:
    network, images = nets.build("gap"), nets.pictures(1)

    def die(progress: Progress) -> None:
        if progress.done == 5:
            raise KeyboardInterrupt

    for how in (FEW, dataclasses.replace(FEW, lr=0.02)):
        with pytest.raises(KeyboardInterrupt):
            dream(network, images, recipe=how, state=tmp_path, watch=die)
    (tmp_path / "000-octave-1.pt").write_bytes(b"half")
    assert torch.equal(
        dream(network, images, recipe=FEW, state=tmp_path).images, dream(network, images, recipe=FEW).images
    )


def afforded(recipe: Recipe[Any], job: Job, seconds: float) -> tuple[Any, str]:
    """The recipe that a budget leaves, which begins now."""
    return budget.afford(recipe, job, seconds, time.perf_counter())


def timed(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Two steps take so long, and nothing else takes any time."""
    monkeypatch.setattr(time, "perf_counter", lambda: 0.0)
    monkeypatch.setattr(budget, "seconds_of", lambda work: (work(), seconds)[1])


def test_a_budget_takes_steps_first_then_size_and_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network, recipe = nets.build("gap"), Dream(("features.2",), steps=10, octaves=2, size=(128, 128))
    timed(monkeypatch, 0.2)  # two steps: 0.1 s a tile
    passes = recipe.passes(network, (128, 128))
    assert passes == 10 * (25 + 16)
    job = Job(network, (nets.pictures(1),))
    rich, note = afforded(recipe, job, 1000)
    assert rich == recipe
    assert note.endswith("s allow 10 of 10 steps at 128×128")
    kept = dataclasses.replace(job, state=tmp_path)
    some, note = afforded(recipe, kept, 0.1 * passes * 0.7)
    assert (some.steps, some.size) == (6, (128, 128))
    assert note.endswith("s allow 6 of 10 steps at 128×128")
    poor, _ = afforded(recipe, job, 0.1 * passes / 10)
    assert 4 <= poor.steps <= 5
    assert 32 <= poor.size[0] < 128
    timed(monkeypatch, 20.0)
    other = dataclasses.replace(kept, network=nets.build("gap", torch.float64), _memory={})
    least, note = afforded(recipe, other, 0.1 * passes * 0.7)
    assert least.steps == 1
    assert note.endswith(", the least there are")
    timed(monkeypatch, 0.2)
    assert afforded(recipe, kept, 0.1 * passes * 0.7)[0] == some
    timed(monkeypatch, 20.0)
    assert afforded(recipe, kept, 0.1 * passes * 0.7)[0] == some
    with pytest.raises(OptionError, match="0 seconds are no time"):
        dream(network, nets.pictures(1), recipe=recipe, seconds=0)


def test_a_budget_is_measured_with_what_will_dream(monkeypatch: pytest.MonkeyPatch) -> None:
    network, recipe, measured = nets.build("gap"), Dream(("features.2",), steps=10, octaves=2, size=(128, 128)), []

    def watched(stage: Stage, job: Job, **options: Any) -> Any:
        measured.append((stage.fuse, job.precision))
        return perform(stage, job, **options)

    timed(monkeypatch, 0.2)
    monkeypatch.setattr(budget, "perform", watched)
    job = Job(network, (nets.pictures(1),), precision="bfloat16")
    afforded(recipe, job, 10)
    assert set(measured) == {(True, "bfloat16")}
    measured.clear()
    afforded(recipe, job, 3)  # for some 27 passes
    assert measured == [(True, "bfloat16"), (False, "bfloat16")]
    options = {field.name: getattr(recipe, field.name) for field in dataclasses.fields(recipe)}
    film, _ = afforded(Zoom(**options, frames=10), job, 300)
    one, _ = afforded(recipe, job, 30)
    assert (film.steps, film.size) == (one.steps, one.size)


def test_what_is_saved_is_what_was_dreamed(tmp_path: Path) -> None:
    result = dream(nets.build("gap"), nets.pictures(2), recipe=FEW)
    entries = result.save(tmp_path)["files"]
    assert [entry["path"] for entry in entries] == ["dream-0.png", "dream-1.png", "scores.npy"]
    assert np.array_equal(image.load(tmp_path / "dream-1.png").pixels, result.pictures()[1])
    assert np.load(tmp_path / "scores.npy").shape == (3, 3, 2)


def test_options_and_pictures_out_of_range() -> None:
    for options in ({"octaves": 0}, {"steps": -1}, {"ratio": 1}, {"lr": 0}, {"batch": 0}, {"smooth": -1}, {"tile": 1}):
        with pytest.raises(OptionError, match="dream wants"):
            Dream(**options)
    with pytest.raises(ImageError, match=r"wants RGB in \[0, 1\]"):
        dream(nets.build("gap"), 3 * nets.pictures(1), recipe=FEW)


def test_octaves_too_small_to_show_anything_are_left_out() -> None:
    assert Dream(octaves=4).sizes((28, 40)) == [(10, 15), (14, 20), (20, 29), (28, 40)]
    assert Dream(octaves=9).sizes((28, 40))[0] == (10, 15)
    assert Dream(octaves=4).sizes((3, 5)) == [(3, 5)]
