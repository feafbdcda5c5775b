"""What is settled before the first step of a visualization: canvas, remedies, and what fits into the time."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence
from pathlib import Path

from phosphene.core.errors import ImageError, LayerError, OptionError
from phosphene.core.folding import lean
from phosphene.core.image import resize
from phosphene.core.network import Images, Network
from phosphene.core.objective import Logit, Objective
from phosphene.core.targets import parse
from phosphene.synthesis.base import Synthesis, Watch, synthesize
from phosphene.synthesis.budget import kept, seconds_of
from phosphene.synthesis.diversity import Diverse
from phosphene.synthesis.manner import Lecture, Manner
from phosphene.synthesis.probe import Findings, probe
from phosphene.synthesis.question import Precision
from phosphene.synthesis.remedies import remedies
from phosphene.synthesis.state import fingerprint
from phosphene.synthesis.statistics import BatchNormStatistics, running_statistics
from phosphene.synthesis.transforms import Crops, Transform
from phosphene.synthesis.window import placed, shared, terms

Target = str | int | Objective
"""A target as text, the index of a class, or an objective."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """Everything that is settled before the first step.

    Args:
        network: whose units.
        targets: (N,) as they were asked for, `each` of one after the other.
        each: pictures of a target.
        shown: the same on the canvas, which may be a window.
        asked: what is climbed: remedied, pushed apart, with the prior of the manner.
        manner: with the options that the network needs.
        size: of the canvas.
        start: images to begin from.
        precision: of the network's multiplications.
        seed: of everything random.
        redirect: first steps in which silent units are woken.
        shrinks: whether a budget may make the pictures smaller.
        findings: of the probe.
        notes: what was chosen, and why.
    """

    network: Network
    targets: tuple[Objective, ...]
    each: int
    shown: tuple[Objective, ...]
    asked: tuple[Objective, ...]
    manner: Manner
    size: tuple[int, int]
    start: Images | None
    precision: Precision
    seed: int
    redirect: int
    shrinks: bool
    findings: Findings
    notes: tuple[str, ...]

    @classmethod
    def of(
        cls,
        network: Network,
        targets: Sequence[Target],
        manner: Manner,
        *,
        each: int,
        starts: Images | None,
        size: tuple[int, int] | None,
        precision: Precision,
        seed: int,
    ) -> Plan:
        """The plan for some targets; see `visualize`. Cost: that of `probe`."""
        bound = [_objective(one, network) for one in targets]
        found = probe(network, bound, manner)
        cured = remedies(found, manner, size)
        windows = shared(network, bound, margin=_MARGIN) if size is None and starts is None else None
        shown = [one.objective for one in windows] if windows else bound
        notes = [*cured.notes]
        notes += ["painted on {} × {}: nothing else is seen".format(*windows[0].size)] if windows else []
        shrinks = size is None and not placed(bound)
        size = size or (windows[0].size if windows else network.preprocess.size)
        asked = [cured.climbed(one, place) for place, one in enumerate(shown)]
        chosen = cured.manner
        if starts is None and each > 1:
            asked = [Diverse(one, _layer_of(one, network)) for one in asked]
            if isinstance(chosen, Lecture) and chosen.start == "mean":  # nothing pushes apart what is the same
                chosen = dataclasses.replace(chosen, start="noise")
                notes.append("pictures that are to differ begin with noise")
        prior = chosen.prior()
        if prior is not None:
            asked = [one + much * prior for one, much in zip(asked, cured.weights, strict=True)]
        if chosen.familiar and any(norm.mean.any() for norm in running_statistics(network)):
            strange = chosen.familiar * BatchNormStatistics().bind(network)
            asked = [
                one - much * strange if "logits" in target.reads else one
                for one, target, much in zip(asked, bound, cured.weights, strict=True)
            ]
        many = each if starts is None else len(starts)
        start = None if starts is None else resize(starts, size, "bilinear").repeat(len(bound), 1, 1, 1)

        def full(several: Sequence[Objective]) -> tuple[Objective, ...]:
            return tuple(one for one in several for _ in range(many))

        return cls(
            network,
            full(bound),
            many,
            full(shown),
            full(asked),
            chosen,
            size=size,
            start=start,
            precision=precision,
            seed=seed,
            redirect=cured.redirect,
            shrinks=shrinks,
            findings=found,
            notes=tuple(notes),
        )

    def make(self, *, state: Path | None = None, watch: Watch | None = None) -> Synthesis:
        """The pictures."""
        canvas, optimizer, transforms, edits = self.manner.parts(placed=placed(self.shown), seen=self._seen)
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
            redirect=self.redirect,
            patience=self.manner.patience,
            batch=self._batch(transforms),
            precision=self.precision,
            state=state,
            seed=self.seed,
            watch=watch,
        )

    @property
    def _seen(self) -> tuple[int, int] | None:
        """At which size crops are shown: of a class on a large canvas, at that which the network takes."""
        taken = self.network.preprocess.size
        large = all(own >= side for own, side in zip(self.size, taken, strict=True))
        return taken if large and all("logits" in each.reads for each in self.targets) else None

    def _batch(self, transforms: Sequence[Transform]) -> int:
        """Views in a pass, so that memory does not grow with the targets; what is compared goes together."""
        views = math.prod(each.count for each in transforms if isinstance(each, Crops))
        apart = any(isinstance(term, Diverse) for one in self.asked for term in terms(one))
        together = self.each * views if apart else 1
        return max(1, _VIEWS // together) * together

    def within(self, seconds: float, begun: float, folder: Path | None) -> Plan:
        """The same with the steps that fit into a time; where they are too few, and it may be, smaller pictures.

        Args:
            seconds: of all.
            begun: when they began to run, by `time.perf_counter`.
            folder: keeps the choice.
        """
        asked = fingerprint(self, seconds) if folder else ""
        chosen = kept(folder / "budget.json" if folder else None, asked, lambda: self._fit(begun + seconds))
        height, width, steps = chosen["height"], chosen["width"], chosen["steps"]
        note = f"{seconds:g} s allow {steps} steps at {height} × {width}"
        return dataclasses.replace(self._at((height, width), steps), notes=(*self.notes, note))

    def _at(self, size: tuple[int, int], steps: int) -> Plan:
        start = None if self.start is None else resize(self.start, size, "bilinear")
        return dataclasses.replace(self, size=size, start=start, manner=dataclasses.replace(self.manner, steps=steps))

    def _fit(self, deadline: float) -> dict[str, int]:
        chosen: dict[str, int] = {}
        reads = frozenset().union(*(each.reads for each in self.asked)) - {"input"}
        quick = dataclasses.replace(self, network=lean(self.network, reads))  # as the steps will be
        for share in (1.0, 0.75, 0.5) if self.shrinks else (1.0,):
            height, width = (round(side * share) for side in self.size)
            try:
                pace = seconds_of(quick._at((height, width), _TRIED).make) / _TRIED
            except (ImageError, LayerError):
                if not chosen:
                    raise
                break  # the network takes one size alone
            steps = int(0.9 * (deadline - time.perf_counter()) / pace)
            chosen = {"height": height, "width": width, "steps": min(max(steps, 8), _MANY * self.manner.steps)}
            if steps >= _FEW:
                break
        return chosen


def _objective(target: Target, network: Network) -> Objective:
    if isinstance(target, Objective):
        return target.bind(network)
    return Logit(target).bind(network) if isinstance(target, int) else parse(target, network)


def _layer_of(objective: Objective, network: Network) -> str:
    """The deepest layer with maps that an objective reads; of a class, the last of the network."""
    maps = [name for name, each in network.layers.items() if each.spatial]
    read = [name for name in maps if name in objective.reads]
    if not maps:
        raise OptionError(f"{network.name} has no maps, so its pictures cannot be pushed apart; make one of each")
    return (read or maps)[-1]


_TRIED, _FEW, _MANY = 2, 64, 4  # steps to time; steps below which smaller is better; times the manner's own
_VIEWS = 16  # images in a pass
_MARGIN = 8  # pixels around what a neuron sees
