"""One unit of a survey with all its evidence: what excites it, what does not, and every number."""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from phosphene.core.errors import OptionError, RuleError, RunError, TargetError
from phosphene.core.images.image import Uint8Image
from phosphene.core.networks.anatomy import has_max_pooling
from phosphene.core.networks.fields import ReceptiveField
from phosphene.core.networks.network import Network
from phosphene.core.result import Cost
from phosphene.studies.evidence.backprojection import Backprojection, backproject
from phosphene.studies.evidence.crops import Notify, PatchCrop, contexts, patch_crops
from phosphene.studies.evidence.neurons import ProjectionMethod
from phosphene.studies.evidence.peaks import peak_patches, random_images
from phosphene.studies.evidence.selection import strongest_patches
from phosphene.survey.store.run import Patch, Run
from phosphene.survey.store.table import Columns

PROJECTIONS: tuple[ProjectionMethod, ...] = ("deconvnet", "guided-backprop")
"""Whose projections stand beside the strongest patches, the second one first where the deconvnet has no switches."""

LEVELS = 12
"""How many images are shown from all levels."""

NEEDED = frozenset(
    "images mean_max std_max mean std max min images_positive places_positive places broken dead".split()
)
"""What of the table of units the page of a unit tells."""

CONTEXT = 192
"""Side of a photograph around a patch, in pixels."""

Watch = Callable[[int, int, str], None]
"""(steps done, steps in all, what runs now)"""


class Level(NamedTuple):
    """An octave of the answers of a unit.

    Args:
        low: least answer.
        high: end of the octave, exclusive.
        images: how many lie in it.
        shot: one of them, drawn by hash.
    """

    low: float
    high: float
    images: int
    shot: PatchCrop


@dataclasses.dataclass(frozen=True, eq=False)
class UnitEvidence:
    """What is known of one unit: the images that excite it most, least, and by chance, and the numbers of all.

    Args:
        run: the survey.
        network: that was surveyed.
        layer: of the unit.
        channel: of the unit.
        facts: its row of the table of units.
        field: its receptive field; None where it is not known.
        top: its strongest patches, strongest first; none where it is dead or was never finite, as all that follows.
        context: for each of them, the photograph with the patch in a box.
        projections: method → for each of them the pixels that made the activation, cut like it.
        weakest: its weakest patches, weakest first.
        random: what answers most in images drawn uniformly; the same images for all units and one seed.
        levels: an image from each octave of its answers, rising.
        classes: its answers to each class, most selective first.
        cost: of the page; the survey is not counted.
        drift: largest difference between the activations of `levels` as recorded and as computed again.
        notes: what was left out, and why.
    """

    run: Run
    network: Network
    layer: str
    channel: int
    facts: Mapping[str, Any]
    field: ReceptiveField | None
    top: tuple[PatchCrop, ...] = ()
    context: tuple[Uint8Image, ...] = ()
    projections: Mapping[str, tuple[Backprojection, ...]] = dataclasses.field(default_factory=dict)
    weakest: tuple[PatchCrop, ...] = ()
    random: tuple[PatchCrop, ...] = ()
    levels: tuple[Level, ...] = ()
    classes: Columns = dataclasses.field(default_factory=dict)
    cost: Cost = Cost()
    drift: float = 0.0
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """As targets write it."""
        return f"{self.layer}:{self.channel}"

    @property
    def vector(self) -> bool:
        """Whether it has one place alone."""
        return self.run.grid(self.layer) == (1, 1)

    @property
    def dead(self) -> bool:
        """The same value at every place of every image."""
        return bool(self.facts["dead"])


def unit(
    network: Network, run: Run, target: str, *, k: int = 9, seed: int = 0, watch: Watch | None = None
) -> UnitEvidence:
    """Everything that a survey knows of one unit, with the pictures that belong to it.

    Files that are gone, or have changed, are named in the notes. Cost: a truncated forward pass for each image drawn by
    chance or by level, and that of the projections.

    Args:
        network: that was surveyed.
        run: a finished survey.
        target: LAYER:CHANNEL.
        k: how many of the strongest and of the weakest patches.
        seed: of the images drawn by chance.
        watch: told of progress.

    Raises:
        TargetError: no such unit.
        LayerError: no such layer in the survey.
        RunError: the survey is of another network, or kept too little.
    """
    if k < 1:
        raise OptionError(f"k is {k}; a unit wants at least 1 patch")
    layer, channel = parse_unit(run, target)
    facts, field = run.unit(layer, channel), network.receptive_fields.get(layer)
    require_columns(facts, NEEDED)
    run.check_network(network)
    found = UnitEvidence(run, network, layer, channel, facts, field)
    if found.dead or not facts["images"]:
        return found
    return dataclasses.replace(found, **_pictures(found, k, seed, watch or (lambda *_: None)))


