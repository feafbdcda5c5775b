"""Embeddings of images: the activations of the last layer before the classifier."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import torch
from torch import Tensor

from phosphene.core.images.image import Picture, resize
from phosphene.core.networks.anatomy import embedding_layer
from phosphene.core.networks.network import Images, Network
from phosphene.survey.accumulators.accumulator import Accumulator, AccumulatorState, BatchStatistics, SurveyLayer

THUMB = 32
"""Side of the thumbnail of each image, in pixels: images are compared by their pixels at this size."""


@dataclasses.dataclass(frozen=True)
class Embeddings(Accumulator, name="embeddings"):
    """A row for each image: the spatial means of one layer, as float16, in the file embeddings.npy.

    Args:
        layer: whose; the last one before the classifier by default.
    """

    default: ClassVar[bool] = True
    image_array: ClassVar[str] = "the spatial means of the last layer before the classifier, float16"
    layer: str = ""

    def layers(self, network: Network, chosen: tuple[str, ...]) -> tuple[str, ...]:  # noqa: ARG002
        """Its own layer only."""
        return (self.layer or embedding_layer(network),)

    def start(self, layer: SurveyLayer) -> AccumulatorState:  # noqa: ARG002
        """An empty state: rows are written, not summed."""
        return {}

    def update(self, state: AccumulatorState, batch: BatchStatistics) -> None:
        """Nothing to add."""

    def image_rows(self, batch: BatchStatistics) -> Tensor:
        """(N, C) float16."""
        return batch.mean.half()

    def merge(self, state: AccumulatorState, other: AccumulatorState) -> None:
        """Nothing to add."""


def thumbnail(images: Images) -> Tensor:
    """Images (N, 3, H, W) as uint8 (N, 32, 32, 3)."""
    return (resize(images, (THUMB, THUMB), "bilinear") * 255).round().byte().permute(0, 2, 3, 1).cpu()


def embed(network: Network, layer: str, picture: Picture) -> tuple[Tensor, Tensor]:
    """The embedding of a picture as a survey writes it, (C,) float16, and its thumbnail, uint8 (32, 32, 3).

    Args:
        network: that was surveyed.
        layer: of the embeddings of the survey.
        picture: any photograph.
    """
    images = network.prepare(picture).images
    with torch.no_grad():
        maps = network.tap(images, [layer])[layer][0]
    return maps.reshape(maps.shape[0], -1).float().mean(1).half().cpu(), thumbnail(images)[0]
