"""One unit of a survey: its strongest and weakest patches, their projections, and every number that was recorded."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from phosphene.core.errors import OptionError, RuleError
from phosphene.core.images import drawing
from phosphene.core.images.image import Uint8Image
from phosphene.core.networks.anatomy import has_max_pooling
from phosphene.core.networks.fields import ReceptiveField
from phosphene.core.networks.network import Network
from phosphene.core.progress import Progress, Watch
from phosphene.core.result import Cost, File, Result
from phosphene.core.table import Table
from phosphene.studies.evidence.backprojection import Backprojection, backproject
from phosphene.studies.evidence.crops import Notify, PatchCrop, contexts, patch_crops
from phosphene.studies.evidence.neurons import ProjectionMethod
from phosphene.studies.evidence.peaks import RANDOM, peak_patches, random_images
from phosphene.studies.evidence.selection import parse_unit, strongest_patches
from phosphene.studies.evidence.tables import UNIT_COLUMNS, patch_rows, plain, require_columns
from phosphene.studies.evidence.tiles import fit_square
from phosphene.survey.store.patch import Patch
from phosphene.survey.store.run import Run

PROJECTIONS: tuple[ProjectionMethod, ...] = ("deconvnet", "guided-backprop")
"""Methods whose projections stand beside the strongest patches; in reverse order where there is no max pooling."""

LEVELS = 12
"""How many images are shown from all levels of activation."""

CONTEXT = 192
"""Side of a photograph around a patch, in pixels."""

TILE = 112
"""Side of a patch on the plate, in pixels."""

CLASSES = 8
"""Classes that result.json and the page list."""


class Level(NamedTuple):
    """An octave of the activations of a unit.

    Args:
        low: its lower end.
        high: its upper end, exclusive.
        images: how many images have their largest activation in it.
        patch: the strongest patch of one of them, drawn by hash.
    """

    low: float
    high: float
    images: int
    patch: PatchCrop


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class UnitEvidence(Result):
    """What a survey recorded of one unit: its strongest, weakest and random patches, and the numbers of all images.

    Args:
        network: that was surveyed.
        run: the survey.
        layer: of the unit.
        channel: of the unit.
        row: of the unit, in the table of units.
        field: its receptive field; None where it is not known.
        top: its strongest patches, strongest first; empty, as all that follows, where the unit is dead or never finite.
        context: for each of them, the photograph with the patch in a box.
        projections: method → for each of them the activation projected to pixels, cut like it.
        weakest: its weakest patches, weakest first.
        random: the strongest patches of images drawn uniformly; the same images for all units and one seed.
        levels: an image from each octave of its activations, rising.
        classes: its activations by class, most selective first.
        drift: largest difference between the activations of `levels` as recorded and as computed again.
    """

    verb: str = "unit"

    network: Network
    run: Run
    layer: str
    channel: int
    row: Mapping[str, Any]
    field: ReceptiveField | None
    top: tuple[PatchCrop, ...] = ()
    context: tuple[Uint8Image, ...] = ()
    projections: Mapping[str, tuple[Backprojection, ...]] = dataclasses.field(default_factory=dict)
    weakest: tuple[PatchCrop, ...] = ()
    random: tuple[PatchCrop, ...] = ()
    levels: tuple[Level, ...] = ()
    classes: Table = dataclasses.field(default_factory=lambda: Table({}))
    drift: float = 0.0

    @property
    def target(self) -> str:
        """The unit as targets are written."""
        return f"{self.layer}:{self.channel}"

    @property
    def vector(self) -> bool:
        """Whether its layer has one place only."""
        return self.run.grid(self.layer) == (1, 1)

    @property
    def dead(self) -> bool:
        """Whether it has the same value at every place of every image."""
        return bool(self.row["dead"])

    def plate(self) -> Uint8Image | None:
        """Patches beside their projections, and the random images below; None for a dead unit."""
        if not self.top:
            return None
        columns = math.isqrt(len(self.top) - 1) + 1
        parts = {f"{self.target} patches": [patch.crop for patch in self.top]}
        parts |= {method: [made.picture() for made in projected] for method, projected in self.projections.items()}
        blocks = [
            drawing.label(drawing.grid([fit_square(tile, TILE) for tile in tiles], columns), name)
            for name, tiles in parts.items()
        ]
        sheet = drawing.grid(blocks, len(blocks), gap=16)
        if not self.random:
            return sheet
        side = (sheet.shape[1] + 4) // RANDOM - 4
        random = drawing.label(
            drawing.grid([fit_square(patch.crop, side) for patch in self.random], RANDOM), "images at random"
        )
        white = np.full((sheet.shape[0] + 16 + random.shape[0], sheet.shape[1], 3), 255, np.uint8)
        white[: sheet.shape[0]], white[-random.shape[0] :, : random.shape[1]] = sheet, random
        return white

    def files(self) -> Iterator[File]:
        """The plate."""
        if (plate := self.plate()) is not None:
            yield File.picture("plate.png", plate, unit=self.target)

    def facts(self) -> Mapping[str, Any]:
        """The row of the table of units, the receptive field, the patches and the most selective classes."""
        columns = {name: column.tolist() for name, column in self.classes.items() if name not in {"layer", "channel"}}
        rows = zip(*(column[:CLASSES] for column in columns.values()), strict=True)
        return {
            "facts": plain(self.row),
            "field": self.field and {"size": list(self.field.size), "whole": self.field.whole},
            "drift": self.drift,
            "top": patch_rows(self.run, self.top),
            "weakest": patch_rows(self.run, self.weakest),
            "random": patch_rows(self.run, self.random),
            "classes": [plain(dict(zip(columns, row, strict=True))) for row in rows],
        }

    def pictures(self) -> Sequence[Uint8Image]:
        """The plate."""
        plate = self.plate()
        return () if plate is None else (plate,)

    def lines(self) -> tuple[str, ...]:
        """The largest and the mean activation, and the class that the unit prefers."""
        numbers = "dead" if self.dead else f"strongest {self.row['max']:.3g}, mean {self.row['mean']:.3g}"
        prefers = f", prefers {self.row['class']}" if self.row.get("class") else ""
        return (f"{self.target}: {numbers}{prefers}",)


def unit(
    network: Network, run: Run, target: str, *, k: int = 9, seed: int = 0, watch: Watch | None = None
) -> UnitEvidence:
    """Everything that a survey recorded of one unit, with the pictures that belong to it.

    Files that are missing, or have changed, are named in the notes. Cost: a truncated forward pass for each image drawn
    at random or by level, and that of the projections.

    Args:
        network: that was surveyed.
        run: a finished survey.
        target: LAYER:CHANNEL.
        k: how many of the strongest and of the weakest patches.
        seed: of the random images.
        watch: is told of progress; true leaves out the pictures that are not made yet.

    Raises:
        TargetError: no such unit.
        LayerError: no such layer in the survey.
        RunError: the survey is of another network, or recorded too little.
    """
    if k < 1:
        raise OptionError(f"k is {k}; a unit wants at least 1 patch")
    layer, channel = parse_unit(run, target)
    row, field = run.unit(layer, channel), network.receptive_fields.get(layer)
    require_columns(row, UNIT_COLUMNS)
    run.check_network(network)
    evidence = UnitEvidence(
        network=network,
        run=run,
        layer=layer,
        channel=channel,
        row=row,
        field=field,
        options={"survey": str(run.folder), "k": k},
        seed=seed,
    )
    if evidence.dead or not row["images"]:
        return evidence
    return dataclasses.replace(evidence, **_pictures(evidence, k, watch or (lambda _: False)))


def _pictures(evidence: UnitEvidence, k: int, watch: Watch) -> dict[str, Any]:
    """The fields of the evidence that hold pictures, their cost and notes."""
    start, run, network = time.perf_counter(), evidence.run, evidence.network
    layer, channel, notes = evidence.layer, evidence.channel, dict[str, None]()
    fields: dict[str, Any] = {"classes": _by_selectivity(run.classes(layer, channel))}
    top, passes = strongest_patches(run, layer, channel, k), 0
    projections: dict[str, tuple[Backprojection, ...]] = {}
    if not watch(Progress(0, 3, "projections")):
        projections = _projections(evidence, top, notes.setdefault)
        top = tuple(dataclasses.replace(made.patch, box=made.box) for made in next(iter(projections.values())))
    if not watch(Progress(1, 3, "images by level and at random")):
        fields["levels"], fields["drift"] = _levels(evidence, notes.setdefault)
        images = random_images(run, evidence.seed)
        random = peak_patches(run, network, layer, channel, images, notify=notes.setdefault)
        fields["random"] = patch_crops(run, random, notes.setdefault)
        passes = len(fields["levels"]) + len(random)
    watch(Progress(2, 3, "patches"))
    cost = sum((made.cost for projected in projections.values() for made in projected), Cost(passes))
    return {
        **fields,
        "top": patch_crops(run, top, notes.setdefault),
        "context": contexts(run, top, side=CONTEXT, notify=notes.setdefault),
        "projections": projections,
        "weakest": patch_crops(run, run.patches(layer, channel, "bottom", k), notes.setdefault),
        "cost": dataclasses.replace(cost, seconds=time.perf_counter() - start),
        "notes": tuple(notes),
    }


def _projections(evidence: UnitEvidence, top: Sequence[Patch], notify: Notify) -> dict[str, tuple[Backprojection, ...]]:
    """By the methods that work on the network, or else by the gradient."""
    network, run = evidence.network, evidence.run
    projections: dict[str, tuple[Backprojection, ...]] = {}
    switches = has_max_pooling(network)
    for method in PROJECTIONS if switches else PROJECTIONS[::-1]:
        try:
            projections[method] = backproject(network, run, top, method=method, notify=notify)
        except RuleError as error:
            notify(f"{method} is left out: {error}")
    if "deconvnet" in projections and not switches:
        notify(f"{network.name} has no max pooling, whose switches a deconvnet needs")
    projections = projections or {"gradient": backproject(network, run, top, method="gradient", notify=notify)}
    for projected in projections.values():
        for made in projected:
            if made.note:
                notify(made.note)
    return projections


def _levels(evidence: UnitEvidence, notify: Notify) -> tuple[tuple[Level, ...], float]:
    """Images from each octave, or from evenly spaced octaves, and the largest change of a recorded activation."""
    run, layer, channel = evidence.run, evidence.layer, evidence.channel
    samples, (low, high, count) = run.samples(layer, channel), run.histogram(layer, channel)
    octaves = np.unique(samples["low"])
    octaves = octaves[np.linspace(0, len(octaves) - 1, min(LEVELS, len(octaves))).round().astype(int)]
    drawn = np.concatenate([np.flatnonzero(samples["low"] == octave)[: LEVELS // len(octaves)] for octave in octaves])
    rows = dict(zip(samples["image"][drawn].tolist(), drawn.tolist(), strict=True))
    now = peak_patches(run, evidence.network, layer, channel, tuple(rows), notify=notify)
    recorded = [dataclasses.replace(patch, activation=samples["activation"][rows[patch.image]].item()) for patch in now]
    levels = []
    for cropped in patch_crops(run, recorded, notify):
        start, end = (samples[edge][rows[cropped.patch.image]].item() for edge in ("low", "high"))
        inside = (low >= start) & (high <= end)
        levels.append(Level(start, end, int(count[inside].sum()), cropped))
    levels.sort(key=lambda level: level.patch.patch.activation)
    changes = (abs(a.activation - b.activation) for a, b in zip(now, recorded, strict=True))
    return tuple(levels), max(changes, default=0.0)


def _by_selectivity(classes: Table) -> Table:
    """The most selective classes first, those with a single image after all others."""
    order = np.lexsort((-classes["d_prime"], -classes["selectivity"], classes["images"] < 2))
    return classes.take(order)
