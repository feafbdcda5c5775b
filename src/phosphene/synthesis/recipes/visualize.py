"""Class and unit visualization: the picture that a class, a channel or a neuron wants."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from phosphene.core import files
from phosphene.core.errors import OptionError
from phosphene.core.images import image
from phosphene.core.images.image import Uint8Image, check_size
from phosphene.core.inputs import Target, bind_targets
from phosphene.core.networks.autograd_modes import default_modes
from phosphene.core.networks.network import Images, Network, Prediction
from phosphene.core.objectives.classes import Logit
from phosphene.core.objectives.objective import Objective
from phosphene.core.result import Cost
from phosphene.synthesis.loop.evaluation import Precision
from phosphene.synthesis.loop.loop import Synthesis, Watch
from phosphene.synthesis.recipes.groups import plans, together
from phosphene.synthesis.recipes.preset import Best as Best
from phosphene.synthesis.recipes.preset import Lecture as Lecture
from phosphene.synthesis.recipes.preset import Manner as Manner


@dataclasses.dataclass(frozen=True, eq=False)
class Visualization:
    """Pictures that some targets want, and how far to believe them.

    Args:
        synthesis: the images and how they came about.
        manner: how they were asked for; the notes say what the network wanted otherwise.
        targets: (N,) what they were made for; `synthesis.objectives` where on a smaller canvas that is.
        activations: (N,) each target on its picture as saved: 8 bits, at rest; of a class, at the network's size.
        predictions: what the network makes of each saved picture, best first; none for units that are painted on
            another size.
        ranks: the place of the target's class among them, from 1; 0 for a target that is no class.
    """

    synthesis: Synthesis
    manner: Manner
    targets: tuple[Objective, ...]
    activations: tuple[float, ...]
    predictions: tuple[tuple[Prediction, ...], ...]
    ranks: tuple[int, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The targets; of several pictures of one, with their numbers."""
        plain = [str(each) for each in self.targets]
        seen: Counter[str] = Counter()
        names = []
        for each in plain:
            seen[each] += 1
            names.append(f"{each} #{seen[each]}" if plain.count(each) > 1 else each)
        return tuple(names)

    def pictures(self) -> tuple[Uint8Image, ...]:
        """uint8 (H, W, 3) each."""
        return tuple(image.levels(each) for each in self.synthesis.images)

    def lines(self) -> tuple[str, ...]:
        """What must be said under each picture."""
        told = []
        for name, activation, best, rank in zip(
            self.names, self.activations, self.predictions, self.ranks, strict=True
        ):
            parts = [f"{name}: {activation:.3g}"]
            parts += [f"seen as {best[0].label} ({best[0].probability:.0%})"] if best else []
            parts += [f"rank {rank}"] if rank > 1 else []
            told.append(", ".join(parts))
        return tuple(told)

    def save(self, folder: str | Path) -> list[dict[str, Any]]:
        """Write a PNG for each target, and scores.npy with the objective of every step.

        Returns:
            one mapping for each file, as a manifest wants it.

        Raises:
            OutputError: the folder cannot be written.
        """
        folder, written, taken = Path(folder), [], set[str]()
        for number, (name, pixels) in enumerate(zip(self.names, self.pictures(), strict=True)):
            path = image.save(folder / f"{files.unused(files.slug(name), taken)}.png", pixels)
            facts = {"activation": self.activations[number], "rank": self.ranks[number]}
            written.append({"path": path.name, "kind": "picture", "target": name, **facts})
        files.write_array(folder / "scores.npy", self.synthesis.scores.cpu().numpy())
        return [*written, {"path": "scores.npy", "kind": "table", "shape": list(self.synthesis.scores.shape)}]


