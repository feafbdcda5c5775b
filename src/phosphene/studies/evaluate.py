"""Scores of attribution methods on pictures: deletion, insertion, pointing game, sanity check and covering."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from phosphene.attribution import Attribution, MethodLike, attribute_all
from phosphene.attribution.attribution import bind_method
from phosphene.attribution.evaluate.covering import covering
from phosphene.attribution.evaluate.deletion import deletion, insertion
from phosphene.attribution.evaluate.pointing import pointing_game
from phosphene.attribution.evaluate.sanity import UPPER_HALF, sanity_all
from phosphene.attribution.perturbation.engine import Engines
from phosphene.core.errors import PhospheneError
from phosphene.core.inputs import Pictures, Target, bind_target, prepare_inputs
from phosphene.core.networks.network import Images, Network
from phosphene.core.progress import Progress, Watch
from phosphene.core.result import Cost, Result
from phosphene.core.table import Table

DEFAULT = ("grad-cam", "layer-cam", "gradient", "input-x-gradient", "guided-backprop", "guided-grad-cam")
"""Methods that `evaluate` scores unless told otherwise: all that need one pass, of each kind one or two."""


@dataclasses.dataclass(frozen=True)
class MethodScores:
    """What was measured of one method; each figure is a mean over the pictures, None where it could not be measured.

    Args:
        method: its registered name.
        deletion: area under the probability while the strongest pixels disappear, in [0, 1]; lower is better.
        insertion: the same while they appear; higher is better.
        pointing2: share of the positive map in the right cell of 2 × 2 mosaics; 1/4 is chance.
        pointing3: the same for 3 × 3 mosaics; 1/9 is chance.
        sanity: rank correlation with the map when the upper half of the weights is random; near 0 is better.
        covering: share of shifted covers that the cover of the map's strongest pixels beats; 1 is best.
        pictures: how many were used.
        cost: of all measures.
        notes: what could not be measured, and why.
    """

    method: str
    deletion: float | None = None
    insertion: float | None = None
    pointing2: float | None = None
    pointing3: float | None = None
    sanity: float | None = None
    covering: float | None = None
    pictures: int = 0
    cost: Cost = Cost()
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class MethodEvaluation(Result):
    """The scores of several methods, best insertion first; the notes say what could not be measured.

    Args:
        network: that is explained.
        target: what was explained in each picture.
        rows: the scores of each method.
    """

    verb: str = "evaluate"

    network: Network
    target: str
    rows: tuple[MethodScores, ...]

    @property
    def table(self) -> Table:
        """One row for each method; NaN where a score could not be measured."""
        columns = {title: [getattr(row, name) for row in self.rows] for title, name in _COLUMNS.items()}
        scores = {title: np.array(values, np.float64) for title, values in columns.items() if title != "method"}
        return Table({"method": np.array(columns["method"]), **scores})

    def facts(self) -> Mapping[str, Any]:
        """The scores of each method."""
        return {"results": [dataclasses.asdict(row) for row in self.rows]}

    def lines(self) -> tuple[str, ...]:
        """The scores of each method."""
        return tuple(
            f"{row.method}: "
            + ", ".join(
                f"{title} {getattr(row, name):.3f}"
                for title, name in list(_COLUMNS.items())[1:]
                if getattr(row, name) is not None
            )
            for row in self.rows
        )


def evaluate(
    network: Network,
    pictures: Pictures,
    methods: Sequence[MethodLike] = DEFAULT,
    *,
    target: Target = "top",
    confidence: float = 0.5,
    seed: int = 0,
    watch: Watch | None = None,
) -> MethodEvaluation:
    """Score methods on pictures, best insertion first.

    The pointing game is played with pictures that the network is confident of, where there are enough of them.

    Args:
        network: that is explained.
        pictures: as for `attribute`.
        methods: names, classes, or methods with options.
        target: what is explained in each picture; its best class by default.
        confidence: least probability of the best class of a picture that takes part in the pointing game.
        seed: of mosaics, random weights and shifted covers.
        watch: is told of progress; true leaves out the methods that are not done yet.
    """
    inputs, rows, stopped = prepare_inputs(network, pictures), list[MethodScores](), tuple[str, ...]()
    chosen = [bind_method(network, method) for method in methods]
    for done, method in enumerate(chosen):
        if watch is not None and watch(Progress(done, len(chosen), method.name or "")):
            stopped = (f"stopped after {done} of {len(chosen)} methods",)
            break
        rows.append(_score(network, inputs.images, method, target=target, confidence=confidence, seed=seed))
    return MethodEvaluation(
        network=network,
        inputs=inputs.photographs,
        target=str(target),
        rows=tuple(sorted(rows, key=lambda row: -(row.insertion or -1.0))),
        options={"methods": [method.name for method in chosen], "confidence": confidence},
        seed=seed,
        cost=sum((row.cost for row in rows), start=Cost()),
        notes=(*dict.fromkeys(note for row in rows for note in row.notes), *stopped),
    )


def _score(
    network: Network, images: Images, method: Attribution, *, target: Target, confidence: float, seed: int
) -> MethodScores:
    assert method.name is not None
    notes, scores, cost, engines = [], [], Cost(), Engines(network)
    for image in images[:, None]:
        try:
            of_image, cost_of_image = _score_image(engines, image, method, target=target, seed=seed)
        except PhospheneError as error:
            notes.append(str(error))
            continue
        scores.append(of_image)
        cost += cost_of_image
    pointing: list[float | None] = []
    for cells in (2, 3):
        try:
            game = pointing_game(network, images, method, cells=cells, confidence=confidence, seed=seed)
            pointing.append(game.mean)
            cost += game.cost
        except PhospheneError as error:
            pointing.append(None)
            notes.append(f"{cells} × {cells} mosaics: {error}")
    means = torch.tensor(scores).mean(0).tolist() if scores else [None] * len(_OF_IMAGE)
    return MethodScores(
        method.name,
        **dict(zip(_OF_IMAGE, means, strict=True)),
        pointing2=pointing[0],
        pointing3=pointing[1],
        pictures=len(scores),
        cost=cost,
        notes=tuple(dict.fromkeys(notes)),
    )


def _score_image(
    engines: Engines, image: Images, method: Attribution, *, target: Target, seed: int
) -> tuple[list[float], Cost]:
    """Deletion, insertion, sanity and covering of one picture, as `_OF_IMAGE` lists them."""
    network, objective = engines.network, bind_target(engines.network, target, image)
    heatmap = attribute_all(network, image, [objective], [method])[0]
    fall, rise = (
        measure(network, image, heatmap.values, objective, engines=engines) for measure in (deletion, insertion)
    )
    sanity = sanity_all(network, image, [method], objective, stages=(UPPER_HALF,), seed=seed)[0]
    covered = covering(network, image, heatmap.values, objective, seed=seed, engines=engines)
    unit = "probability" if "probability" in fall.areas else objective.unit
    scores = [fall.areas[unit], rise.areas[unit], sanity.absolute[-1], covered.beats]
    cost = sum((measured.cost for measured in (heatmap, fall, rise, sanity, covered)), start=Cost())
    return [score.mean().item() for score in scores], cost


_OF_IMAGE = ("deletion", "insertion", "sanity", "covering")
_COLUMNS = {
    "method": "method",
    "insertion": "insertion",
    "deletion": "deletion",
    "pointing 2×2": "pointing2",
    "pointing 3×3": "pointing3",
    "sanity": "sanity",
    "covering": "covering",
}
