"""What holds for every part that pictures are made with, and for every recipe."""

from __future__ import annotations

import copy
import dataclasses
import importlib
import json
import math
import pickle
import pkgutil
from typing import Any, Literal, get_args, get_origin

import pytest
import torch
from torch import Tensor

import nets
import phosphene
from phosphene.core.errors import OptionError
from phosphene.core.networks.network import Images
from phosphene.core.objectives.classes import Logit
from phosphene.core.objectives.units import Channel, Neuron
from phosphene.core.registry import Named, Option
from phosphene.synthesis.canvas.canvas import Canvas, Painting
from phosphene.synthesis.canvas.color import ColorDecorrelation
from phosphene.synthesis.loop.loop import synthesize
from phosphene.synthesis.loop.optimizers import Optimizer
from phosphene.synthesis.loop.recipe import Recipe
from phosphene.synthesis.settings.preset import Preset
from phosphene.synthesis.transforms.pixel_regularizers import PixelRegularizer
from phosphene.synthesis.transforms.transforms import Transform

for _module in pkgutil.walk_packages(phosphene.__path__, "phosphene."):
    if not _module.name.endswith("__main__"):
        importlib.import_module(_module.name)


def own(family: Any) -> list[type[Named]]:
    """The members of a family, with those of plugins and without those that tests have added."""
    return [cls for name, cls in sorted(family.table.items()) if not name.startswith("test-")]


def bare(family: Any) -> list[Any]:
    """Of every member that can be made without arguments, one with all options at their defaults."""
    return [cls() for cls in own(family) if not any(option.default is dataclasses.MISSING for option in cls.options())]


def ids(parts: list[Any]) -> list[str]:
    return [f"{type(part).family}-{part.name}" for part in parts]


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


FAMILIES = (Canvas, Transform, PixelRegularizer, Optimizer, Preset, Recipe)
PARTS = [part for family in FAMILIES for part in bare(family)]
CANVASES, TRANSFORMS, REGULARIZERS, PRESETS = (bare(family) for family in (Canvas, Transform, PixelRegularizer, Preset))
EVERY = [cls for family in Named.__subclasses__() for cls in own(family)]
CHOICES = [(cls, option) for cls in EVERY for option in cls.options() if get_origin(option.type) is Literal]
NUMBERS = [(cls, option) for cls in EVERY for option in cls.options() if option.type in {float, float | None}]
NOISY = {"fourier", "pyramid", "maco"}
"""Canvases that are not blank at the start."""
EXACT = {"pixels", "fourier", "pyramid", "perturbation"}
"""Canvases that can show any picture; of "maco" only the phases are free."""
SIZE = (24, 33)


def test_there_are_some() -> None:
    assert len(CANVASES) >= 5
    assert len(TRANSFORMS) >= 7
    assert len(PARTS) >= 23
    assert {cls.name for cls, _ in CHOICES} >= {"pixels", "best", "lecture", "invert", "pca"}
    assert len(NUMBERS) >= 40


@pytest.mark.parametrize("part", PARTS, ids=ids(PARTS))
def test_parts_are_values(part: Named) -> None:
    kind: Any = type(part)
    assert pickle.loads(pickle.dumps(part)) == part
    assert copy.deepcopy(part) == part
    names = {member.__name__: member for family in FAMILIES for member in own(family)}
    assert eval(repr(part), names) == part
    assert hash(part) == hash(kind())
    with pytest.raises(dataclasses.FrozenInstanceError):
        part.anything = 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("part", PARTS, ids=ids(PARTS))
def test_parts_are_told_in_json(part: Named) -> None:
    told = json.loads(json.dumps(part.manifest(), allow_nan=False))
    assert told.pop("name") == part.name
    options = {option.name: option.default for option in part.options()}
    plain = {name: value.manifest() if isinstance(value, Named) else value for name, value in options.items()}
    assert told == {name: list(value) if isinstance(value, tuple) else value for name, value in plain.items()}
    assert type(part).find(str(part.name)) is type(part)
    assert part.summary().endswith((".", ":"))
    assert all(option.help for option in part.options())


@pytest.mark.parametrize(("cls", "option"), CHOICES, ids=lambda each: getattr(each, "name", ""))
def test_what_is_none_of_the_choices_is_refused_with_the_nearest(cls: type[Any], option: Option) -> None:
    known, *_ = allowed = get_args(option.type)
    assert all(getattr(cls(**{option.name: value}), option.name) == value for value in allowed)
    with pytest.raises(OptionError, match=f"^{cls.name} has no {option.name} '{known}x'; did you mean '{known}'"):
        cls(**{option.name: f"{known}x"})
    for value in ("", None, 1):
        with pytest.raises(OptionError, match=f"^{cls.name} has no {option.name} {value!r}; "):
            cls(**{option.name: value})
    place = [option.name for option in cls.options()].index(option.name)
    with pytest.raises(OptionError, match=f"has no {option.name} "):
        cls(*[option.default for option in cls.options()][:place], "none of them")
    with pytest.raises(OptionError, match=f"has no {option.name} "):
        dataclasses.replace(cls(), **{option.name: "none of them"})


