"""Which units of a layer, and which of their patches."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from phosphene.core.errors import OptionError
from phosphene.survey.store.run import Patch, Run


def choose(run: Run, layer: str, units: str | Sequence[int], *, seed: int = 0) -> tuple[int, ...]:
    """The channels of a layer that a text means.

    Args:
        run: the survey.
        layer: whose units.
        units: "random:16", that many drawn uniformly; "top:16", those whose strongest activation is greatest; "1,5,9".
        seed: of the draw.

    Raises:
        LayerError: the survey has no such layer.
        TargetError: the layer has no such unit.
        OptionError: another text.
    """
    channels = run.channels(layer)
    if not isinstance(units, str):
        found = tuple(units)
    elif way := re.fullmatch(r"(random|top):([1-9]\d*)", units):
        count = min(int(way[2]), channels)
        if way[1] == "top":
            table = run.units(layer)
            return tuple(table["channel"][np.lexsort((table["channel"], -table["max"]))][:count].tolist())
        return tuple(sorted(np.random.default_rng(seed).choice(channels, count, replace=False).tolist()))
    elif re.fullmatch(r"\d+(,\d+)*", units.replace(" ", "")):
        found = tuple(map(int, units.split(",")))
    else:
        raise OptionError(f"units={units!r}: want random:16, top:16 or channels such as 1,5,9")
    for channel in found:
        run.unit(layer, channel)
    return found


def strongest(run: Run, layer: str, channel: int, k: int) -> tuple[Patch, ...]:
    """The k strongest patches of a unit; of files that are copies of each other the first alone.

    An image in which the unit is nowhere above its least value over the survey stands there by its number alone, and is
    left out: so a dead unit has no patches.
    """
    least, seen, found = float(run.unit(layer, channel).get("min", "-inf")), set[str](), list[Patch]()
    for patch in run.patches(layer, channel):
        content = str(run.images["sha256"][patch.image])
        if patch.activation > least and content not in seen:
            seen.add(content)
            found.append(patch)
    return tuple(found[:k])
