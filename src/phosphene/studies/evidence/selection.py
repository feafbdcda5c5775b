"""Which units of a layer are shown, and which of their patches."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from phosphene.core.errors import OptionError, TargetError
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