def require_columns(columns: Mapping[str, Any], names: Iterable[str]) -> None:
    """Refuse a table of units that lacks some columns.

    Raises:
        RunError: it does.

    >>> require_columns({"max": 1.0}, {"max"})
    """
    if lacking := set(names) - columns.keys():
        raise RunError(f"the survey kept no {', '.join(sorted(lacking))}; run it again with its default accumulators")


def _pictures(found: UnitEvidence, k: int, seed: int, watch: Watch) -> dict[str, Any]:
    """Everything of the evidence that is seen."""
    start, run, network, layer, channel = time.perf_counter(), found.run, found.network, found.layer, found.channel
    notes: dict[str, None] = {}
    notify = notes.setdefault
    top, bottom = strongest_patches(run, layer, channel, k), run.patches(layer, channel, "bottom", k)
    watch(0, 3, "projections")
    projections = _projections(found, top, notify)
    watch(1, 3, "images by level and by chance")
    levels, drift = _levels(found, notify)
    random = peak_patches(run, network, layer, channel, random_images(run, seed), notify=notify)
    watch(2, 3, "patches")
    effective = [dataclasses.replace(each.patch, box=each.box) for each in next(iter(projections.values()))]
    cost = sum((each.cost for those in projections.values() for each in those), Cost(len(levels) + len(random)))
    return {
        "top": patch_crops(run, effective, notify),
        "context": contexts(run, effective, side=CONTEXT, notify=notify),
        "projections": projections,
        "weakest": patch_crops(run, bottom, notify),
        "random": patch_crops(run, random, notify),
        "levels": levels,
        "drift": drift,
        "classes": _by_selectivity(run.classes(layer, channel)),
        "cost": dataclasses.replace(cost, seconds=time.perf_counter() - start),
        "notes": tuple(notes),
    }


def _projections(found: UnitEvidence, top: Sequence[Patch], notify: Notify) -> dict[str, tuple[Backprojection, ...]]:
    """By the methods that work on the network, or else by the gradient."""
    done: dict[str, tuple[Backprojection, ...]] = {}
    switches = has_max_pooling(found.network)
    for method in PROJECTIONS if switches else PROJECTIONS[::-1]:
        try:
            done[method] = backproject(found.network, found.run, top, method=method, notify=notify)
        except RuleError as error:
            notify(f"{method} is left out: {error}")
    if "deconvnet" in done and not switches:
        notify(f"{found.network.name} has no max pooling, so its deconvnet has no switches and hardly sees the picture")
    done = done or {"gradient": backproject(found.network, found.run, top, method="gradient", notify=notify)}
    for each in (one for those in done.values() for one in those if one.note):
        notify(each.note)
    return done


def parse_unit(run: Run, target: str) -> tuple[str, int]:
    """Layer and channel of a unit.

    Args:
        run: whose units.
        target: LAYER:CHANNEL.

    Raises:
        TargetError: it reads otherwise, or the layer has no such channel.
        LayerError: no such layer in the survey.
    """
    layer, _, channel = target.strip().rpartition(":")
    if not re.fullmatch(r"\d+", channel) or not layer:
        name, place = target.partition("@")[::2]
        near = f"{name}" if place else f"{target}:0" if target in run.layers else f"{run.layers[-1]}:0"
        what = "is a layer" if target in run.layers else "names a place" if place else "names no unit"
        raise TargetError(f"{target!r} {what}; a unit is LAYER:CHANNEL, such as {near}")
    run.unit(layer, int(channel))
    return layer, int(channel)


def _levels(found: UnitEvidence, notify: Notify) -> tuple[tuple[Level, ...], float]:
    """Images from each octave, or from octaves evenly apart, and how far recorded answers are from those of now."""
    run, layer, channel = found.run, found.layer, found.channel
    samples, (low, high, count) = run.samples(layer, channel), run.histogram(layer, channel)
    octaves = np.unique(samples["low"])
    octaves = octaves[np.linspace(0, len(octaves) - 1, min(LEVELS, len(octaves))).round().astype(int)]
    first = np.concatenate([np.flatnonzero(samples["low"] == each)[: LEVELS // len(octaves)] for each in octaves])
    at = dict(zip(samples["image"][first].tolist(), first.tolist(), strict=True))
    now = peak_patches(run, found.network, layer, channel, tuple(at), notify=notify)
    told = [dataclasses.replace(each, activation=samples["activation"][at[each.image]].item()) for each in now]
    levels = []
    for shot in patch_crops(run, told, notify):
        start, end = (samples[edge][at[shot.patch.image]].item() for edge in ("low", "high"))
        inside = (low >= start) & (high <= end)
        levels.append(Level(start, end, int(count[inside].sum()), shot))
    levels.sort(key=lambda each: each.shot.patch.activation)
    return tuple(levels), max((abs(a.activation - b.activation) for a, b in zip(now, told, strict=True)), default=0.0)


def _by_selectivity(classes: Columns) -> Columns:
    """The most selective classes first, those of a single image after all others."""
    order = np.lexsort((-classes["d_prime"], -classes["selectivity"], classes["images"] < 2))
    return {name: column[order] for name, column in classes.items()}
