"""What is settled before the first step of a visualization: canvas, remedies, and what fits into the time."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path

from phosphene.core.errors import ImageError, LayerError, OptionError
from phosphene.core.images.image import resize
from phosphene.core.networks.anatomy import deepest_spatial_layer_read
from phosphene.core.networks.fuse import fused
from phosphene.core.networks.network import Images, Network
from phosphene.core.objectives.objective import Objective
from phosphene.synthesis.loop.budget import kept, seconds_of
from phosphene.synthesis.loop.evaluation import Precision
from phosphene.synthesis.loop.loop import Synthesis, Watch, synthesize
from phosphene.synthesis.loop.state import fingerprint
from phosphene.synthesis.losses.batchnorm_prior import BatchNormStatistics, running_statistics
from phosphene.synthesis.losses.diversity import Diverse
from phosphene.synthesis.recipes.adjustments import Remedies, remedies
from phosphene.synthesis.recipes.preset import Lecture, Manner
from phosphene.synthesis.recipes.probe import Findings
from phosphene.synthesis.recipes.window import Window, placed, terms
from phosphene.synthesis.transforms.transforms import Crops, Transform


@dataclasses.dataclass(frozen=True)
class Plan:
    """What was asked for; all else that is settled before the first step follows from it, and from a probe.

    Args:
        network: whose units.
        wanted: (T,) targets of one kind.
        places: (T * each,) of their pictures among all that are made.
        asked: the manner, as the user chose it.
        each: pictures of a target; the N pictures are those of the first target, then those of the next.
        starts: (each, 3, H, W), images to begin from.
        given: height and width of the pictures, where the user has a say.
        precision: of the network's multiplications.
        seed: of everything random.
        findings: of the probe.
        windows: (T,) smaller canvases, where they are enough for the targets.
        percent: of the sides of the pictures that a budget leaves.
        budget: what it allows, in words.
    """

    network: Network
    wanted: tuple[Objective, ...]
    places: tuple[int, ...]
    asked: Manner
    each: int
    starts: Images | None
    given: tuple[int, int] | None
    precision: Precision
    seed: int
    findings: Findings
    windows: tuple[Window, ...] | None
    percent: int = 100
    budget: str = ""

    @cached_property
    def shown(self) -> tuple[Objective, ...]:
        """(N,) the same on the canvas, which may be a window."""
        return self._repeated(self._windowed)

    @cached_property
    def climbed(self) -> tuple[Objective, ...]:
        """(N,) what is climbed: remedied, pushed apart, with the priors of the manner."""
        found = []
        rows = zip(self.wanted, self._windowed, self.findings.targets, strict=True)
        for place, (target, shown, finding) in enumerate(rows):
            one, much = self._cured.climbed(shown, place), self._cured.weights[place]
            if self._apart:
                one = Diverse(one, self._compared(one))
            if (prior := self.manner.prior(finding.share)) is not None:
                one = one + much * self._part * prior
            if self._strange is not None and "logits" in target.reads:
                one = one - much * self._strange
            found.append(one)
        return self._repeated(found)

    @cached_property
    def manner(self) -> Manner:
        """With the options that the network needs."""
        found = self._cured.manner
        if self._apart and isinstance(found, Lecture) and found.start == "mean":
            return dataclasses.replace(found, start="noise")  # nothing pushes apart what is the same
        return found

    @property
    def name(self) -> str:
        """What it makes."""
        return ", ".join(map(str, self.wanted))

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the canvas."""
        return self._scaled(self.windows[0].size if self.windows else self.given or self.network.preprocess.size)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was chosen, and why."""
        window = ["painted on {} × {}: nothing else is seen".format(*self.size)] if self.windows else []
        start = ["pictures that are to differ begin with noise"] if self.manner != self._cured.manner else []
        return (*self._cured.notes, *window, *start, *([self.budget] if self.budget else []))

    def make(
        self, *, network: Network | None = None, state: Path | None = None, watch: Watch | None = None
    ) -> Synthesis:
        """The pictures.

        Args:
            network: to be asked instead, as a fused copy.
            state: see `synthesize`.
            watch: see `synthesize`.
        """
        canvas, optimizer, transforms, edits = self.manner.parts(still=self._still, seen=self._seen)
        start = None if self.starts is None else resize(self.starts, self.size, "bilinear")
        return synthesize(
            network or self.network,
            self.climbed,
            canvas,
            size=self.size,
            start=None if start is None else start.repeat(len(self.wanted), 1, 1, 1),
            transforms=transforms,
            edits=edits,
            optimizer=optimizer,
            steps=self.manner.steps,
            redirect=self._cured.redirect,
            patience=self.manner.patience,
            batch=self._batch(transforms),
            precision=self.precision,
            state=state,
            seed=self.seed,
            watch=watch,
        )

    def within(self, seconds: float, deadline: float, folder: Path | None, *, alone: bool = True) -> Plan:
        """The same with the steps that fit into a time; where they are too few, and it may be, smaller pictures.

        Args:
            seconds: of all.
            deadline: when they end, by `time.perf_counter`.
            folder: keeps the choice.
            alone: whether no other pictures have to be of the same size.
        """
        asked = fingerprint(self, seconds) if folder else ""
        shares = _SHARES if alone and self.given is None and not placed(self.wanted) else (100,)
        chosen = kept(folder / "budget.json" if folder else None, asked, lambda: self._fit(deadline, shares))
        found = self._at(**chosen)
        steps = "{} steps at {} × {}".format(chosen["steps"], *found.size)
        note = f"{seconds:g} s allow {steps}" if alone else f"{self.name}: its part of {seconds:g} s allows {steps}"
        return dataclasses.replace(found, budget=note)

    def _at(self, *, percent: int, steps: int) -> Plan:
        return dataclasses.replace(self, percent=percent, asked=dataclasses.replace(self.asked, steps=steps))

    def _fit(self, deadline: float, shares: Sequence[int]) -> dict[str, int]:
        chosen: dict[str, int] = {}
        reads = frozenset().union(*(each.reads for each in self.climbed)) - {"input"}
        quick = fused(self.network, reads)  # as the steps will be
        for percent in shares:
            try:
                pace = seconds_of(partial(self._at(percent=percent, steps=_TRIED).make, network=quick)) / _TRIED
            except (ImageError, LayerError):
                if not chosen:
                    raise
                break  # the network takes one size alone
            steps = int(0.9 * (deadline - time.perf_counter()) / pace)
            chosen = {"percent": percent, "steps": min(max(steps, 1), _MANY * self.manner.steps)}
            if steps >= _FEW:
                break
        return chosen

    @cached_property
    def _cured(self) -> Remedies:
        return remedies(self.findings, self.asked, self._scaled(self.given or self.network.preprocess.size))

    @cached_property
    def _strange(self) -> Objective | None:
        """What the manner wants to be small in pictures of classes; None where batch norms remember nothing."""
        if not self.manner.familiar or not any(norm.mean.any() for norm in running_statistics(self.network)):
            return None
        return self.manner.familiar * BatchNormStatistics().bind(self.network)

    @property
    def _windowed(self) -> Sequence[Objective]:
        return [one.objective for one in self.windows] if self.windows else self.wanted

    @property
    def _part(self) -> float:
        """Of a neuron's picture, how large the canvas is beside it: penalties are averages, and should not notice."""
        return math.prod(self.size) / math.prod(self.network.preprocess.size) if placed(self.wanted) else 1.0

    @property
    def _apart(self) -> bool:
        """Whether the pictures of a target are pushed apart."""
        return self.starts is None and self.each > 1

    def _compared(self, objective: Objective) -> str:
        """The layer at which the pictures of a target are compared."""
        layer = deepest_spatial_layer_read(self.network, objective)
        if layer is None:
            raise OptionError(
                f"{self.network.name} has no maps, so its pictures cannot be pushed apart; make one of each"
            )
        return layer

    @property
    def _still(self) -> float | None:
        """Pixels by which a neuron's picture is moved: fewer where fewer are seen."""
        return min(_MOVED, min(self.network.preprocess.size) / _MOVES) if placed(self.wanted) else None

    @property
    def _seen(self) -> tuple[int, int] | None:
        """At which size crops are shown: of a class on a large canvas, at that which the network takes."""
        taken = self.network.preprocess.size
        large = all(own >= side for own, side in zip(self.size, taken, strict=True))
        return taken if large and all("logits" in each.reads for each in self.wanted) else None

    def _scaled(self, size: tuple[int, int]) -> tuple[int, int]:
        return round(size[0] * self.percent / 100), round(size[1] * self.percent / 100)

    def _repeated(self, several: Sequence[Objective]) -> tuple[Objective, ...]:
        return tuple(one for one in several for _ in range(self.each))

    def _batch(self, transforms: Sequence[Transform]) -> int:
        """Views in a pass, so that memory does not grow with the targets; what is compared goes together."""
        views = math.prod(each.count for each in transforms if isinstance(each, Crops))
        apart = any(isinstance(term, Diverse) for one in self.climbed for term in terms(one))
        together = self.each * views if apart else 1
        return max(1, _VIEWS // together) * together


_TRIED, _FEW, _MANY = 2, 64, 4  # steps to time; steps below which smaller is better; times the manner's own
_SHARES = 100, 75, 50  # of the sides
_VIEWS = 16  # images in a pass
_MOVED, _MOVES = 4.0, 28  # pixels at most; times that goes into the side
