"""Photographs of a survey or of a folder, read a few at a time; those that cannot be read are reported."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from phosphene.core.errors import ImageError
from phosphene.core.images.image import Picture
from phosphene.core.networks.network import Box, Images, Network
from phosphene.survey.sources.image_list import list_images
from phosphene.survey.store.run import Run

BATCH = 4
"""Images of a pass."""

PhotographSource = str | Path | Sequence[str | Path]
"""A folder, a pattern, a table or a shard of images, or several of them."""


class Photographs(NamedTuple):
    """Some images of a survey or of a folder.

    Args:
        sources: the file of each.
        labels: the class of each, "" where none is known.
        load: reads one by its index in `sources`; raises ImageError.
    """

    sources: tuple[str, ...]
    labels: tuple[str, ...]
    load: Callable[[int], Picture]

    @classmethod
    def of(cls, source: Run | PhotographSource, limit: int, seed: int = 0) -> Photographs:
        """At most `limit` images, drawn by the seed, in their own order."""
        if not isinstance(source, Run):
            images = list_images(source, limit=limit, seed=seed)
            return cls(images.sources, images.classes, images.load)
        readable = np.flatnonzero(source.images["ok"])
        drawn = np.sort(np.random.default_rng(seed).choice(readable, min(limit, len(readable)), replace=False)).tolist()
        sources, labels = (tuple(source.images[name][drawn].tolist()) for name in ("source", "label"))
        return cls(sources, labels, lambda index: source.picture(drawn[index]))


class ReadBatch(NamedTuple):
    """Photographs at the size of the input of a network.

    Args:
        indices: of the photographs.
        images: (N, 3, H, W), RGB in [0, 1].
        boxes: the part of each photograph that the network gets, in its pixels.
    """

    indices: tuple[int, ...]
    images: Images
    boxes: tuple[Box, ...]


def read_batches(
    network: Network,
    load: Callable[[int], Picture],
    indices: Sequence[int],
    *,
    size: int = BATCH,
    on_error: Callable[[str], object],
) -> Iterator[ReadBatch]:
    """Photographs prepared for a network, a few at a time; those that cannot be read are skipped.

    Args:
        network: whose input size.
        load: reads a photograph by its index; raises ImageError.
        indices: of the photographs, in the order in which they are read.
        size: images of a batch, at most.
        on_error: called with the reason why a photograph cannot be read.
    """
    waiting: list[tuple[int, Images, Box]] = []
    for position, index in enumerate(indices, 1):
        try:
            waiting.append((index, *network.prepare(load(index))))
        except ImageError as error:
            on_error(str(error))
        if len(waiting) == size or (waiting and position == len(indices)):
            read, images, boxes = zip(*waiting, strict=True)
            yield ReadBatch(read, torch.cat(images), boxes)
            waiting.clear()
