"""Which units contribute to a class, by the weights of the classifier; and which are selective for it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from phosphene.attribution import attribute
from phosphene.attribution.cams.cam import CAM
from phosphene.core.errors import LayerError, RunError
from phosphene.core.images import drawing
from phosphene.core.images.image import Uint8Image
from phosphene.core.networks.anatomy import classifier
from phosphene.core.networks.network import Box, Network
from phosphene.core.result import Cost, File, Result
from phosphene.studies.evidence.crops import PatchCrop, patch_crops
from phosphene.studies.evidence.selection import class_images, find_class, strongest_crops
from phosphene.studies.evidence.tables import patch_rows, plain
from phosphene.studies.evidence.tiles import fit_square
from phosphene.survey.store.patch import Patch
from phosphene.survey.store.run import Run

PATCHES = 6
"""Patches of each unit."""

TILE = 96
"""Side of a patch on the plate, in pixels."""

CHECKED = 64
"""Images whose logits are computed again from the embeddings."""


class Contribution(NamedTuple):
    """What one unit adds to the logit of a class: weight × mean.

    Args:
        channel: of the layer that is pooled.
        weight: of the classifier, from this unit to the class.
        mean: of the unit over all places of the images of the class.
        value: their product, in logits.
        patches: the images of the survey with the largest mean of the unit.
    """

    channel: int
    weight: float
    mean: float
    value: float
    patches: tuple[PatchCrop, ...]


class Selective(NamedTuple):
    """A unit that is selective for a class, with its row of the table of classes and its strongest patches."""

    layer: str
    channel: int
    images: int
    mean_max: float
    selectivity: float
    d_prime: float
    patches: tuple[PatchCrop, ...]


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class ClassUnits(Result):
    """The units that contribute to a class, and those that are selective for it.

    Args:
        network: that was surveyed.
        run: the survey.
        target: name of the class.
        index: of the class in the network; None for a label that the network does not have.
        images: numbers of the images over which means are taken.
        basis: which images those are, in words.
        layer: that the classifier pools; "" where the network does not end in global average pooling.
        contributions: the largest, largest first.
        logit: mean of the logit over the images: the sum of all contributions, and the bias.
        bias: of the classifier.
        selective: layer → its units most selective for the class, most selective first.
    """

    verb: str = "classes"

    network: Network
    run: Run
    target: str
    index: int | None
    images: tuple[int, ...]
    basis: str
    layer: str = ""
    contributions: tuple[Contribution, ...] = ()
    logit: float = 0.0
    bias: float = 0.0
    selective: Mapping[str, tuple[Selective, ...]] = dataclasses.field(default_factory=dict)

    def plate(self) -> Uint8Image | None:
        """The contributing units, or else the selective ones of the last layer, a row of patches each."""
        last: Sequence[Contribution | Selective] = (list(self.selective.values()) or [()])[-1]
        rows = [
            drawing.label(
                drawing.grid([fit_square(patch.crop, TILE) for patch in unit.patches], len(unit.patches)),
                f"{getattr(unit, 'layer', self.layer)}:{unit.channel}",
            )
            for unit in self.contributions or last
            if unit.patches
        ]
        return drawing.grid(rows, 2, gap=12) if rows else None

    def files(self) -> Iterator[File]:
        """The plate."""
        if (plate := self.plate()) is not None:
            about: dict[str, Any] = {"class": self.target}
            yield File.picture("plate.png", plate, **about)

    def facts(self) -> Mapping[str, Any]:
        """The images, the contributions and the selective units, with their patches."""
        return {
            "class": {"name": self.target, "index": self.index},
            "basis": self.basis,
            "images": list(self.images),
            "layer": self.layer,
            "logit": self.logit,
            "bias": self.bias,
            "contributions": [self._row(unit) for unit in self.contributions],
            "selective": {layer: [self._row(unit) for unit in units] for layer, units in self.selective.items()},
        }

    def _row(self, unit: Contribution | Selective) -> dict[str, Any]:
        return {**plain(unit._asdict()), "patches": patch_rows(self.run, unit.patches)}

    def pictures(self) -> Sequence[Uint8Image]:
        """The plate."""
        plate = self.plate()
        return () if plate is None else (plate,)

    def lines(self) -> tuple[str, ...]:
        """The contributions as products, and the most selective units of each layer."""
        return (
            f"{self.target}, on {self.basis}",
            *(
                f"{unit.value:6.2f} = {unit.weight:.3f} × {unit.mean:.3g}  {self.layer}:{unit.channel}"
                for unit in self.contributions
            ),
            *(
                f"selective in {layer}: " + ", ".join(f"{unit.channel} ({unit.selectivity:.2f})" for unit in units[:5])
                for layer, units in self.selective.items()
            ),
        )


def class_units(network: Network, run: Run, name: str, *, k: int = 10) -> ClassUnits:
    """The units that contribute most to a class, and in each layer those that are most selective for it.

    On a network that ends in global average pooling and one linear layer, the logit is a sum over units, and the part
    of unit u in the logit of class c is weight[c, u] · mean[u]; mean[u] is taken over the images of the class, which
    the survey's embeddings hold. On other networks there are only the class statistics of the survey.

    Args:
        network: that was surveyed.
        run: a finished survey.
        name: a label of the images, a class of the network, or its index.
        k: how many units.

    Raises:
        TargetError: no class of that name.
        RunError: another network was surveyed, or no image could be read.
        ImageError: a photograph is missing, or has changed.

    Reference: Zhou et al., CVPR 2016, section 3.4 ("class-specific units").
    """
    start = time.perf_counter()
    run.check_network(network)
    label, index = find_class(network, run, name)
    images, basis = class_images(run, label, index)
    if not images:
        raise RunError(f"the survey in {run.folder} could read no image; make another")
    target = label or network.label(index or 0)
    selective = _selective(run, target, k)
    units = ClassUnits(
        network=network,
        run=run,
        target=target,
        index=index,
        images=images,
        basis=basis,
        selective=selective,
        options={"survey": str(run.folder), "k": k},
        notes=_selectivity_notes(run, target, selective),
    )
    if index is None:
        return _with_note(units, f"{network.name} has no class {label!r}, so no weights belong to it")
    try:
        contributions = _contributions(units, index, k)
    except LayerError as error:
        return _with_note(units, f"no contributions: {error}")
    return dataclasses.replace(units, **contributions, cost=Cost(forwards=1).since(start))


def _selectivity_notes(run: Run, target: str, selective: Mapping[str, tuple[Selective, ...]]) -> tuple[str, ...]:
    """What too few images of the class do not allow to conclude."""
    counts = {unit.images for units in selective.values() for unit in units}
    if not counts:
        how = "labeled" if run.labeled else "predicted to be"
        return (f"no unit can be called selective for {target}: that takes images {how} so, and others",)
    if counts == {1}:
        return (f"the survey has one image of {target}: the units are selective for that image",)
    return ()


def _with_note(units: ClassUnits, note: str) -> ClassUnits:
    return dataclasses.replace(units, notes=(*units.notes, note))


def _contributions(units: ClassUnits, index: int, k: int) -> dict[str, Any]:
    """The fields that the weights of the classifier determine.

    Raises:
        LayerError: the network has no global average pooling before one linear layer, or the survey's embeddings are
            not what its classifier reads.
    """
    run, network = units.run, units.network
    example = network.prepare(run.picture(units.images[0])).images
    layer = attribute(network, example, index, method=CAM()).layer
    head = classifier(network)
    assert head is not None, "CAM has just used it"
    weight = head.weight.cpu().double().numpy()
    bias = np.zeros(len(weight)) if head.bias is None else head.bias.cpu().double().numpy()
    _check_embeddings(run, weight, bias)
    mean = np.asarray(run.embeddings[list(units.images)], np.float64).mean(0)
    value = weight[index] * mean
    largest = np.argsort(-value, kind="stable")[:k].tolist()
    contributions = tuple(
        Contribution(u, float(weight[index, u]), float(mean[u]), float(value[u]), _largest_means(run, layer, u))
        for u in largest
    )
    logit = float(value.sum() + bias[index])
    return {"layer": layer, "contributions": contributions, "logit": logit, "bias": float(bias[index])}


def _check_embeddings(run: Run, weight: npt.NDArray[np.float64], bias: npt.NDArray[np.float64]) -> None:
    """The embeddings, put through the classifier, must give the logits that the survey recorded."""
    if "logits" not in run.layers:
        raise LayerError("the survey kept no logits to check them against; add the layer logits")
    some = np.flatnonzero(run.images["ok"] & np.isfinite(run.images["logit"]))[:CHECKED]
    rows, classes = np.asarray(run.embeddings[some], np.float64), run.images["predicted"][some]
    recorded = run.images["logit"][some]
    if len(some) and rows.shape[1] == weight.shape[1]:
        computed = (rows * weight[classes]).sum(1) + bias[classes]
        if np.allclose(computed, recorded, rtol=0, atol=0.01 * np.abs(recorded).max()):
            return
    raise LayerError("the survey's embeddings are of another layer than the one that the classifier reads")


def _largest_means(run: Run, layer: str, channel: int) -> tuple[PatchCrop, ...]:
    """The images with the largest mean of a unit, with that mean, cut to what the network saw."""
    means = np.nan_to_num(np.asarray(run.embeddings[:, channel], np.float32), nan=-np.inf)
    images = np.argsort(-means, kind="stable")[: min(PATCHES, int(run.images["ok"].sum()))].tolist()
    boxes = [Box(*(float(run.images[side][image]) for side in Box._fields)) for image in images]
    patches = [
        Patch(layer, channel, "top", rank, image, float(means[image]), 0, 0, box, whole=True)
        for rank, (image, box) in enumerate(zip(images, boxes, strict=True))
    ]
    return patch_crops(run, patches)


def _selective(run: Run, name: str, k: int) -> dict[str, tuple[Selective, ...]]:
    """In each layer, the units most selective for a class."""
    quoted = name.replace("'", "''")
    rows = run.query(
        "SELECT layer, channel, images, mean_max, selectivity, d_prime FROM classes "  # noqa: S608  quoted
        f"WHERE class = '{quoted}' AND NOT isnan(selectivity) "
        f"QUALIFY row_number() OVER (PARTITION BY layer ORDER BY selectivity DESC, channel) <= {k} "
        "ORDER BY layer, selectivity DESC, channel"
    ).rows
    by_layer = {layer: tuple(group) for layer, group in groupby(rows, key=lambda row: row[0])}
    return {
        layer: tuple(
            Selective._make((*row, strongest_crops(run, layer, row[1], PATCHES // 2))) for row in by_layer[layer]
        )
        for layer in run.layers
        if layer in by_layer and layer != "logits"
    }
