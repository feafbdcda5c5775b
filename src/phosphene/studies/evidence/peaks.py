"""Where a unit has its strongest activation in given images; and images drawn at random."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from phosphene.core.networks.network import Network
from phosphene.studies.evidence.crops import Notify, ignore
from phosphene.studies.evidence.photographs import read_batches
from phosphene.survey.engine.patch_boxes import place_box
from phosphene.survey.store.patch import Patch
from phosphene.survey.store.run import Run

RANDOM = 9
"""How many images are drawn."""

BATCH = 8
"""Images of a pass."""


def random_images(run: Run, seed: int = 0, count: int = RANDOM) -> tuple[int, ...]:
    """Numbers of readable images of a survey, drawn uniformly without repeats.

    Args:
        run: the survey.
        seed: of the draw.
        count: how many, at most.
    """
    readable = np.flatnonzero(run.images["ok"])
    return tuple(np.random.default_rng(seed).choice(readable, min(count, len(readable)), replace=False).tolist())


def peak_patches(  # noqa: PLR0917  a unit is a layer and a channel
    run: Run, network: Network, layer: str, channel: int, images: Sequence[int], *, notify: Notify = ignore
) -> tuple[Patch, ...]:
    """The patch at the strongest activation of a unit in each image. Cost: a truncated forward pass for each.

    Images that can no longer be read are left out.

    Args:
        run: the survey.
        network: that was surveyed.
        layer: of the unit.
        channel: of the unit.
        images: their numbers in the survey.
        notify: called with the reason why a file cannot be read.
    """
    patches: list[Patch] = []
    for numbers, batch, boxes in read_batches(network, run.picture, images, size=BATCH, on_error=notify):
        with torch.no_grad():
            maps = network.tap(batch, [layer])[layer][:, channel]
        rows = maps.reshape(len(maps), -1, maps.shape[-1] if maps.ndim > 1 else 1)
        for number, seen, activations in zip(numbers, boxes, rows, strict=True):
            row, column = divmod(int(activations.argmax()), activations.shape[1])
            box, whole = place_box(network, layer, row, column, seen)
            value = activations[row, column].item()
            patches.append(Patch(layer, channel, "top", len(patches), number, value, row, column, box, whole))
    return tuple(patches)
