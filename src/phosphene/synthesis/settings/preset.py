"""Presets: settings that pictures of classes and units are made with."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Self

from phosphene.core.errors import OptionError
from phosphene.core.objectives.objective import Objective
from phosphene.core.registry import Named
from phosphene.synthesis.canvas.canvas import Canvas, Fourier, Pixels, Start
from phosphene.synthesis.loop.optimizers import Adam, Ascent, Optimizer
from phosphene.synthesis.losses.priors import L2, TotalVariation
from phosphene.synthesis.settings.window import has_neuron
from phosphene.synthesis.transforms.pixel_regularizers import (
    Blur,
    ClipContribution,
    ClipNorm,
    Decay,
    PixelRegularizer,
)
from phosphene.synthesis.transforms.transforms import Affine, ColorShift, Crops, Flip, Transform

if TYPE_CHECKING:
    from phosphene.synthesis.settings.probe import NetworkProbe

Kind = Literal["class", "unit", "neuron"]


class Parts(NamedTuple):
    """What a preset gives to `synthesize`."""

    canvas: Canvas
    optimizer: Optimizer
    transforms: tuple[Transform, ...] = ()
    pixel_regularizers: tuple[PixelRegularizer, ...] = ()


@dataclasses.dataclass(frozen=True)
class Preset(Named):
    """Settings for pictures of classes and units: canvas, optimizer, transforms, regularizers, priors.

    A preset is one class in one file: `parts` is enough; the other methods have defaults.
    """

    steps: int = 256
    patience: int = 0

    def __post_init__(self) -> None:
        low = [name for name, value in vars(self).items() if isinstance(value, int | float) and value < 0]
        if low:
            raise OptionError(f"{low[0]} of {self.name} is {getattr(self, low[0])}; it wants at least 0")

    def parts(self, *, shift: float | None = None, view: tuple[int, int] | None = None) -> Parts:
        """What `synthesize` is given.

        Args:
            shift: pixels by which the picture may be moved, where the target is a neuron; else there is no limit.
            view: height and width at which the network sees the picture, or crops of it; its own by default.
        """
        raise NotImplementedError

    def prior(self, share: float = 1.0) -> Objective | None:  # noqa: ARG002  none
        """Priors that are added to the target; None for none.

        Args:
            share: of the side of the picture that the target depends on.
        """
        return None

    @property
    def bn_weight(self) -> float:
        """Weight of the batch-norm prior in pictures of classes."""
        return 0.0

    @property
    def redirect_steps(self) -> int:
        """First steps with redirected ReLUs, where no gradient of a target reaches the first picture."""
        return 16

    def kind(self, target: Objective) -> str:  # noqa: ARG002  one kind
        """The kind of a target: pictures of one kind are made with the same settings, in one batch."""
        return ""

    def prior_weight(self, target: Objective) -> float:  # noqa: ARG002  the same for all
        """Factor of the prior for a target."""
        return 1.0

    def adjusted(self, probe: NetworkProbe, size: tuple[int, int]) -> tuple[Self, tuple[str, ...]]:  # noqa: ARG002  none
        """The same with options that suit a network and targets, of those that have their defaults, and the reasons.

        Args:
            probe: of the network and the targets.
            size: height and width of the pictures.
        """
        return self, ()

    def diverse(self) -> Self:
        """The same for several pictures of one target, which must differ at the start."""
        return self

    def is_default(self, name: str) -> bool:
        """Whether an option has its default, and may be adjusted."""
        return bool(getattr(self, name) == {option.name: option.default for option in self.options()}[name])


@dataclasses.dataclass(frozen=True)
class Lecture(Preset, name="lecture"):
    """Gradient ascent on pixels from the mean color, with four pixel regularizers; each at 0 is off.

    Args:
        steps: how many.
        patience: steps without progress after which it ends; 0 never ends it.
        lr: root mean square of a step, in [0, 1] of pixels.
        start: "mean", the zero image of Simonyan et al., or "noise" around it.
        l2: weight λ of the squared distance from the mean color, S - λ‖I‖².
        decay: share of every pixel that is lost at each step (L2 decay).
        blur: deviation of the Gaussian blur at every fourth step, in pixels.
        clip_norm: share of the pixels, those of small norm, that become the mean color at each step.
        clip_contribution: share of the pixels, those of small contribution, that become the mean color at each step.

    Reference: Simonyan, Vedaldi & Zisserman, ICLR workshop 2014; Yosinski et al., ICML workshop 2015.
    """

    steps: int = 200
    lr: float = 0.05
    start: Start = "mean"
    l2: float = 0.0
    decay: float = 0.01
    blur: float = 0.8
    clip_norm: float = 0.0
    clip_contribution: float = 0.0

    def parts(self, *, shift: float | None = None, view: tuple[int, int] | None = None) -> Parts:  # noqa: ARG002  no transforms
        """Pixels, normalized steps, and the regularizers that are on, in the order of the paper."""
        regularizers: list[PixelRegularizer] = [Decay(self.decay)] if self.decay else []
        regularizers += [Blur(self.blur)] if self.blur else []
        regularizers += [ClipNorm(self.clip_norm)] if self.clip_norm else []
        regularizers += [ClipContribution(self.clip_contribution)] if self.clip_contribution else []
        return Parts(Pixels(self.start), Ascent(self.lr), (), tuple(regularizers))

    def prior(self, share: float = 1.0) -> Objective | None:
        """The L2 penalty, where it is on."""
        return -(self.l2 / share) * L2() if self.l2 else None

    def diverse(self) -> Self:
        """From noise: the gradients of equal pictures are equal."""
        return dataclasses.replace(self, start="noise")


@dataclasses.dataclass(frozen=True)
class Best(Preset, name="best"):
    """Fourier coefficients of decorrelated colors, seen in random crops, colors and mirror images, with three priors.

    Random crops ask for the object at every size and place, and for one object rather than many.

    Args:
        steps: how many.
        patience: steps without progress after which it ends; 0 never ends it.
        lr: of Adam.
        canvas: parameterization of the pictures.
        power: of the frequency, by which the coefficients of "fourier" are divided.
        crops: of each picture at each step.
        min_crop: side of the smallest crop, as a share of the picture's.
        noise: deviation of the noise that is added to each crop, in [0, 1].
        color_shift: largest change of each color's contrast, as a logarithm; of its brightness, a third of that.
        mirror: whether half of the crops are mirrored.
        l2: weight of the squared distance from the mean color, taken off the objective.
        tv: weight of the total variation, taken off the objective.
        bn_weight: weight of the batch-norm prior, taken off the objective of a class.
        redirect_steps: first steps with redirected ReLUs, where no gradient of a target reaches the first picture.

    Reference: Olah, Mordvintsev & Schubert, Distill 2017, "Feature Visualization"; the crops after Fel et al., NeurIPS
    2023, the colors after Ghiasi et al., ICML 2022, the batch-norm prior after Yin et al., CVPR 2020, "DeepInversion".
    """

    steps: int = 128
    lr: float = 0.04
    canvas: Literal["fourier", "maco", "pyramid"] = "fourier"
    power: float = 1.0
    crops: int = 2
    min_crop: float = 0.3
    noise: float = 0.05
    color_shift: float = 0.3
    mirror: bool = True
    l2: float = 20.0
    tv: float = 200.0
    bn_weight: float = 30.0
    redirect_steps: int = 16

    UNUSED: ClassVar[dict[str, tuple[str, ...]]] = {"maco": ("power", "l2", "tv"), "pyramid": ("power",)}
    """Options without effect, by canvas."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.UNUSED.get(self.canvas, ()):
            if not self.is_default(name):
                raise OptionError(f"{name} has no effect with the canvas {self.canvas}; leave one of both out")

    def parts(self, *, shift: float | None = None, view: tuple[int, int] | None = None) -> Parts:
        """A canvas, Adam, and the transforms."""
        canvas = Fourier(self.power) if self.canvas == "fourier" else Canvas.find(self.canvas)()
        lr = self.lr * (_PHASES if self.canvas == "maco" else 1)
        moves: Transform = (
            Crops(self.crops, self.min_crop, 1.0, self.noise, view) if shift is None else Affine(shift, (0.95, 1.05), 5)
        )
        transforms = [moves, ColorShift(self.color_shift, self.color_shift / 3)] if self.color_shift else [moves]
        transforms += [Flip()] if self.mirror and shift is None else []
        return Parts(canvas, Adam(lr), tuple(transforms))

    def prior(self, share: float = 1.0) -> Objective | None:
        """L2 and total variation; none for "maco", whose spectrum bounds both."""
        return None if self.canvas == "maco" else -(self.l2 / share) * L2() - self.tv * TotalVariation()

    def kind(self, target: Objective) -> Kind:
        """Neurons are neither cropped nor mirrored, other units neither rescaled nor mirrored, classes both."""
        return "neuron" if has_neuron([target]) else "class" if target.reads == {"logits"} else "unit"

    def prior_weight(self, target: Objective) -> float:
        """Less for units, whose patterns are often fine, more for neurons, which change few pixels strongly."""
        return _PRIOR_WEIGHTS[self.kind(target)]

    def adjusted(self, probe: NetworkProbe, size: tuple[int, int]) -> tuple[Self, tuple[str, ...]]:
        """No mirror images or rescaling where these matter, no colors where none are seen, gentle crops if small."""
        side, targets = min(size), [target.target for target in probe.targets]
        options: dict[str, tuple[Any, str]] = {}
        if any(target.reads != {"logits"} for target in targets):
            options["mirror"] = False, ""  # an edge and its mirror image are two features
        if probe.mirror_difference > _ASYMMETRIC:
            share = f"{probe.mirror_difference:.0%}"
            options["mirror"] = False, f"left and right mean something to the network ({share}): no crop is mirrored"
        if all(target.reads != {"logits"} for target in targets):
            options["min_crop"] = _UNSCALED, ""  # a unit responds to its pattern at one size
        if probe.grey:
            options["color_shift"] = 0.0, "the network sees no colors: the pictures are grey"
        if side < _SMALL:
            # The offsets of the smallest crops should cover a stride of the deepest map.
            crop = min(_GENTLE, side / (side + probe.stride))
            options["min_crop"] = (
                crop,
                f"pictures of {size[0]} × {size[1]} are small: crops keep {crop:.0%} of the side",
            )
        if self.canvas != "maco":  # the same picture in fewer pixels has steeper edges
            options["tv"] = self.tv * (side / _TUNED) ** 2, ""
        free = {name: option for name, option in options.items() if self.is_default(name)}
        notes = [note for _, note in free.values() if note]
        if has_neuron(targets):
            notes.append(_NEURONS)
        return dataclasses.replace(self, **{name: value for name, (value, _) in free.items()}), tuple(notes)


_PHASES = 8  # times Adam's lr: phases have to change more than coefficients for the same change of the picture
_PRIOR_WEIGHTS = {"class": 1.0, "unit": 0.1, "neuron": 2.0}
_ASYMMETRIC = 0.15  # networks of photographs have a mirror difference of 0.02 … 0.06, one of digits 0.3
_SMALL, _GENTLE = 64, 0.8  # pixels; share of the side that crops of small pictures should keep
_UNSCALED = 0.85  # share of the side that crops keep for units
_TUNED = 224  # side, in pixels, for which `tv` was chosen
_NEURONS = "a neuron is at its place: all pictures are moved a little at each step, neither cropped nor mirrored"
