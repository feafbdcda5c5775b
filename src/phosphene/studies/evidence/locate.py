"""Images of a survey that nobody picked, and where a unit answers in them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from phosphene.core.errors import ImageError
from phosphene.core.networks.network import Network
from phosphene.studies.evidence.crops import Tell, silent
from phosphene.survey.engine.patch_boxes import place_box
from phosphene.survey.store.run import Patch, Run

RANDOM = 9
"""How many images are drawn."""

BATCH = 8
"""Images in a pass."""


def drawn(run: Run, seed: int = 0, count: int = RANDOM) -> tuple[int, ...]:
    """Numbers of images that could be read, drawn uniformly without repeats.

    Args:
        run: whose images.
        seed: of the draw.
        count: how many, at most.
    """
    there = np.flatnonzero(run.images["ok"])
    return tuple(np.random.default_rng(seed).choice(there, min(count, len(there)), replace=False).tolist())


def locate(  # noqa: PLR0917  a unit, and where it is
    run: Run, network: Network, layer: str, channel: int, images: Sequence[int], *, tell: Tell = silent
) -> tuple[Patch, ...]:
    """Where, and how much, a unit answers most in each of some images. Cost: a truncated forward pass for each.

    Images that cannot be read any more are left out.

    Args:
        run: whose images.
        network: that was surveyed.
        layer: of the unit.
        channel: of the unit.
        images: their numbers.
        tell: hears of every file that cannot be read.
    """
    found: list[Patch] = []
    for start in range(0, len(images), BATCH):
        there = {}
        for image in images[start : start + BATCH]:
            try:
                there[image] = network.prepare(run.picture(image))
            except ImageError as error:
                tell(str(error))
        if not there:
            continue
        with torch.no_grad():
            maps = network.tap(torch.cat([each.images for each in there.values()]), [layer])[layer][:, channel]
        rows = maps.reshape(len(maps), -1, maps.shape[-1] if maps.ndim > 1 else 1)
        for (image, prepared), each in zip(there.items(), rows, strict=True):
            row, column = divmod(int(each.argmax()), each.shape[1])
            box, whole = place_box(network, layer, row, column, prepared.box)
            value = each[row, column].item()
            found.append(Patch(layer, channel, "top", len(found), image, value, row, column, box, whole))
    return tuple(found)
