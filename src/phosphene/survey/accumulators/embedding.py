"""The last layer before the classifier: what the network has to say of an image as a whole."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch
from torch import Tensor

from phosphene.core.images.image import Picture, resize
from phosphene.core.networks.anatomy import embedding_layer
from phosphene.core.networks.network import Images, Network
from phosphene.survey.accumulators.accumulator import Accumulator, Columns, Seen, Site, State

THUMB = 32
"""Side of the small copy of each image, in pixels: the space in which raw pixels are compared."""


@dataclasses.dataclass(frozen=True)
class Embeddings(Accumulator, name="embeddings"):
    """A row for each image: the mean over the places of one layer, as float16, in the file embeddings.npy.

    Args:
        layer: whose; the last one before the classifier by default.
    """

    layer: str = ""

    def layers(self, network: Network, chosen: tuple[str, ...]) -> tuple[str, ...]:  # noqa: ARG002
        """Its own layer alone."""
        return (self.layer or embedding_layer(network),)

    def start(self, site: Site) -> State:  # noqa: ARG002
        """Nothing: rows do not fold."""
        return {}

    def update(self, state: State, seen: Seen) -> None:
        """Nothing to fold."""

    def rows(self, seen: Seen) -> Tensor:
        """(N, C) float16."""
        return seen.mean.half()

    def merge(self, state: State, other: State) -> None:
        """Nothing to fold."""

    def result(self, state: State, site: Site) -> Mapping[str, Columns]:  # noqa: ARG002
        """No table."""
        return {}


def thumbnail(images: Images) -> Tensor:
    """Images (N, 3, H, W) as uint8 (N, 32, 32, 3)."""
    return (resize(images, (THUMB, THUMB), "bilinear") * 255).round().byte().permute(0, 2, 3, 1).cpu()


def embed(network: Network, layer: str, picture: Picture) -> tuple[Tensor, Tensor]:
    """What a survey would have kept of a picture: its row (C,) float16, and its thumbnail uint8 (32, 32, 3).

    Args:
        network: the one of the survey.
        layer: the one of its embeddings.
        picture: any photograph.
    """
    images = network.prepare(picture).images
    with torch.no_grad():
        maps = network.tap(images, [layer])[layer][0]
    return maps.reshape(maps.shape[0], -1).float().mean(1).half().cpu(), thumbnail(images)[0]
