"""Class and unit visualization: the picture that a class, a channel or a neuron wants."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from phosphene.core import files, image
from phosphene.core.image import Pixels as Bytes
from phosphene.core.network import Images, Network, Prediction
from phosphene.core.objective import Logit, Objective
from phosphene.core.registry import Named
from phosphene.core.result import Cost
from phosphene.core.targets import parse
from phosphene.synthesis.base import Synthesis, Watch, synthesize
from phosphene.synthesis.canvas import Canvas, Fourier, Pixels
from phosphene.synthesis.edits import Blur, ClipContribution, ClipNorm, Decay, Edit
from phosphene.synthesis.optimizers import Adam, Ascent, Optimizer
from phosphene.synthesis.priors import L2, TotalVariation
from phosphene.synthesis.transforms import Crops, Transform

Target = str | int | Objective
"""A target as text, the index of a class, or an objective."""


@dataclasses.dataclass(frozen=True)
class Manner(Named):
    """A way to make such pictures: a canvas, an optimizer, and what holds the picture together."""

    steps: int = 256

    def parts(self) -> tuple[Canvas, Optimizer, tuple[Transform, ...], tuple[Edit, ...]]:
        """What `synthesize` is given."""
        raise NotImplementedError

    @property
    def redirect(self) -> int:
        """First steps in which silent units are woken."""
        return 0

    def prior(self) -> Objective | None:
        """What the picture itself should be, besides what the target wants."""
        return None


@dataclasses.dataclass(frozen=True)
class Lecture(Manner, name="lecture"):
    """Gradient ascent from the mean color, with the four regularizers of the lecture; each at 0 is off.

    Args:
        steps: how many.
        lr: root mean square of a step, in [0, 1] of pixels.
        decay: share of every pixel that is lost at each step (L2 decay).
        blur: deviation of the Gaussian blur at every fourth step, in pixels.
        clip_norm: share of the pixels of small norm that are cleared at each step.
        clip_contribution: share of the pixels of small contribution that are cleared at each step.

    Reference: Simonyan, Vedaldi & Zisserman, ICLR workshop 2014; Yosinski et al., ICML workshop 2015.
    """

    steps: int = 200
    lr: float = 0.05
    decay: float = 0.01
    blur: float = 0.8
    clip_norm: float = 0.0
    clip_contribution: float = 0.0

    def parts(self) -> tuple[Canvas, Optimizer, tuple[Transform, ...], tuple[Edit, ...]]:
        """Pixels, normalized steps, and those regularizers that are on, in the order of the paper."""
        edits: list[Edit] = [Decay(self.decay)] if self.decay else []
        edits += [Blur(self.blur)] if self.blur else []
        edits += [ClipNorm(self.clip_norm)] if self.clip_norm else []
        edits += [ClipContribution(self.clip_contribution)] if self.clip_contribution else []
        return Pixels(), Ascent(self.lr), (), tuple(edits)


@dataclasses.dataclass(frozen=True)
class Best(Manner, name="best"):
    """Waves of decorrelated colors, seen in random crops, with little noise; smooth, and not far from the mean color.

    Crops of every size and place ask for the thing at every size and place, and for one thing rather than many.

    Args:
        steps: how many.
        lr: of Adam.
        power: of the frequency, by which waves are held back.
        crops: of each picture at each step.
        noise: deviation of what is added to each crop, in [0, 1].
        l2: weight of the squared distance from the mean color, taken off the objective.
        tv: weight of the total variation, taken off the objective.
        wake: first steps in which a gradient that ReLUs stop whole is let through.

    Reference: Olah, Mordvintsev & Schubert, Distill 2017, "Feature Visualization"; the crops after Fel et al., NeurIPS
    2023.
    """

    steps: int = 128
    lr: float = 0.04
    power: float = 1.0
    crops: int = 2
    noise: float = 0.05
    l2: float = 20.0
    tv: float = 200.0
    wake: int = 16

    def parts(self) -> tuple[Canvas, Optimizer, tuple[Transform, ...], tuple[Edit, ...]]:
        """Fourier, Adam, crops."""
        return Fourier(self.power), Adam(self.lr), (Crops(self.crops, 0.3, 1.0, self.noise),), ()

    @property
    def redirect(self) -> int:
        """As told."""
        return self.wake

    def prior(self) -> Objective | None:
        """Both penalties."""
        return -self.l2 * L2() - self.tv * TotalVariation()


@dataclasses.dataclass(frozen=True, eq=False)
class Visualization:
    """Pictures that some targets want, and how far to believe them.

    Args:
        synthesis: the images and how they came about.
        manner: how they were made.
        activations: (N,) each target on its picture as saved: 8 bits, at rest.
        predictions: what the network makes of each saved picture.
        ranks: the place of the target's class among them, from 1; 0 for a target that is no class.
    """

    synthesis: Synthesis
    manner: Manner
    activations: tuple[float, ...]
    predictions: tuple[tuple[Prediction, ...], ...]
    ranks: tuple[int, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The targets."""
        return tuple(map(str, self.synthesis.objectives))

    def pictures(self) -> tuple[Bytes, ...]:
        """uint8 (H, W, 3) each."""
        return tuple(image.levels(each) for each in self.synthesis.images)

    def lines(self) -> tuple[str, ...]:
        """What must be said under each picture."""
        told = []
        rows = zip(self.names, self.activations, self.predictions, self.ranks, strict=True)
        for name, activation, predicted, rank in rows:
            best = predicted[0]
            seen = f"seen as {best.label} ({best.probability:.0%})"
            told.append(f"{name}: {activation:.3g}, {seen}" + (f", rank {rank}" if rank > 1 else ""))
        return tuple(told)

    def save(self, folder: str | Path) -> list[dict[str, Any]]:
        """Write a PNG for each target, and scores.npy with the objective of every step.

        Returns:
            one mapping for each file, as a manifest wants it.

        Raises:
            OutputError: the folder cannot be written.
        """
        folder, written = Path(folder), []
        for number, (name, pixels) in enumerate(zip(self.names, self.pictures(), strict=True)):
            stem = files.slug(name)
            stem = stem if [files.slug(each) for each in self.names].count(stem) == 1 else f"{stem}-{number}"
            path = image.save(folder / f"{stem}.png", pixels)
            facts = {"activation": self.activations[number], "rank": self.ranks[number]}
            written.append({"path": path.name, "kind": "picture", "target": name, **facts})
        files.write_array(folder / "scores.npy", self.synthesis.scores.cpu().numpy())
        return [*written, {"path": "scores.npy", "kind": "table", "shape": list(self.synthesis.scores.shape)}]


