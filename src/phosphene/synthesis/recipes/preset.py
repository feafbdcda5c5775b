"""The manners in which pictures of classes and units are made: what holds a picture together."""

from __future__ import annotations

import dataclasses
from typing import Literal

from phosphene.core.errors import OptionError
from phosphene.core.objectives.objective import Objective
from phosphene.core.registry import Named
from phosphene.synthesis.canvas.canvas import Canvas, Fourier, Pixels, Start
from phosphene.synthesis.loop.optimizers import Adam, Ascent, Optimizer
from phosphene.synthesis.losses.priors import L2, TotalVariation
from phosphene.synthesis.recipes.window import placed
from phosphene.synthesis.transforms.pixel_regularizers import Blur, ClipContribution, ClipNorm, Decay, Edit
from phosphene.synthesis.transforms.transforms import Affine, ColorShift, Crops, Flip, Transform

Parts = tuple[Canvas, Optimizer, tuple[Transform, ...], tuple[Edit, ...]]


@dataclasses.dataclass(frozen=True)
class Manner(Named):
    """A way to make such pictures: a canvas, an optimizer, and what holds the picture together."""

    steps: int = 256
    patience: int = 0

    def __post_init__(self) -> None:
        low = [name for name, value in vars(self).items() if isinstance(value, int | float) and value < 0]
        if low:
            raise OptionError(f"{low[0]} of {self.name} is {getattr(self, low[0])}; it wants at least 0")

    def parts(self, *, still: float | None = None, seen: tuple[int, int] | None = None) -> Parts:
        """What `synthesize` is given.

        Args:
            still: pixels by which the picture may be moved, where the target is at a place; else as far as one likes.
            seen: height and width at which the network is shown the picture, or crops of it; its own by default.
        """
        raise NotImplementedError

    def prior(self, share: float = 1.0) -> Objective | None:  # noqa: ARG002  none at all
        """What the picture itself should be, besides what the target wants.

        Args:
            share: of the side of the picture that the target looks at: colors that only a few pixels may have go far.
        """
        return None

    @property
    def familiar(self) -> float:
        """Weight of the distance from the statistics that batch norms remember, in pictures of classes."""
        return 0.0

    def kind(self, target: Objective) -> str:  # noqa: ARG002  one kind
        """What sort of target it is: pictures of one sort are made alike, and in one batch."""
        return ""


@dataclasses.dataclass(frozen=True)
class Lecture(Manner, name="lecture"):
    """Gradient ascent from the mean color, with the four regularizers of the lecture; each at 0 is off.

    Args:
        steps: how many.
        patience: end once so many steps brought nothing; 0 never does.
        lr: root mean square of a step, in [0, 1] of pixels.
        start: "mean", the zero image of the notes, or "noise" around it.
        l2: weight of the squared distance from the mean color, taken off the logit: λ of S - λ‖I‖².
        decay: share of every pixel that is lost at each step (L2 decay).
        blur: deviation of the Gaussian blur at every fourth step, in pixels.
        clip_norm: share of the pixels of small norm that are cleared at each step.
        clip_contribution: share of the pixels of small contribution that are cleared at each step.

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

    def parts(self, *, still: float | None = None, seen: tuple[int, int] | None = None) -> Parts:  # noqa: ARG002  all is seen
        """Pixels, normalized steps, and those regularizers that are on, in the order of the paper."""
        edits: list[Edit] = [Decay(self.decay)] if self.decay else []
        edits += [Blur(self.blur)] if self.blur else []
        edits += [ClipNorm(self.clip_norm)] if self.clip_norm else []
        edits += [ClipContribution(self.clip_contribution)] if self.clip_contribution else []
        return Pixels(self.start), Ascent(self.lr), (), tuple(edits)

    def prior(self, share: float = 1.0) -> Objective | None:
        """The penalty of the first formula, where it is on."""
        return -(self.l2 / share) * L2() if self.l2 else None


@dataclasses.dataclass(frozen=True)
class Best(Manner, name="best"):
    """Waves of decorrelated colors, seen in random crops, colors and mirrors; smooth, and not far from the mean color.

    Crops of every size and place ask for the thing at every size and place, and for one thing rather than many.

    Args:
        steps: how many.
        patience: end once so many steps brought nothing; 0 never does.
        lr: of Adam.
        canvas: what is painted on.
        power: of the frequency, by which the waves of "fourier" are held back.
        crops: of each picture at each step.
        least: side of the smallest crop, as a share of the picture's.
        noise: deviation of what is added to each crop, in [0, 1].
        recolor: largest change of each color's contrast, as a logarithm; of its brightness, a third of that.
        mirror: whether half of the crops are mirrored.
        l2: weight of the squared distance from the mean color, taken off the objective.
        tv: weight of the total variation, taken off the objective.
        bn: weight of the distance from the statistics that batch norms remember of the training images, taken off the
            objective of a class.
        wake: first steps in which a gradient that ReLUs stop whole is let through.

    Reference: Olah, Mordvintsev & Schubert, Distill 2017, "Feature Visualization"; the crops after Fel et al., NeurIPS
    2023, the colors after Ghiasi et al., ICML 2022, the statistics after Yin et al., CVPR 2020, "DeepInversion".
    """

    steps: int = 128
    lr: float = 0.04
    canvas: Literal["fourier", "maco", "pyramid"] = "fourier"
    power: float = 1.0
    crops: int = 2
    least: float = 0.3
    noise: float = 0.05
    recolor: float = 0.3
    mirror: bool = True
    l2: float = 20.0
    tv: float = 200.0
    bn: float = 30.0
    wake: int = 16

    def parts(self, *, still: float | None = None, seen: tuple[int, int] | None = None) -> Parts:
        """A canvas, Adam, and what is done to the picture before it is seen."""
        canvas = Fourier(self.power) if self.canvas == "fourier" else Canvas.find(self.canvas)()
        lr = self.lr * (_PHASES if self.canvas == "maco" else 1)
        moves: Transform = (
            Crops(self.crops, self.least, 1.0, self.noise, seen) if still is None else Affine(still, (0.95, 1.05), 5)
        )
        transforms = [moves, ColorShift(self.recolor, self.recolor / 3)] if self.recolor else [moves]
        transforms += [Flip()] if self.mirror and still is None else []
        return canvas, Adam(lr), tuple(transforms), ()

    @property
    def familiar(self) -> float:
        """As told."""
        return self.bn

    def kind(self, target: Objective) -> str:
        """Neurons stay at their place, units keep their size and hand, classes are to be seen anyhow."""
        return "neuron" if placed([target]) else "class" if target.reads == {"logits"} else "unit"

    def prior(self, share: float = 1.0) -> Objective | None:
        """Both penalties; "maco" cannot become loud or rough, and needs none."""
        return None if self.canvas == "maco" else -(self.l2 / share) * L2() - self.tv * TotalVariation()


_PHASES = 8  # an angle goes farther than the height of a wave before the picture is another
