"""The last layer before the classifier: what the network has to say of an image as a whole."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch
from torch import Tensor

from phosphene.core.errors import LayerError
from phosphene.core.images.image import Picture, resize
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
        return (self.layer or penultimate(network),)

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


def penultimate(network: Network) -> str:
    """The layer whose channels the classifier weighs: the last one before it with as many as it takes.

    Raises:
        LayerError: no layer comes before the logits.
    """
    names = [name for name in network.layers if network.layers[name].layout != "other"]
    modules = dict(network.module.named_modules())
    heads = [
        name for name in names if network.layers[name].kind == "Linear" and network.layers[name].layout == "vector"
    ]
    if heads:
        wanted = int(modules[heads[-1].partition("#")[0]].in_features)
        before = names[: names.index(heads[-1])]
        fit = [name for name in before if network.layers[name].shape[0] == wanted]
        vectors = [name for name in fit if network.layers[name].layout == "vector"]
        if fit:
            return (vectors or fit)[-1]
    if len(names) < 2:
        raise LayerError(f"{network.name} has no layer before its logits to embed images by; give Embeddings(layer=…)")
    return names[-2]


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