@pytest.mark.parametrize(("cls", "option"), NUMBERS, ids=lambda each: getattr(each, "name", ""))
def test_every_number_is_finite(cls: type[Any], option: Option) -> None:
    for value in (math.nan, math.inf, -math.inf):
        with pytest.raises(OptionError, match=f"^{option.name} of {cls.name} is {value}; give a finite number"):
            cls(**{option.name: value})


def begin(canvas: Canvas, *, seed: int = 0, start: Images | None = None, count: int = 2) -> Painting:
    if start is None and canvas.name == "perturbation":
        start = pictures()
    return canvas.begin(nets.build("gap"), count, SIZE, generator=draw(seed), start=start)


def pictures() -> Images:
    smooth = torch.nn.functional.interpolate(nets.pictures(2), SIZE, mode="bilinear")
    return 0.1 + 0.8 * smooth


each_canvas = pytest.mark.parametrize("canvas", CANVASES, ids=ids(CANVASES))


@each_canvas
def test_canvases_show_as_many_pictures_as_told(canvas: Canvas) -> None:
    for count in (1, 2, 3):
        images = begin(canvas, count=count, start=pictures()[:1])()
        assert images.shape == (count, 3, *SIZE)
        assert images.dtype == torch.float32
    images = begin(canvas)()
    assert images.isfinite().all()
    assert 0 <= images.min() <= images.max() <= 1


@each_canvas
def test_noise_is_that_of_the_seed_alone(canvas: Canvas) -> None:
    torch.manual_seed(0)
    first = begin(canvas, seed=1)()
    torch.manual_seed(1)
    state = torch.get_rng_state()
    assert torch.equal(begin(canvas, seed=1)(), first)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(begin(canvas, seed=2)(), first) == (canvas.name not in NOISY)


@each_canvas
def test_gradients_reach_every_parameter_of_every_picture(canvas: Canvas) -> None:
    painting = begin(canvas)
    parameters = list(painting.parameters())
    weights = torch.randn(2, 3, *SIZE, generator=draw(3))
    slopes = torch.autograd.grad((weights * painting()).sum(), parameters)
    for parameter, slope in zip(parameters, slopes, strict=True):
        assert len(parameter) == 2
        assert slope.isfinite().all()
        assert (slope.flatten(1).abs().amax(1) > 0).all()
    alone = torch.autograd.grad((weights * painting())[0].sum(), parameters)
    assert all((slope[1] == 0).all() for slope in alone)  # no picture has a part in another


@each_canvas
def test_canvases_begin_with_the_pictures_they_are_given(canvas: Canvas) -> None:
    images = pictures()
    before = images.clone()
    shown = begin(canvas, start=images)()
    assert torch.equal(images, before)
    if canvas.name in EXACT:
        assert (shown - images).abs().max() < 1e-3
    else:
        colors = ColorDecorrelation.of(nets.build("gap"))
        phases = [torch.fft.rfft2(colors.inverse(value)).angle()[..., 1:6, 1:6] for value in (shown, images)]
        assert (phases[0] - phases[1]).cos().mean() > 0.9
    assert torch.equal(begin(canvas, seed=1, start=images)(), shown)  # nothing is left to chance


each_transform = pytest.mark.parametrize("transform", TRANSFORMS, ids=ids(TRANSFORMS))


def views(transform: Any, size: tuple[int, int]) -> int:
    """Of each image."""
    many = getattr(transform, "count", 1)
    return many(size) if callable(many) else many


@each_transform
@pytest.mark.parametrize("size", [(40, 60), (300, 250)])
def test_transforms_make_as_many_views_of_each_image_as_told(transform: Transform, size: tuple[int, int]) -> None:
    images = torch.rand(3, 3, *size, generator=draw(1))
    many, before = views(transform, size), images.clone()
    result = transform(images, draw())
    assert result.shape[:2] == (3 * many, 3)
    assert result.isfinite().all()
    assert torch.equal(images, before)
    flat = torch.tensor([0.2, 0.5, 0.8]).view(3, 1, 1, 1).expand(3, 3, *size)
    told = transform(flat, draw()).flatten(1).mean(1).view(3, many)  # the views of one image stand together
    assert (told.diff(dim=0) > 0).all()