@default_modes
def visualize(
    network: Network,
    targets: Target | Sequence[Target],
    *,
    manner: str | Manner = "best",
    size: tuple[int, int] | None = None,
    each: int = 1,
    starts: Images | None = None,
    seconds: float | None = None,
    precision: Precision = "float32",
    state: str | Path | None = None,
    seed: int = 0,
    watch: Watch | None = None,
) -> Visualization:
    """The pictures that some targets want. Cost: the manner's steps, forward and backward.

    Targets of a kind are made in one batch; classes, channels and neurons one after the other, each in their own way.

    Args:
        network: whose.
        targets: classes, channels, neurons or sums of them, as the target grammar writes them.
        manner: "best", "lecture", or one of these with its options.
        size: height and width; what the network takes by default.
        each: pictures of each target; several are pushed apart, see `Diverse`.
        starts: (N, 3, H, W), one for each picture of a target, which then are N and not pushed apart.
        seconds: a budget of time, which then chooses the steps, and the size where it was not given.
        precision: of the network's multiplications; see `synthesize`.
        state: a folder to keep the state in: what was killed goes on from there to the same bytes.
        seed: of the start and of every transformation.
        watch: is told of each step, and may stop.

    Raises:
        TargetError: no such class or unit.
        LayerError: no such layer.
        OptionError: no such manner; a budget or a number of pictures that makes none.
        OutputError: the state cannot be written.

    >>> found = visualize(tiny, ["features.2:1", 0], manner=Lecture(steps=3))
    >>> found.names, found.synthesis.images.shape, found.synthesis.cost.forwards
    (('features.2:1', 'tabby'), torch.Size([2, 3, 32, 32]), 25)
    """
    begun = time.perf_counter()
    bound = bind_targets(network, targets)
    if size is not None:
        check_size(size)
    if not bound or each < 1 or (seconds is not None and seconds <= 0):
        limit = "" if seconds is None else f" in {seconds} s"
        raise OptionError(
            f"{each} pictures of each of {len(bound)} targets{limit} are none; give at least one, and some time"
        )
    chosen = Manner.find(manner)() if isinstance(manner, str) else manner
    several = plans(network, bound, chosen, each=each, starts=starts, size=size, precision=precision, seed=seed)
    found = together(several, begun=begun, seconds=seconds, folder=Path(state) if state else None, watch=watch)
    named = tuple(one for one in bound for _ in range(several[0].each))
    judged, notes = judge(network, found, chosen, targets=named), [*found.notes]
    for plan in several:
        reached = [judged.activations[place] for place in plan.places]
        best = [max(reached[first : first + plan.each]) for first in range(0, len(reached), plan.each)]
        notes += plan.findings.verdicts(best)
    cost = sum((plan.findings.cost for plan in several), judged.synthesis.cost).since(begun)
    return dataclasses.replace(judged, synthesis=dataclasses.replace(judged.synthesis, notes=tuple(notes), cost=cost))


def judge(
    network: Network, found: Synthesis, manner: Manner, *, targets: tuple[Objective, ...] | None = None
) -> Visualization:
    """What the network makes of the pictures as they will be saved. Cost: one forward pass for each.

    Args:
        network: that they were made for.
        found: the pictures, and what to read of them.
        manner: how they were made.
        targets: what they were made for, where that is called otherwise.
    """
    activations, predictions, ranks = [], [], []
    with torch.no_grad():
        for objective, each in zip(found.objectives, found.images, strict=True):
            shown = as_read(each[None], objective, network)
            whole = tuple(shown.shape[2:]) == network.preprocess.size
            read = network.tap(shown, objective.reads | {"input"} | ({"logits"} if whole else set()))
            activations.append(objective(read).item())
            logits = read.get("logits")
            logits = logits.flatten(2).amax(2) if logits is not None and logits.ndim > 2 else logits
            predictions.append(() if logits is None else network.top_classes(logits)[0])
            ranks.append(0 if logits is None else _rank(objective, logits[0]))
    cost = found.cost + Cost(forwards=len(found.images))
    found = dataclasses.replace(found, cost=cost)
    return Visualization(
        found, manner, targets or found.objectives, tuple(activations), tuple(predictions), tuple(ranks)
    )


def as_saved(images: Images) -> Images:
    """Images after 8 bits, as a PNG brings them back."""
    return (images * 255).round() / 255


def as_read(images: Images, objective: Objective, network: Network) -> Images:
    """Images as saved, and read again: for a class at the size that the network takes, as photographs are.

    Args:
        images: (N, 3, H, W).
        objective: what will be read of them.
        network: that will be shown them.
    """
    size, saved = network.preprocess.size, as_saved(images)
    other = "logits" in objective.reads and tuple(images.shape[2:]) != size
    return image.resize(saved, size) if other else saved


def _rank(objective: Objective, logits: Tensor) -> int:
    if not isinstance(objective, Logit) or isinstance(objective.index, str):
        return 0
    return int((logits > logits[objective.index]).sum()) + 1
