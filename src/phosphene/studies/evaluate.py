"""How far to believe each method, on pictures of one's own: every measure of `phosphene.attribution`, side by side."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch

from phosphene.attribution import Attribution, MethodLike, attribute_all
from phosphene.attribution.attribution import bind_method
from phosphene.attribution.evaluate.covering import covering
from phosphene.attribution.evaluate.deletion import deletion, insertion
from phosphene.attribution.evaluate.pointing import pointing_game
from phosphene.attribution.evaluate.sanity import UPPER_HALF, sanity_all
from phosphene.core.errors import PhospheneError
from phosphene.core.inputs import Pictures, Target, bind_target, prepare_inputs
from phosphene.core.networks.network import Images, Network
from phosphene.core.result import Cost


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


def evaluate(
    network: Network,
    pictures: Pictures,
    methods: Sequence[MethodLike],
    *,
    target: Target = "top",
    confidence: float = 0.5,
    seed: int = 0,
    watch: Callable[[int, int, str], None] | None = None,
) -> list[MethodScores]:
    """Score methods on some pictures, best insertion first.

    The pointing game is played with pictures that the network is confident of, where there are enough of them.

    Args:
        network: whose decisions are explained.
        pictures: as for `attribute`.
        methods: names, classes, or methods with options.
        target: what is explained in each picture; its best class by default.
        confidence: least probability of the best class of a picture that takes part in the pointing game.
        seed: of mosaics, random weights and shifted covers.
        watch: told of progress.
    """
    images, found = prepare_inputs(network, pictures).images, []
    for done, method in enumerate(bind_method(network, method) for method in methods):
        if watch is not None:
            watch(done, len(methods), method.name or "")
        found.append(_score(network, images, method, target=target, confidence=confidence, seed=seed))
    return sorted(found, key=lambda one: -(one.insertion or -1.0))


def _score(
    network: Network, images: Images, method: Attribution, *, target: Target, confidence: float, seed: int
) -> MethodScores:
    assert method.name is not None
    notes, scores, cost = [], [], Cost()
    for image in images:
        try:
            score, took = _one(network, image[None], method, target=target, seed=seed)
        except PhospheneError as error:
            notes.append(str(error))
            continue
        scores.append(score)
        cost += took
    points: list[float | None] = []
    for cells in (2, 3):
        try:
            game = pointing_game(network, images, method, cells=cells, confidence=confidence, seed=seed)
            points.append(game.mean)
            cost += game.cost
        except PhospheneError as error:
            points.append(None)
            notes.append(f"{cells} × {cells} mosaics: {error}")
    means = torch.tensor(scores).mean(0).tolist() if scores else [None] * 4
    deleted, inserted, left, covered = means
    return MethodScores(
        method.name,
        deletion=deleted,
        insertion=inserted,
        pointing2=points[0],
        pointing3=points[1],
        sanity=left,
        covering=covered,
        pictures=len(scores),
        cost=cost,
        notes=tuple(dict.fromkeys(notes)),
    )


def _one(
    network: Network, image: Images, method: Attribution, *, target: Target, seed: int
) -> tuple[list[float], Cost]:
    """Deletion, insertion, sanity and covering of one picture."""
    chosen = bind_target(network, target, image)
    heatmap = attribute_all(network, image, [chosen], [method])[0]
    falls, rises = (way(network, image, heatmap.values, chosen) for way in (deletion, insertion))
    checked = sanity_all(network, image, [method], chosen, stages=(UPPER_HALF,), seed=seed)[0]
    covered = covering(network, image, heatmap.values, chosen, seed=seed)
    unit = "probability" if "probability" in falls.areas else chosen.unit
    scores = [falls.areas[unit], rises.areas[unit], checked.absolute[-1], covered.beats]
    total = sum((each.cost for each in (heatmap, falls, rises, checked, covered)), start=Cost())
    return [each.mean().item() for each in scores], total


def table(rows: Sequence[MethodScores]) -> tuple[list[str], list[list[Any]]]:
    """Head and rows for any kind of table."""
    head = ["method", "insertion", "deletion", "pointing 2×2", "pointing 3×3", "sanity", "covering"]
    body = [[r.method, r.insertion, r.deletion, r.pointing2, r.pointing3, r.sanity, r.covering] for r in rows]
    return head, body
