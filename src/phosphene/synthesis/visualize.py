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
from phosphene.core.result import Cost
from phosphene.core.targets import parse
from phosphene.synthesis.base import Synthesis, Watch, synthesize
from phosphene.synthesis.manner import Best as Best
from phosphene.synthesis.manner import Lecture as Lecture
from phosphene.synthesis.manner import Manner as Manner

Target = str | int | Objective
"""A target as text, the index of a class, or an objective."""


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
