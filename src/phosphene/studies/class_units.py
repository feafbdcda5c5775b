"""Which units speak for a class: by the weights of the classifier, and by what a survey measured."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from itertools import groupby
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from phosphene.attribution import attribute
from phosphene.attribution.cams.cam import CAM
from phosphene.core.errors import LayerError, RunError, TargetError, nearest
from phosphene.core.networks.anatomy import classifier
from phosphene.core.networks.network import Box, Network
from phosphene.studies.evidence.crops import PatchCrop, patch_crops
from phosphene.studies.evidence.selection import strongest_crops
from phosphene.survey.store.run import Patch, Run

PATCHES = 6
"""Patches of each unit."""


class Contribution(NamedTuple):
    """What one unit gives to the logit of a class: weight × mean.

    Args:
        channel: of the layer that is pooled.
        weight: of the classifier, from this unit to the class.
        mean: of the unit over all places of the images of the class.
        value: their product, in logits.
        shots: the images of the survey in which its mean is greatest.
    """

    channel: int
    weight: float
    mean: float
    value: float
    shots: tuple[PatchCrop, ...]


class Selective(NamedTuple):
    """A unit that tells the images of a class from the others; its numbers are those of the table of classes."""

    layer: str
    channel: int
    images: int
    mean_max: float
    selectivity: float
    d_prime: float
    shots: tuple[PatchCrop, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class ClassUnits:
    """The units that speak for a class.

    Args:
        run: the survey.
        network: that was surveyed.
        name: of the class.
        index: of the class in the network; None for a label that the network has not.
        images: numbers of the images over which means are taken.
        basis: which images those are, in words.
        layer: whose units the classifier weighs; "" where the network is no CAM network.
        contributions: the greatest of them, greatest first.
        logit: mean of the logit over the images: the sum of all contributions, and the bias.
        bias: of the classifier.
        selective: layer → its units most selective for the class, most selective first.
        notes: what could not be told, and why.
    """

    run: Run
    network: Network
    name: str
    index: int | None
    images: tuple[int, ...]
    basis: str
    layer: str = ""
    contributions: tuple[Contribution, ...] = ()
    logit: float = 0.0
    bias: float = 0.0
    selective: Mapping[str, tuple[Selective, ...]] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()


def class_units(network: Network, run: Run, name: str, *, k: int = 10) -> ClassUnits:
    """The units that contribute most to a class, and in each layer those that are most selective for it.

    On a network that ends in global average pooling and one linear layer, the logit is a sum over units, and the part
    of unit u in the logit of class c is weight[c, u] · mean[u]; mean[u] is taken over the images of the class, which
    the survey's embeddings hold. On others the survey's class statistics alone can tell.

    Args:
        network: that was surveyed.
        run: a finished survey.
        name: a label of the images, a class of the network, or its index.
        k: how many units.

    Raises:
        TargetError: no class of that name.
        RunError: another network was surveyed, or no image could be read.
        ImageError: a photograph is gone, or has changed.

    Reference: Zhou et al., CVPR 2016, section 3.4 ("class-specific units").
    """
    run.check_network(network)
    label, index = _class(network, run, name)
    images, basis = _images(run, label, index)
    if not images:
        raise RunError(f"the survey in {run.folder} could read no image; make another")
    found = ClassUnits(run, network, label or network.label(index or 0), index, images, basis)
    selective = _selective(run, found.name, k)
    found = dataclasses.replace(found, selective=selective, notes=_doubts(found, selective))
    if index is None:
        return _noted(found, f"{network.name} has no class {label!r}, so no weights speak of it")
    try:
        return _contributions(found, index, k)
    except LayerError as error:
        return _noted(found, f"no contributions: {error}")


def _doubts(found: ClassUnits, selective: Mapping[str, tuple[Selective, ...]]) -> tuple[str, ...]:
    """What the number of images of the class does not allow to say."""
    counts = {each.images for units in selective.values() for each in units}
    if not counts:
        how = "labeled" if found.run.manifest["named"] else "predicted to be"
        return (f"no unit can be called selective for {found.name}: that takes images {how} so, and others",)
    if counts == {1}:
        return (f"the survey has one image of {found.name}: the units are selective for that image",)
    return ()


def _noted(found: ClassUnits, note: str) -> ClassUnits:
    return dataclasses.replace(found, notes=(*found.notes, note))


def _contributions(found: ClassUnits, index: int, k: int) -> ClassUnits:
    """The same with the contributions of the units that the classifier weighs.

    Raises:
        LayerError: the network is no CAM network, or the survey's embeddings are not what its classifier reads.
    """
    run, network = found.run, found.network
    example = network.prepare(run.picture(found.images[0])).images
    layer = attribute(network, example, index, method=CAM()).layer
    head = classifier(network)
    assert head is not None, "CAM has just used it"
    weight = head.weight.cpu().double().numpy()
    bias = np.zeros(len(weight)) if head.bias is None else head.bias.cpu().double().numpy()
    _check(run, weight, bias)
    mean = np.asarray(run.embeddings[list(found.images)], np.float64).mean(0)
    value = weight[index] * mean
    best = np.argsort(-value, kind="stable")[:k].tolist()
    contributions = tuple(
        Contribution(u, float(weight[index, u]), float(mean[u]), float(value[u]), _greatest(run, layer, u))
        for u in best
    )
    logit = float(value.sum() + bias[index])
    return dataclasses.replace(found, layer=layer, contributions=contributions, logit=logit, bias=float(bias[index]))


def _check(run: Run, weight: npt.NDArray[np.float64], bias: npt.NDArray[np.float64]) -> None:
    """The embeddings, put through the classifier, must give the logits that the survey recorded."""
    if "logits" not in run.layers:
        raise LayerError("the survey kept no logits to check them against; add the layer logits")
    some = np.flatnonzero(run.images["ok"] & np.isfinite(run.images["logit"]))[:CHECKED]
    rows, classes = np.asarray(run.embeddings[some], np.float64), run.images["predicted"][some]
    recorded = run.images["logit"][some]
    if len(some) and rows.shape[1] == weight.shape[1]:
        again = (rows * weight[classes]).sum(1) + bias[classes]
        if np.allclose(again, recorded, rtol=0, atol=0.01 * np.abs(recorded).max()):
            return
    raise LayerError("the survey's embeddings are of another layer than the one that the classifier reads")


CHECKED = 64
"""Images for which the logits are computed again."""


def _greatest(run: Run, layer: str, channel: int) -> tuple[PatchCrop, ...]:
    """The images in which the mean of a unit is greatest, with that mean, as the network saw them."""
    means = np.nan_to_num(np.asarray(run.embeddings[:, channel], np.float32), nan=-np.inf)
    images = np.argsort(-means, kind="stable")[: min(PATCHES, int(run.images["ok"].sum()))].tolist()
    seen = [Box(*(float(run.images[side][each]) for side in Box._fields)) for each in images]
    return patch_crops(
        run,
        [
            Patch(layer, channel, "top", rank, image, float(means[image]), 0, 0, box, whole=True)
            for rank, (image, box) in enumerate(zip(images, seen, strict=True))
        ],
    )


def _class(network: Network, run: Run, name: str) -> tuple[str, int | None]:
    """The label and the index of a class; "" where no image has it as a label, None where the network has it not."""
    labels = sorted({*run.images["label"].tolist()} - {""})
    label = next((each for each in labels if _fold(each) == _fold(name)), "")
    try:
        index = int(name) if name.isdecimal() and name not in network.labels else network.index(label or name)
    except TargetError as error:
        if label:
            return label, None
        if _fold(name) in map(_fold, network.labels):  # the name of several
            raise
        near = nearest(name, (*labels, *network.labels))
        raise TargetError(f"no label and no class is called {name!r}; {near}") from error
    if index >= network.classes:
        raise TargetError(
            f"{network.name} has no class {index}; its {network.classes} classes are 0 … {network.classes - 1}"
        )
    names = {_fold(each) for each in (network.label(index), *network.label(index).split(","))}
    return label or next((each for each in labels if _fold(each) in names), ""), index


def _fold(name: str) -> str:
    return re.sub(r"[\s_]+", " ", name).strip().casefold()


def _images(run: Run, label: str, index: int | None) -> tuple[tuple[int, ...], str]:
    """The images of a class by label, or else by prediction, or else all; and which they are, in words."""
    images, ok = run.images, run.images["ok"]
    ways = [
        (ok & (images["label"] == label) & bool(label), f"labeled {label}"),
        (
            ok & (images["predicted"] == (-1 if index is None else index)),
            "that the network predicts to be of the class",
        ),
    ]
    for chosen, words in ways:
        if chosen.any():
            count = int(chosen.sum())
            return tuple(np.flatnonzero(chosen).tolist()), f"{_count(count)} {words}"
    return tuple(np.flatnonzero(ok).tolist()), "all images, as none of the class was surveyed"


def _count(images: int) -> str:
    return "the one image" if images == 1 else f"the {images:,} images"


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
