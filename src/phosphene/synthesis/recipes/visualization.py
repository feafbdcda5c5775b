"""Pictures of targets, and what the network recognizes in them as they are saved."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from phosphene.core import files
from phosphene.core.networks.network import Network, Prediction
from phosphene.core.objectives.classes import Logit
from phosphene.core.objectives.objective import Objective
from phosphene.core.result import Cost, File
from phosphene.synthesis.loop.synthesis import Synthesis, numbered
from phosphene.synthesis.recipes.as_saved import as_read, recognize
from phosphene.synthesis.settings.preset import Preset


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Visualization(Synthesis):
    """Pictures that maximize targets, with the activations that they reach.

    Args:
        preset: as it was asked for; the notes say where the network wanted other options.
        targets: (N,), what the pictures were made for; `objectives` are the same on the canvas, which may be a window.
        activations: (N,), each target on its picture as saved: 8 bits, at rest; of a class, at the network's size.
        recognized: (N,), classes of each saved picture, best first; none for units on a canvas of another size.
        ranks: (N,), place of the target's class among all, from 1; 0 for a target that is no class.
    """

    verb: str = "visualize"
    preset: Preset
    targets: tuple[Objective, ...]
    activations: tuple[float, ...]
    recognized: tuple[tuple[Prediction, ...], ...]
    ranks: tuple[int, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The targets; of several pictures of one, with their numbers."""
        return numbered(map(str, self.targets))

    @property
    def target(self) -> str:
        """The names."""
        return ", ".join(self.names)

    def lines(self) -> tuple[str, ...]:
        """Activation, recognized class and rank of each picture."""
        lines = []
        rows = zip(self.names, self.activations, self.recognized, self.ranks, strict=True)
        for name, activation, classes, rank in rows:
            parts = [f"{name}: {activation:.3g}"]
            parts += [f"seen as {classes[0].label} ({classes[0].probability:.0%})"] if classes else []
            parts += [f"rank {rank}"] if rank > 1 else []
            lines.append(", ".join(parts))
        return tuple(lines)

    def files(self) -> Iterator[File]:
        """A PNG for each picture, scores.npy with the objective of every step, and the film of the steps."""
        taken = set[str]()
        rows = zip(self.names, self.pictures(), self.activations, self.ranks, strict=True)
        for name, pixels, activation, rank in rows:
            path = f"{files.unused(files.slug(name), taken)}.png"
            yield File.picture(path, pixels, target=name, activation=activation, rank=rank)
        yield File.array("scores.npy", self.scores.cpu().numpy(), kind="table")
        yield from self.step_files()

    def facts(self) -> Mapping[str, Any]:
        """`results`: what is known of each picture."""
        rows = zip(self.names, self.activations, self.recognized, self.ranks, strict=True)
        return {
            "results": [
                {
                    "target": name,
                    "activation": activation,
                    "rank": rank or None,
                    "predictions": [prediction._asdict() for prediction in classes],
                }
                for name, activation, classes, rank in rows
            ]
        }


def evaluate_pictures(
    network: Network, synthesis: Synthesis, preset: Preset, targets: Sequence[Objective] | None = None
) -> Visualization:
    """What the network makes of pictures as they will be saved. Cost: one forward pass for each, which is counted.

    Args:
        network: that they were made for.
        synthesis: the pictures, and what to read of them.
        preset: that they were made with.
        targets: (N,), what they were made for; the objectives of the synthesis by default.
    """
    activations, recognized, ranks = [], [], []
    with torch.no_grad():
        for objective, pixels in zip(synthesis.objectives, synthesis.images, strict=True):
            shown = as_read(pixels[None], objective, network)
            whole = tuple(shown.shape[2:]) == network.preprocess.size
            read = network.tap(shown, objective.reads | {"input"} | ({"logits"} if whole else set()))
            logits = read.get("logits")
            activations.append(objective(read).item())
            recognized.append(() if logits is None else recognize(network, logits)[0])
            ranks.append(0 if logits is None else _rank(objective, logits))
    same = {field.name: getattr(synthesis, field.name) for field in dataclasses.fields(synthesis)}
    return Visualization(
        **{**same, "cost": synthesis.cost + Cost(forwards=len(synthesis.images))},
        preset=preset,
        targets=tuple(targets or synthesis.objectives),
        activations=tuple(activations),
        recognized=tuple(recognized),
        ranks=tuple(ranks),
    )


def _rank(objective: Objective, logits: Tensor) -> int:
    """Place of the class of an objective among logits (1, K) or (1, K, H, W), from 1; 0 for no class."""
    if not isinstance(objective, Logit) or isinstance(objective.index, str):
        return 0
    scores = logits[0].flatten(1).amax(1) if logits.ndim > 2 else logits[0]
    return int((scores > scores[objective.index]).sum()) + 1
