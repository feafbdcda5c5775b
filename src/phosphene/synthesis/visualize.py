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

from phosphene.core import files, image
from phosphene.core.errors import OptionError
from phosphene.core.image import Pixels as Bytes
from phosphene.core.image import resize
from phosphene.core.network import Images, Network, Prediction
from phosphene.core.objective import Logit, Objective
from phosphene.core.result import Cost
from phosphene.core.targets import parse
from phosphene.synthesis.base import Synthesis, Watch, synthesize
from phosphene.synthesis.budget import kept, seconds_of
from phosphene.synthesis.diversity import Diverse
from phosphene.synthesis.manner import Best as Best
from phosphene.synthesis.manner import Lecture as Lecture
from phosphene.synthesis.manner import Manner as Manner
from phosphene.synthesis.state import fingerprint

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
        """The targets; of several pictures of one, with their numbers."""
        plain = [str(each) for each in self.synthesis.objectives]
        seen: Counter[str] = Counter()
        names = []
        for each in plain:
            seen[each] += 1
            names.append(f"{each} #{seen[each]}" if plain.count(each) > 1 else each)
        return tuple(names)

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
            path = image.save(folder / f"{files.slug(name)}.png", pixels)
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
    each: int = 1,
    starts: Images | None = None,
    seconds: float | None = None,
    state: str | Path | None = None,
    seed: int = 0,
    watch: Watch | None = None,
) -> Visualization:
    """The pictures that some targets want, all made in one batch. Cost: the manner's steps, forward and backward.

    Args:
        network: whose.
        targets: classes, channels, neurons or sums of them, as the target grammar writes them.
        manner: "best", "lecture", or one of these with its options.
        size: height and width; what the network takes by default.
        each: pictures of each target; several are pushed apart, see `Diverse`.
        starts: (N, 3, H, W), one for each picture of a target, which then are N and not pushed apart.
        seconds: a budget of time, which then chooses the steps, and the size where it was not given.
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
    (('features.2:1', 'tabby'), torch.Size([2, 3, 32, 32]), 8)
    """
    if each < 1 or (seconds is not None and seconds <= 0):
        raise OptionError(f"{each} pictures of each target in {seconds} s are none; give at least one, and some time")
    chosen = Manner.find(manner)() if isinstance(manner, str) else manner
    plan = _Plan.of(network, targets, chosen, each=each, starts=starts, size=size, seed=seed)
    folder = Path(state) if state else None
    if seconds is not None:
        plan, watch = plan.within(seconds, folder), _until(time.perf_counter() + seconds, watch)
    found = plan.make(state=folder / "pictures.pt" if folder else None, watch=watch)
    return judge(network, dataclasses.replace(found, objectives=plan.objectives), plan.manner)


@dataclasses.dataclass(frozen=True)
class _Plan:
    """Everything that is settled before the first step."""

    network: Network
    objectives: tuple[Objective, ...]
    asked: tuple[Objective, ...]
    manner: Manner
    size: tuple[int, int]
    start: Images | None
    seed: int

    @classmethod
    def of(
        cls,
        network: Network,
        targets: Target | Sequence[Target],
        manner: Manner,
        *,
        each: int,
        starts: Images | None,
        size: tuple[int, int] | None,
        seed: int,
    ) -> _Plan:
        wanted = [targets] if isinstance(targets, str | int | Objective) else list(targets)
        bound = [one.bind(network) if isinstance(one, Objective) else parse(str(one), network) for one in wanted]
        many, prior = each if starts is None else len(starts), manner.prior()
        asked = [Diverse(one, _layer_of(one, network)) if starts is None and each > 1 else one for one in bound]
        asked = [one if prior is None else one + prior for one in asked]
        size = size or network.preprocess.size
        start = None if starts is None else resize(starts, size, "bilinear").repeat(len(bound), 1, 1, 1)
        full = (tuple(one for one in several for _ in range(many)) for several in (bound, asked))
        return cls(network, *full, manner, size, start, seed)

    def make(self, *, state: Path | None = None, watch: Watch | None = None) -> Synthesis:
        """The pictures."""
        canvas, optimizer, transforms, edits = self.manner.parts()
        return synthesize(
            self.network,
            self.asked,
            canvas,
            size=self.size,
            start=self.start,
            transforms=transforms,
            edits=edits,
            optimizer=optimizer,
            steps=self.manner.steps,
            redirect=self.manner.redirect,
            state=state,
            seed=self.seed,
            watch=watch,
        )

    def within(self, seconds: float, folder: Path | None) -> _Plan:
        """The same with the steps that fit into a time; where they are too few, smaller pictures."""
        asked = fingerprint(self, seconds) if folder else ""
        chosen = kept(folder / "budget.json" if folder else None, asked, lambda: self._fit(seconds))
        size, steps = (chosen["height"], chosen["width"]), chosen["steps"]
        start = None if self.start is None else resize(self.start, size, "bilinear")
        return dataclasses.replace(self, size=size, start=start, manner=dataclasses.replace(self.manner, steps=steps))

    def _fit(self, seconds: float) -> dict[str, int]:
        for share in (1.0, 0.75, 0.5):
            size = (round(self.size[0] * share), round(self.size[1] * share))
            start = None if self.start is None else resize(self.start, size, "bilinear")
            trial = dataclasses.replace(
                self, size=size, start=start, manner=dataclasses.replace(self.manner, steps=_TRIED)
            )
            steps = int(0.9 * seconds / seconds_of(trial.make) * _TRIED)
            if steps >= _FEW:
                break
        return {"height": size[0], "width": size[1], "steps": min(max(steps, 8), _MANY * self.manner.steps)}


def _until(deadline: float, watch: Watch | None) -> Watch:
    """A watcher that also stops at a time."""

    def tell(step: int, images: Images, scores: Tensor) -> bool:
        told = watch is not None and watch(step, images, scores)
        return bool(told) or time.perf_counter() > deadline

    return tell


def _layer_of(objective: Objective, network: Network) -> str:
    """The deepest layer with maps that an objective reads; of a class, the last of the network."""
    maps = [name for name, each in network.layers.items() if each.spatial]
    read = [name for name in maps if name in objective.reads]
    if not maps:
        raise OptionError(f"{network.name} has no maps, so its pictures cannot be pushed apart; make one of each")
    return (read or maps)[-1]


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


_TRIED, _FEW, _MANY = 2, 64, 4  # steps to time; steps below which smaller is better; times the manner's own
