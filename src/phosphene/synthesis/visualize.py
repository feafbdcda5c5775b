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
from phosphene.core.objective import Logit, Neuron, Objective
from phosphene.core.result import Cost
from phosphene.core.targets import parse
from phosphene.synthesis.base import Synthesis, Watch, synthesize
from phosphene.synthesis.budget import kept, seconds_of
from phosphene.synthesis.diversity import Diverse
from phosphene.synthesis.manner import Best as Best
from phosphene.synthesis.manner import Lecture as Lecture
from phosphene.synthesis.manner import Manner as Manner
from phosphene.synthesis.state import fingerprint
from phosphene.synthesis.window import shared, terms

Target = str | int | Objective
"""A target as text, the index of a class, or an objective."""


@dataclasses.dataclass(frozen=True, eq=False)
class Visualization:
    """Pictures that some targets want, and how far to believe them.

    Args:
        synthesis: the images and how they came about.
        manner: how they were made.
        targets: (N,) what they were made for; `synthesis.objectives` where on a smaller canvas that is.
        activations: (N,) each target on its picture as saved: 8 bits, at rest.
        predictions: what the network makes of each saved picture, best first; none where it is smaller than the network
            takes.
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

    def pictures(self) -> tuple[Bytes, ...]:
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
    found = dataclasses.replace(found, objectives=plan.shown, notes=(*plan.notes, *found.notes))
    return judge(network, found, plan.manner, plan.targets)


@dataclasses.dataclass(frozen=True)
class _Plan:
    """Everything that is settled before the first step."""

    network: Network
    targets: tuple[Objective, ...]
    shown: tuple[Objective, ...]
    asked: tuple[Objective, ...]
    manner: Manner
    size: tuple[int, int]
    start: Images | None
    seed: int
    notes: tuple[str, ...]

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
        windows = shared(network, bound, margin=_MARGIN) if size is None and starts is None else None
        shown = [one.objective for one in windows] if windows else bound
        notes = ("painted on {} × {}: nothing else is seen".format(*windows[0].size),) if windows else ()
        size = size or (windows[0].size if windows else network.preprocess.size)
        apart = starts is None and each > 1
        asked = [Diverse(one, _layer_of(one, network)) if apart else one for one in shown]
        asked = [one if prior is None else one + prior for one in asked]
        start = None if starts is None else resize(starts, size, "bilinear").repeat(len(bound), 1, 1, 1)
        bound, shown, asked = ([one for one in several for _ in range(many)] for several in (bound, shown, asked))
        return cls(network, tuple(bound), tuple(shown), tuple(asked), manner, size, start, seed, notes)

    def make(self, *, state: Path | None = None, watch: Watch | None = None) -> Synthesis:
        """The pictures."""
        placed = any(isinstance(term, Neuron) for one in self.shown for term in terms(one))
        canvas, optimizer, transforms, edits = self.manner.parts(placed=placed)
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


def judge(
    network: Network, found: Synthesis, manner: Manner, targets: tuple[Objective, ...] | None = None
) -> Visualization:
    """What the network makes of the pictures as they will be saved. Cost: one forward pass for each.

    Args:
        network: that they were made for.
        found: the pictures, and what to read of them.
        manner: how they were made.
        targets: what they were made for, where that is called otherwise.
    """
    saved = as_saved(found.images)
    whole = tuple(saved.shape[2:]) == network.preprocess.size
    activations, predictions, ranks = [], [], []
    with torch.no_grad():
        for number, objective in enumerate(found.objectives):
            classes = whole or "logits" in objective.reads
            read = network.tap(
                saved[number : number + 1], objective.reads | {"input"} | ({"logits"} if classes else set())
            )
            activations.append(objective(read).item())
            logits = read.get("logits")
            logits = logits.flatten(2).amax(2) if logits is not None and logits.ndim > 2 else logits
            predictions.append(() if logits is None else network.read_off(logits)[0])
            ranks.append(0 if logits is None else _rank(objective, logits[0]))
    cost = found.cost + Cost(forwards=len(saved))
    found = dataclasses.replace(found, cost=cost)
    return Visualization(
        found, manner, targets or found.objectives, tuple(activations), tuple(predictions), tuple(ranks)
    )


def as_saved(images: Images) -> Images:
    """Images after 8 bits, as a PNG brings them back."""
    return (images * 255).round() / 255


def _rank(objective: Objective, logits: Tensor) -> int:
    if type(objective) is not Logit or isinstance(objective.index, str):
        return 0
    return int((logits > logits[objective.index]).sum()) + 1


_TRIED, _FEW, _MANY = 2, 64, 4  # steps to time; steps below which smaller is better; times the manner's own
_MARGIN = 8  # pixels around what a neuron sees
