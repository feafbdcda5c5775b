"""Which units of a layer are shown, which of their patches, and which images belong to a class."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from phosphene.core.errors import OptionError, TargetError, did_you_mean
from phosphene.core.networks.network import Network, fold_label
from phosphene.studies.evidence.crops import PatchCrop, patch_crops
from phosphene.survey.store.patch import Patch
from phosphene.survey.store.run import Run


def parse_unit(run: Run, target: str) -> tuple[str, int]:
    """Layer and channel of a unit.

    Args:
        run: whose units.
        target: LAYER:CHANNEL.

    Raises:
        TargetError: it is written otherwise, or the layer has no such channel.
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


def select_units(run: Run, layer: str, units: str | Sequence[int], *, seed: int = 0) -> tuple[int, ...]:
    """The channels of a layer that a text names.

    Args:
        run: the survey.
        layer: whose units.
        units: "random:16", that many drawn uniformly; "top:16", those with the largest activations; "1,5,9".
        seed: of the draw.

    Raises:
        LayerError: the survey has no such layer.
        TargetError: the layer has no such unit.
        OptionError: any other text.
    """
    total = run.channels(layer)
    if not isinstance(units, str):
        channels = tuple(units)
    elif rule := re.fullmatch(r"(random|top):([1-9]\d*)", units):
        count = min(int(rule[2]), total)
        if rule[1] == "top":
            table = run.units(layer)
            return tuple(table["channel"][np.lexsort((table["channel"], -table["max"]))][:count].tolist())
        return tuple(sorted(np.random.default_rng(seed).choice(total, count, replace=False).tolist()))
    elif re.fullmatch(r"\d+(,\d+)*", units.replace(" ", "")):
        channels = tuple(map(int, units.split(",")))
    else:
        raise OptionError(f"units={units!r}: want random:16, top:16 or channels such as 1,5,9")
    for channel in channels:
        run.unit(layer, channel)
    return channels


def strongest_patches(run: Run, layer: str, channel: int, k: int) -> tuple[Patch, ...]:
    """The k strongest patches of a unit; of identical files only the first counts.

    A patch at the unit's smallest activation over the survey is left out, since every place of the image may have that
    value: so a dead unit has no patches.
    """
    least = float(run.unit(layer, channel).get("min", "-inf"))
    contents, patches = set[str](), list[Patch]()
    for patch in run.patches(layer, channel):
        content = str(run.images["sha256"][patch.image])
        if patch.activation > least and content not in contents:
            contents.add(content)
            patches.append(patch)
    return tuple(patches[:k])


def strongest_crops(run: Run, layer: str, channel: int, k: int) -> tuple[PatchCrop, ...]:
    """The same with their pixels."""
    return patch_crops(run, strongest_patches(run, layer, channel, k))


def find_class(network: Network, run: Run, name: str) -> tuple[str, int | None]:
    """The label and the index of a class; "" where no image is labeled so, None where the network does not have it.

    Args:
        network: that was surveyed.
        run: the survey.
        name: a label of the images, a class of the network, or its index.

    Raises:
        TargetError: no class of that name.
    """
    labels = sorted({*run.images["label"].tolist()} - {""})
    label = next((known for known in labels if fold_label(known) == fold_label(name)), "")
    try:
        index = int(name) if name.isdecimal() and name not in network.labels else network.index(label or name)
    except TargetError as error:
        if label:
            return label, None
        if fold_label(name) in map(fold_label, network.labels):  # the name of several classes
            raise
        near = did_you_mean(name, (*labels, *network.labels))
        raise TargetError(f"no label and no class is called {name!r}; {near}") from error
    if index >= network.classes:
        raise TargetError(
            f"{network.name} has no class {index}; its {network.classes} classes are 0 … {network.classes - 1}"
        )
    names = {fold_label(part) for part in (network.label(index), *network.label(index).split(","))}
    return label or next((known for known in labels if fold_label(known) in names), ""), index


def class_images(run: Run, label: str, index: int | None) -> tuple[tuple[int, ...], str]:
    """The images of a class by label, or else by prediction, or else all; and which they are, in words."""
    images, ok = run.images, run.images["ok"]
    choices = [
        (ok & (images["label"] == label) & bool(label), f"labeled {label}"),
        (
            ok & (images["predicted"] == (-1 if index is None else index)),
            "that the network predicts to be of the class",
        ),
    ]
    for chosen, words in choices:
        if chosen.any():
            count = int(chosen.sum())
            return tuple(np.flatnonzero(chosen).tolist()), f"{_count(count)} {words}"
    return tuple(np.flatnonzero(ok).tolist()), "all images, as none of the class was surveyed"


def _count(images: int) -> str:
    return "the one image" if images == 1 else f"the {images:,} images"
