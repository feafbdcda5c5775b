"""Presets and recipes: what each does to pictures, and what it leaves alone."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor, nn

import nets
from phosphene.core.errors import OptionError
from phosphene.core.images.image import Picture
from phosphene.core.networks.network import Images, Network
from phosphene.core.objectives.classes import Logit, Probability
from phosphene.core.objectives.units import Channel, Neuron
from phosphene.synthesis.canvas.canvas import Fourier, Pixels
from phosphene.synthesis.canvas.color import ColorDecorrelation
from phosphene.synthesis.loop.optimizers import Adam
from phosphene.synthesis.loop.recipe import Job
from phosphene.synthesis.losses.priors import L2, TotalVariation
from phosphene.synthesis.recipes.ablation import ablate
from phosphene.synthesis.recipes.dream import Dream, dream
from phosphene.synthesis.recipes.invert import Invert, invert
from phosphene.synthesis.recipes.visualize import Visualize, visualize
from phosphene.synthesis.recipes.zoom import zoom
from phosphene.synthesis.settings.preset import Best, Lecture, Parts, Preset
from phosphene.synthesis.settings.probe import NetworkProbe
from phosphene.synthesis.transforms.transforms import Affine, ColorShift, Crops, Flip

GREY = 0.3 + 0.4 * nets.pictures(2)
"""Pictures that have room on both sides: nothing is cut off."""


def test_what_is_at_a_place_is_neither_cropped_nor_mirrored() -> None:
    _, _, moves, _ = Best().parts()
    assert [type(move) for move in moves] == [Crops, ColorShift, Flip]
    _, _, moves, _ = Best().parts(shift=3.0, view=(16, 16))
    assert [type(move) for move in moves] == [Affine, ColorShift]
    assert moves[0] == Affine(3.0, (0.95, 1.05), 5)
    _, _, moves, _ = Best(color_shift=0.0).parts(shift=0.0)  # not even by a pixel: that is no "as far as one likes"
    assert [type(move) for move in moves] == [Affine]


def test_what_is_asked_for_is_in_the_parts() -> None:
    crops, colors, *_ = Best(crops=3, min_crop=0.4, noise=0.1, color_shift=0.6).parts(view=(16, 20))[2]
    assert crops == Crops(3, 0.4, 1.0, 0.1, (16, 20))
    assert colors == ColorShift(0.6, 0.6 / 3)
    assert Flip() not in Best(mirror=False).parts()[2]
    assert Best(lr=0.3).parts()[1] == Adam(0.3)
    assert Best(canvas="pyramid").parts()[0].name == "pyramid"
    canvas, optimizer, *_ = Best(lr=0.01, canvas="maco").parts()
    assert canvas.name == "maco"
    assert optimizer == Adam(8 * 0.01)


@pytest.mark.parametrize("size", [(32, 32), (64, 64), (128, 128), (64, 128)])
@pytest.mark.parametrize("decay", [0.5, 1.0, 1.5])
def test_a_wave_across_the_picture_is_as_high_at_every_size(size: tuple[int, int], decay: float) -> None:
    network, canvas = nets.build("gap"), Fourier(decay, noise=0.0)
    painting = canvas.begin(network, 1, size, generator=torch.Generator())
    with torch.no_grad():
        painting.spectrum[..., 0, 1, 0] = 0.02
    waves = ColorDecorrelation.of(network).inverse(painting())
    expected = 0.04 * 224 ** (decay - 1) * torch.cos(2 * torch.pi * torch.arange(size[1]) / size[1])
    assert torch.allclose(waves, expected.expand_as(waves), atol=1e-4)


def test_penalties_of_few_pixels_let_colors_go_far_and_not_slopes() -> None:
    read = {"input": GREY}
    best = Best(l2=3.0, tv=5.0)
    for share in (1.0, 0.25):
        expected = -3.0 / share * L2()(read) - 5.0 * TotalVariation()(read)
        assert torch.allclose(best.prior(share)(read), expected)  # type: ignore[misc]
        assert torch.allclose(Lecture(l2=3.0).prior(share)(read), -3.0 / share * L2()(read))  # type: ignore[misc]
    assert Best(canvas="maco").prior() is None
    assert Lecture().prior() is None


def test_classes_units_and_neurons_are_made_each_in_their_way() -> None:
    best, unit, neuron = Best(), Channel("features.2", 1), Neuron("features.2", 1, 3, 3)
    assert [best.kind(target) for target in (Logit(0), Probability(1), Logit(0) - 0.5 * Logit(1))] == ["class"] * 3
    assert [best.kind(value) for value in (unit, unit + Logit(0), TotalVariation())] == ["unit"] * 3
    assert [best.kind(value) for value in (neuron, neuron + Logit(0), unit - neuron)] == ["neuron"] * 3
    assert len({Lecture().kind(target) for target in (Logit(0), unit, neuron)}) == 1


def test_a_regularizer_that_is_off_is_shown_on_its_own_all_the_same() -> None:
    network = nets.build("gap")
    sheet = ablate(network, "goldfish", preset=Lecture(6, decay=0, blur=0))
    pictures = {name: value.images for name, value in sheet.columns.items()}
    assert not torch.equal(pictures["L2 decay"], pictures["none of them"])
    assert not torch.equal(pictures["Gaussian blur"], pictures["none of them"])
    decayed = visualize(network, "goldfish", preset=Lecture(6, decay=0.02, blur=0))
    assert torch.equal(pictures["L2 decay"], decayed.images)


@pytest.mark.parametrize("most", [0.02, 0.05])
def test_detail_is_held_where_it_is_told_and_has_no_color_in_the_mean(most: float) -> None:
    hard = Dream(("features.2",), octaves=1, steps=12, lr=0.05, max_rms=most)
    detail = dream(nets.build("gap"), GREY, recipe=hard).images - GREY
    assert detail.square().mean((1, 2, 3)).sqrt().tolist() == pytest.approx([most] * 2, rel=1e-4)
    assert detail.mean((2, 3)).abs().max() < 1e-6


def test_faint_detail_is_left_as_it_is() -> None:
    soft = Dream(("features.2",), octaves=1, steps=3, lr=0.005)
    result, free = (
        dream(nets.build("gap"), GREY, recipe=dataclasses.replace(soft, max_rms=most)).images for most in (0.1, 9)
    )
    rms = (result - GREY).square().mean((1, 2, 3)).sqrt()
    assert ((rms > 0.005) & (rms < 0.02)).all()
    assert torch.equal(result, free)
    assert (result - GREY).mean((2, 3)).abs().max() < 1e-6


def test_detail_is_held_at_every_size_before_it_is_carried_on() -> None:
    least, shown = Dream(("features.2",), octaves=2, steps=8, lr=0.05, max_rms=0.02), list[Images]()
    network = nets.build("gap")
    dream(network, GREY, recipe=least, watch=lambda progress: shown.append(progress.preview))
    detail = shown[8] - GREY  # as the second octave begins
    assert (detail.square().mean((1, 2, 3)).sqrt() < 0.03).all()


class Shown(nn.Module):
    """Keeps what it is given, and lets a gradient through."""

    def __init__(self) -> None:
        super().__init__()
        self.kept = list[Tensor]()

    def forward(self, x: Tensor) -> Tensor:
        self.kept.append(x.detach().clone())
        return x.mean((2, 3))


STILL = Dream(octaves=1, steps=1, lr=1e-7, smooth=0.0, tile=16, batch=99)
"""Moves no pixel, and looks at tiles that lie another way each time."""


@pytest.mark.parametrize("seed", [0, 3])
def test_tiles_lie_another_way_in_every_octave(seed: int) -> None:
    network = Network(Shown().eval(), nets.build("gap").preprocess)
    twice = dataclasses.replace(STILL, octaves=2, ratio=1.001)  # of one size, up to rounding
    result = dream(network, GREY[:1], "0", recipe=twice, seed=seed)
    assert result.sizes == ((32, 32), (32, 32))
    first, second = network.module.kept[-2:]
    assert first.shape == second.shape
    assert (first - second).abs().mean() > 0.1


@pytest.mark.parametrize("seed", [0, 3])
def test_tiles_lie_another_way_in_every_frame(seed: int) -> None:
    network = Network(Shown().eval(), nets.build("gap").preprocess)
    frames = zoom(network, Picture.from_array(GREY[0]), "0", frames=3, factor=1 + 1e-7, recipe=STILL, seed=seed)
    assert len(list(frames)) == 3
    first, second, third = network.module.kept[-3:]
    assert (first - second).abs().mean() > 0.1
    assert (second - third).abs().mean() > 0.1


def test_another_seed_of_a_film_is_another_film() -> None:
    how, cat = Dream(("features.2",), octaves=1, steps=2, tile=16), Picture.from_array(GREY[0])
    films = [list(zoom(nets.build("gap"), cat, frames=2, recipe=how, seed=seed)) for seed in (0, 0, 7)]
    assert all((one == other).all() for one, other in zip(films[0], films[1], strict=True))
    assert not any((one == other).all() for one, other in zip(films[0], films[2], strict=True))


def test_fewer_steps_of_an_inversion_are_larger() -> None:
    how = Invert(100, 200, 50, lr=0.02)
    quarter = how.times(0.25)
    assert (quarter.coarse, quarter.steps, quarter.finish) == (25, 50, 13)
    assert quarter.lr == pytest.approx(0.04)
    assert how.times(1.0) == how
    least = how.times(0.001)
    assert (least.coarse, least.steps, least.finish) == (1, 1, 1)
    assert least.lr == pytest.approx(0.1)  # and no larger: there is a limit
    assert Invert(0, 10, 0).times(0.5).passes == 5  # what is left out stays so


def test_larger_steps_come_nearer_in_as_few() -> None:
    network, shown, whole = nets.build("gap"), nets.pictures(1), Invert(0, 160, 0, lr=0.05, tv=0.1)
    few = whole.times(0.1)
    errors = [
        invert(network, shown, "features.2", recipe=value).error for value in (few, dataclasses.replace(few, lr=0.05))
    ]
    assert errors[0] < 0.8 * errors[1]


@dataclasses.dataclass(frozen=True)
class Plain(Preset, name="test-plain"):
    """A third preset: pixels and Adam, lighter where the network sees no colors.

    Args:
        steps: how many.
        lr: of Adam.
    """

    steps: int = 3
    lr: float = 0.05

    def parts(self, *, shift: float | None = None, view: tuple[int, int] | None = None) -> Parts:
        return Parts(Pixels(), Adam(self.lr))

    def adjusted(self, probe: NetworkProbe, size: tuple[int, int]) -> tuple[Plain, tuple[str, ...]]:
        return dataclasses.replace(self, lr=0.01), (f"stride {probe.stride}",) if self.is_default("lr") else ()


def test_a_third_preset_is_one_class() -> None:
    result = visualize(nets.build("gap"), ["goldfish", "features.2:1@3,3"], preset="test-plain")
    assert result.preset == Plain()
    assert result.scores.shape == (3, 2)
    assert result.notes[-1] == "stride 4"
    groups = Visualize(Plain(), diverse=2).groups(Job(nets.build("gap"), ("goldfish",)))
    assert [group.preset for group in groups] == [Plain(lr=0.01)]


def test_options_without_effect_are_refused() -> None:
    for options in ({"tv": 3.0}, {"l2": 3.0}, {"power": 2.0}):
        with pytest.raises(OptionError, match=f"{next(iter(options))} has no effect with the canvas maco"):
            Best(canvas="maco", **options)
    with pytest.raises(OptionError, match="power has no effect with the canvas pyramid"):
        Best(canvas="pyramid", power=2.0)
    assert Best(canvas="pyramid", tv=3.0).tv == 3.0