def visualize(
    network: Network,
    targets: Target | Sequence[Target],
    *,
    manner: str | Manner = "best",
    size: tuple[int, int] | None = None,
    seed: int = 0,
    watch: Watch | None = None,
) -> Visualization:
    """The pictures that some targets want, all made in one batch. Cost: the manner's steps, forward and backward.

    Args:
        network: whose.
        targets: classes, channels, neurons or sums of them, as the target grammar writes them.
        manner: "best", "lecture", or one of these with its options.
        size: height and width; what the network takes by default.
        seed: of the start and of every transformation.
        watch: is told of each step, and may stop.

    Raises:
        TargetError: no such class or unit.
        LayerError: no such layer.
        OptionError: no such manner.

    >>> found = visualize(tiny, ["features.2:1", 0], manner=Lecture(steps=3))
    >>> found.names, found.synthesis.images.shape, found.synthesis.cost.forwards
    (('features.2:1', 'tabby'), torch.Size([2, 3, 32, 32]), 8)
    """
    wanted = [targets] if isinstance(targets, str | int | Objective) else list(targets)
    objectives = [each if isinstance(each, Objective) else parse(str(each), network) for each in wanted]
    chosen = Manner.find(manner)() if isinstance(manner, str) else manner
    (canvas, optimizer, transforms, edits), prior = chosen.parts(), chosen.prior()
    found = synthesize(
        network,
        [each if prior is None else each + prior for each in objectives],
        canvas,
        size=size,
        transforms=transforms,
        edits=edits,
        optimizer=optimizer,
        steps=chosen.steps,
        redirect=chosen.redirect,
        seed=seed,
        watch=watch,
    )
    plain = tuple(each.bind(network) for each in objectives)
    return judge(network, dataclasses.replace(found, objectives=plain), chosen)


def judge(network: Network, found: Synthesis, manner: Manner) -> Visualization:
    """What the network makes of the pictures as they will be saved. Cost: one forward pass for each."""
    saved = as_saved(found.images)
    activations, predictions, ranks = [], [], []
    with torch.no_grad():
        for number, objective in enumerate(found.objectives):
            read = network.tap(saved[number : number + 1], objective.reads | {"logits", "input"})
            activations.append(objective(read).item())
            logits = read["logits"].flatten(2).amax(2) if read["logits"].ndim > 2 else read["logits"]
            predictions.append(network.read_off(logits)[0])
            ranks.append(_rank(objective, logits[0]))
    cost = found.cost + Cost(forwards=len(saved))
    found = dataclasses.replace(found, cost=cost)
    return Visualization(found, manner, tuple(activations), tuple(predictions), tuple(ranks))


def as_saved(images: Images) -> Images:
    """Images after 8 bits, as a PNG brings them back."""
    return (images * 255).round() / 255


def _rank(objective: Objective, logits: Tensor) -> int:
    if type(objective) is not Logit or isinstance(objective.index, str):
        return 0
    return int((logits > logits[objective.index]).sum()) + 1
