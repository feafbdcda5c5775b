"""What is settled before the first step: objectives, transforms and priors of each target; and what is refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import nets
from phosphene.core.errors import OptionError
from phosphene.core.inputs import bind_target
from phosphene.core.networks.network import Images, Network, Preprocess
from phosphene.core.objectives.classes import Logit
from phosphene.core.objectives.objective import Objective, Sum
from phosphene.core.objectives.units import Channel, Neuron
from phosphene.synthesis.canvas.canvas import Perturbation, Pixels
from phosphene.synthesis.loop.loop import synthesize
from phosphene.synthesis.loop.recipe import Job
from phosphene.synthesis.loop.run import run
from phosphene.synthesis.losses.batchnorm_prior import BatchNormStatistics
from phosphene.synthesis.losses.priors import L2, TotalVariation
from phosphene.synthesis.recipes.dream import Dream, dream
from phosphene.synthesis.recipes.group import Group
from phosphene.synthesis.recipes.groups import kinds
from phosphene.synthesis.recipes.invert import Invert, invert
from phosphene.synthesis.recipes.visualize import Visualize, visualize
from phosphene.synthesis.settings.preset import Best, Lecture, Preset
from phosphene.synthesis.settings.probe import probe
from phosphene.synthesis.transforms.transforms import Affine, Crops, Flip, Transform

WHITE, BEST = Preprocess((32, 32), (0.5,) * 3, (0.25,) * 3), Best()


def grouped(
    targets: str | int | Objective | list[Any],
    preset: Preset = BEST,
    *,
    network: Network | None = None,
    size: tuple[int, int] | None = None,
    **options: Any,
) -> list[Group]:
    """The groups of a visualization."""
    network = network or nets.build("gap")
    several = targets if isinstance(targets, list) else [targets]
    return Visualize(preset, size, **options).groups(Job(network, tuple(several)))


def planned(target: str | int | Objective, preset: Preset = BEST, **options: Any) -> Group:
    (group,) = grouped(target, preset, **options)
    return group


def weight(objective: Objective, kind: type[Objective]) -> float:
    """How much the terms of a kind count in what is optimized; 0 where there are none."""
    terms = objective.terms if isinstance(objective, Sum) else ((1.0, objective),)
    return sum(much * (weight(term, kind) if isinstance(term, Sum) else isinstance(term, kind)) for much, term in terms)


def given(target: str | int) -> tuple[Transform, ...]:
    """The transforms that a visualization hands to the loop."""
    return tuple(planned(target).stage().transforms)


def test_classes_are_cropped_and_mirrored() -> None:
    transforms = given("goldfish")
    assert {type(transform) for transform in transforms} >= {Crops, Flip}


def test_units_keep_their_hand_and_size() -> None:
    crops, *rest = given("features.5:3")
    assert isinstance(crops, Crops)
    assert crops.low >= 0.8
    assert not any(isinstance(value, Flip) for value in rest)


def test_neurons_stay_where_they_are() -> None:
    moves, *rest = given("features.5:3@3,3")
    assert isinstance(moves, Affine)
    assert 0 < moves.jitter <= 32 / 28 + 1e-6  # of small pictures few pixels
    assert not any(isinstance(value, Crops | Flip) for value in rest)


def test_what_the_batch_norms_remember_holds_classes_and_not_units() -> None:
    network = nets.build("gap")
    (optimized,) = planned("goldfish", network=network).optimized
    assert "features.0" in optimized.reads  # what goes into the batch norm
    assert weight(optimized, BatchNormStatistics) < 0
    assert weight(planned("goldfish", Best(bn_weight=60.0)).optimized[0], BatchNormStatistics) == pytest.approx(
        2 * weight(optimized, BatchNormStatistics)
    )
    for preset, target in ((Best(bn_weight=0.0), "goldfish"), (Best(), "features.5:3"), (Best(), "features.5:3@3,3")):
        (optimized,) = planned(target, preset, network=network).optimized
        assert "features.0" not in optimized.reads
        assert weight(optimized, BatchNormStatistics) == 0
    assert weight(planned("goldfish", Lecture()).optimized[0], BatchNormStatistics) == 0


def test_it_changes_pictures_of_classes_and_none_of_units() -> None:
    network = nets.build("gap")

    def make(target: str, bn: float) -> Images:
        return visualize(network, target, preset=Best(steps=8, bn_weight=bn)).images

    assert (make("goldfish", 300) - make("goldfish", 0)).abs().max() > 0.02
    assert torch.equal(make("features.5:3", 300), make("features.5:3", 0))


def test_pictures_of_classes_are_nearer_to_what_is_remembered() -> None:
    network = nets.build("gap")
    prior = BatchNormStatistics().bind(network)

    def far(bn: float) -> float:
        images = visualize(network, "goldfish", preset=Best(steps=60, bn_weight=bn)).images
        return prior(network.tap(images, prior.reads)).item()

    assert far(1000) < 0.9 * far(0)


def test_a_network_that_remembers_nothing_is_asked_for_nothing() -> None:
    network = nets.build("gap")
    network.module.features[1].running_mean.zero_()
    assert "features.0" not in planned("goldfish", network=network).optimized[0].reads
    assert weight(planned("1", network=nets.build("functional")).optimized[0], BatchNormStatistics) == 0


@pytest.mark.parametrize("target", ["goldfish", "features.5:3"])
def test_pictures_that_a_budget_shrinks_are_made_as_those_that_are_asked_for_so(target: str) -> None:
    network = nets.build("gap")
    whole = planned(target, network=network)
    half = planned(target, network=network, scale=0.5)
    asked = planned(target, network=network, size=(16, 16))
    assert half.canvas_size == asked.canvas_size == (16, 16)
    for kind in (TotalVariation, L2):
        assert weight(half.optimized[0], kind) == pytest.approx(weight(asked.optimized[0], kind))
    slopes = [weight(group.optimized[0], TotalVariation) for group in (half, whole)]
    assert slopes[0] == pytest.approx(slopes[1] / 4)  # the same picture in fewer pixels is steeper
    assert half.preset.min_crop == asked.preset.min_crop  # type: ignore[attr-defined]
    smaller = visualize(network, target, preset=Best(steps=5), size=(16, 16)).images
    assert torch.equal(run(Visualize(Best(steps=5), scale=0.5), network, target).images, smaller)


def test_a_budget_shrinks_no_picture_whose_size_is_given() -> None:
    assert not planned(0, size=(24, 24)).shrinks_to(0.5)
    assert not planned("features.5:3@3,3").shrinks_to(0.5)
    assert not planned(0, network=nets.build("linear")).shrinks_to(0.5)  # it takes one size alone
    assert planned(0).shrinks_to(0.5)


def test_kinds_come_in_the_order_in_which_they_are_asked_for() -> None:
    targets = [Channel("features.2", 1), Logit(0), Neuron("features.2", 1, 3, 3), Logit(1), Channel("features.5", 1)]
    assert kinds(targets, Best()) == [[0, 4], [1, 3], [2]]
    assert kinds(targets, Lecture()) == [[0, 1, 2, 3, 4]]
    assert [group.places for group in grouped(targets, diverse=2)] == [(0, 1, 8, 9), (2, 3, 6, 7), (4, 5)]


def softmax() -> Network:
    torch.manual_seed(0)
    body = (nn.Conv2d(3, 4, 5, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4), nn.Softmax(1))
    return Network(nn.Sequential(*body).eval(), WHITE)


@pytest.mark.parametrize("targets", [["1", "p(1)"], ["p(1)", "1"], ["p(1)"]])
def test_classes_and_probabilities_of_a_network_that_ends_in_a_softmax(targets: list[str]) -> None:
    result = visualize(softmax(), targets, preset=Best(steps=3))
    assert result.names == tuple(targets)
    assert result.images.isfinite().all()
    assert result.ranks == (result.ranks[0],) * len(targets)
    (note,) = (note for note in result.notes if "probabilities" in note)
    assert note.endswith("which saturate: the scores before its softmax, those of 4, are maximized")


@pytest.mark.parametrize("target", [TotalVariation(), -1 * L2(), TotalVariation() - 0.5 * L2()])
@pytest.mark.parametrize("preset", [Best(steps=3), Lecture(steps=3)])
def test_what_reads_the_picture_alone_can_be_wanted(target: Objective, preset: Preset) -> None:
    result = visualize(nets.build("gap"), target, preset=preset)
    assert result.images.isfinite().all()
    assert result.activations[0] == pytest.approx(
        target.bind(nets.build("gap"))({"input": (result.images * 255).round() / 255}).item(), rel=1e-4
    )


def red(bias: float) -> Network:
    """red + bias, rectified; a blank picture is zero."""
    conv = nn.Conv2d(3, 1, 1)
    conv.weight.data = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)
    conv.bias.data.fill_(bias)
    return Network(nn.Sequential(conv, nn.ReLU()).eval(), WHITE)


@pytest.mark.parametrize("target", ["-1*1:0", "-2*1:0", "-1*1:0@3,3"])
def test_what_is_greatest_on_the_blank_picture_is_not_dead(target: str) -> None:
    network = red(-1.0)
    (result,) = probe(network, [bind_target(network, target)], Best()).targets
    assert result.at_start == 0 >= result.natural[1] > result.natural[0]
    assert (result.no_gradient, result.constant, result.dead) == (True, False, False)
    made = visualize(network, target, preset=Best(steps=2))
    assert not any("dead" in note for note in made.notes)


def test_what_no_photograph_moves_either_way_still_is() -> None:
    network = red(-1.0)
    network.module[0].weight.data.zero_()
    for target in ("1:0", "-1*1:0"):
        (result,) = probe(network, [bind_target(network, target)], Best()).targets
        assert result.dead


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: make(precision="bf16"), "^precision is 'bf16'; allowed are float32, bfloat16$"),
        (lambda: make(precision="float16"), "^precision is 'float16'; allowed are float32, bfloat16$"),
        (lambda: make(batch=-1), "^patience is 0 and batch -1; synthesize wants 0 or more, and 1 or more$"),
        (lambda: make(batch=0), "^patience is 0 and batch 0; synthesize wants 0 or more, and 1 or more$"),
        (lambda: make(patience=-1), "^patience is -1 and batch None; synthesize wants 0 or more"),
        (lambda: make(size=(0, 32)), "^a size of 0 × 32 has no pixels; give at least 1 of each$"),
        (lambda: make(size=(32, -2)), "^a size of 32 × -2 has no pixels; give at least 1 of each$"),
        (lambda: visualize(nets.build("gap"), 0, precision="bf16"), "^precision is 'bf16'; allowed are"),  # type: ignore[arg-type]
        (lambda: dream(nets.build("gap"), nets.pictures(1), precision="bf16"), "^precision is 'bf16'"),  # type: ignore[arg-type]
        (lambda: invert(nets.build("gap"), nets.pictures(1), "logits", precision="bf16"), "^precision is 'bf16'"),  # type: ignore[arg-type]
        (
            lambda: visualize(nets.build("gap"), 0, preset=Lecture(patience=-1)),
            "^patience of lecture is -1; it wants at least 0$",
        ),
        (lambda: Invert(canvas="maco"), "^invert has no canvas 'maco'; there are 'fourier', 'pixels'$"),  # type: ignore[arg-type]
        (lambda: Pixels(start="noize"), "^pixels has no start 'noize'; did you mean 'noise'"),  # type: ignore[arg-type]
        (lambda: Pixels("noize"), "^pixels has no start 'noize'; did you mean 'noise'"),  # type: ignore[arg-type]
        (lambda: Lecture(start="noize"), "^lecture has no start 'noize'; did you mean 'noise'"),  # type: ignore[arg-type]
        (lambda: Best(canvas="pixels"), "^best has no canvas 'pixels'; there are 'fourier', 'maco', 'pyramid'$"),  # type: ignore[arg-type]
        (lambda: Best(lr=math.nan), "^lr of best is nan; give a finite number$"),
        (lambda: Best(128, 0, math.nan), "^lr of best is nan; give a finite number$"),
        (lambda: Dream(lr=math.nan), "^lr of dream is nan; give a finite number$"),
        (lambda: Invert(tv=math.nan), "^tv of invert is nan; give a finite number$"),
        (lambda: Best(tv=math.inf), "^tv of best is inf; give a finite number$"),
        (lambda: Best(l2=-1.0), "^l2 of best is -1.0; it wants at least 0$"),
        (lambda: Invert(beta=-1.0), "^beta is -1.0; total-variation wants more than 0$"),
        (lambda: Invert(alpha=0.5), "^alpha is 0.5; alpha-norm wants at least 1$"),
        (lambda: Perturbation(eps=-0.1), "^eps is -0.1; perturbation wants more than 0$"),
        (lambda: visualize(nets.build("gap"), 0, size=(-5, 32)), "^a size of -5 × 32 has no pixels"),
        (lambda: dream(nets.build("gap"), nets.pictures(1), size=(0, 32)), "^a size of 0 × 32 has no pixels"),
        (lambda: Affine(scale=(math.nan, 1.0)), "affine wants"),
    ],
)
def test_what_makes_no_picture_is_refused_and_what_would_is_told(make: Callable[[], object], text: str) -> None:
    with pytest.raises(OptionError, match=text):
        make()


def make(**how: Any) -> object:
    return synthesize(nets.build("gap"), Logit(0), **{"steps": 1, **how})


def test_penalties_of_a_neuron_count_as_much_per_pixel_on_a_smaller_canvas() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network, neuron = Network(module.eval(), Preprocess((96, 96))), Neuron("0", 1, 40, 40)
    (part,), (whole,) = (Visualize(Best(), size).groups(Job(network, (neuron,))) for size in (None, (96, 96)))
    share = math.prod(part.canvas_size) / 96**2
    assert share < 0.5
    assert l2_weight(part.optimized[0]) == pytest.approx(share * l2_weight(whole.optimized[0]))


def l2_weight(objective: Objective) -> float:
    """Weight of the L2 penalty in a sum."""
    assert isinstance(objective, Sum)
    return sum(weight for weight, term in objective.terms if isinstance(term, L2))


def test_a_unit_that_one_of_its_pictures_activates_is_not_dead() -> None:
    conv = nn.Conv2d(3, 1, 1)
    conv.weight.data = torch.tensor([1.0, -1.0, 1.0]).view(1, 3, 1, 1)
    conv.bias.data.fill_(-1.9)  # more than the magenta of any photograph
    network = Network(nn.Sequential(conv, nn.ReLU()).eval(), Preprocess((32, 32), (0.0,) * 3, (1.0,) * 3))
    magenta = torch.tensor([1.0, 0.0, 1.0]).view(1, 3, 1, 1).expand(1, 3, 32, 32)
    still = Lecture(steps=1, lr=1e-6, decay=0.0, blur=0.0)
    notes = [
        any("is dead" in note for note in visualize(network, "1:0", preset=still, starts=starts).notes)
        for starts in (0 * magenta, torch.cat([0 * magenta, magenta]))
    ]
    assert notes == [True, False]