@each_transform
def test_transforms_depend_on_their_generator_alone(transform: Transform) -> None:
    images = torch.rand(3, 3, 40, 60, generator=draw(1))
    torch.manual_seed(0)
    first = transform(images, draw(2))
    torch.manual_seed(1)
    state = torch.get_rng_state()
    assert torch.equal(transform(images, draw(2)), first)
    assert torch.equal(torch.get_rng_state(), state)
    moving = draw(2)
    assert torch.equal(transform(images, moving), first)
    chance = moving.get_state().tolist() != draw(2).get_state().tolist()
    assert torch.equal(transform(images, moving), first) != chance  # another way at each step


@each_transform
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_transforms_keep_the_precision(transform: Transform, dtype: torch.dtype) -> None:
    images = torch.rand(2, 3, 40, 60, generator=draw(1))
    result = transform(images.to(dtype), draw())
    assert result.dtype == dtype
    assert (result.float() - transform(images, draw())).abs().max() < 1e-3


@each_transform
def test_transforms_can_be_differentiated(transform: Transform) -> None:
    images = torch.rand(2, 3, 12, 14, generator=draw(1), dtype=torch.float64).requires_grad_()
    result = transform(images, draw())
    weights = torch.rand(result.shape, generator=draw(2), dtype=torch.float64)
    (slope,) = torch.autograd.grad((weights * result).sum(), images)
    assert slope.isfinite().all()
    assert (slope.flatten(1).abs().amax(1) > 0).all()
    if transform.name in {"soften", "tiles"}:  # their gradient is blurred or weighed, and no slope
        return
    step = 1e-6 * torch.randn(images.shape, generator=draw(3), dtype=torch.float64)
    moved = (weights * (transform(images + step, draw()) - result)).sum()
    assert moved.item() == pytest.approx((slope * step).sum().item(), rel=1e-3)


@pytest.mark.parametrize("regularizer", REGULARIZERS, ids=ids(REGULARIZERS))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_regularizers_change_no_shape_and_none_of_their_arguments(
    regularizer: PixelRegularizer, dtype: torch.dtype
) -> None:
    value, slope = torch.randn(2, 2, 3, 12, 14, generator=draw(1), dtype=dtype)
    before = value.clone(), slope.clone()
    for step in range(1, 9):
        result = regularizer(value, slope, step)
        assert (result.shape, result.dtype) == (value.shape, dtype)
        assert result.norm() <= value.norm()
        assert torch.equal(regularizer(value, slope, step), result)
        alone = torch.cat([regularizer(value[place][None], slope[place][None], step) for place in range(2)])
        assert torch.allclose(alone, result, atol=1e-6)
    assert torch.equal(value, before[0])
    assert torch.equal(slope, before[1])


@pytest.mark.parametrize("optimizer", bare(Optimizer), ids=ids(bare(Optimizer)))
def test_optimizers_go_down_and_may_be_stopped_between_two_steps(optimizer: Optimizer) -> None:
    def walk(steps: int, state: dict[str, Any] | None = None, at: Tensor | None = None) -> tuple[Any, Tensor]:
        place = torch.nn.Parameter(torch.full((1, 3), 2.0) if at is None else at.clone())
        mover = optimizer.begin([place])
        if state is not None:
            mover.load_state_dict(state)

        def closure() -> float:
            place.grad = 2 * place.detach() * torch.tensor([1.0, 2.0, 3.0])
            return float((place.detach().square() * torch.tensor([1.0, 2.0, 3.0])).sum())

        for _ in range(steps):
            mover.step(closure)
        return mover.state_dict(), place.detach()

    _, whole = walk(9)
    assert whole.norm() < walk(0)[1].norm()
    state, half = walk(4)
    assert torch.equal(walk(5, copy.deepcopy(state), half)[1], whole)


@pytest.mark.parametrize("preset", PRESETS, ids=ids(PRESETS))
@pytest.mark.parametrize("shift", [None, 2.0])
def test_what_a_preset_is_made_of_can_be_given_to_synthesize(preset: Preset, shift: float | None) -> None:
    canvas, optimizer, transforms, regularizers = preset.parts(shift=shift, view=(16, 16))
    network = nets.build("gap")
    prior = preset.prior()
    wanted = Logit(1) if prior is None else Logit(1) + 1e-3 * prior
    result = synthesize(
        network,
        wanted,
        canvas,
        optimizer=optimizer,
        transforms=transforms,
        pixel_regularizers=regularizers,
        steps=2,
        size=(24, 40),
    )
    assert result.images.shape == (1, 3, 24, 40)
    assert preset.bn_weight >= 0
    kinds = [
        preset.kind(target.bind(network)) for target in (Logit(0), Channel("features.2", 1), Neuron("features.2", 1))
    ]
    assert all(isinstance(kind, str) for kind in kinds)
    assert kinds[0] == preset.kind(Logit(3).bind(network))
