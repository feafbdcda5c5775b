"""The activation maps of a layer for some images: grey pictures of the channels, strongest first."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor

from phosphene.core import files
from phosphene.core.errors import LayerError, TargetError
from phosphene.core.images import drawing
from phosphene.core.images.image import Uint8Image
from phosphene.core.networks.network import Images, Network
from phosphene.core.result import File, Result
from phosphene.weights.grid import labeled_grid
from phosphene.weights.response import Response, channel_responses

Sort = Literal["max", "mean", "index"]
ActivationScaling = Literal["shared", "per-channel"]


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class ActivationMaps(Result):
    """The activations of one layer, in the order and on the scale in which they are drawn.

    Args:
        values: (N, C, H, W), or (N, C) where the layer is not spatial; raw.
        images: (N, 3, H, W), the input of the network.
        network: whose layer it is.
        layer: its name.
        sort: what channels are ordered by, strongest first: their max or mean activation; or their index.
        scaling: whether white is the strongest activation of all channels, or of each channel.
        top: how many channels are drawn; None for all.
        overlays: how many of the drawn channels are saved as overlays on each image.
    """

    verb: str = "activations"

    values: Tensor = dataclasses.field(repr=False)
    images: Images = dataclasses.field(repr=False)
    network: Network
    layer: str
    sort: Sort = "max"
    scaling: ActivationScaling = "shared"
    top: int | None = None
    overlays: int = 3

    def __post_init__(self) -> None:
        object.__setattr__(self, "notes", tuple(self._note(at) for at in range(len(self.values))))

    @property
    def _maps(self) -> Tensor:
        return self.values if self.values.ndim == 4 else self.values[:, :, None, None]

    def _note(self, at: int) -> str:
        """What black and white mean in one image, and how many channels are inactive."""
        low, high = (level.item() for level in self._range(at, (0, 1, 2)))
        inactive = int((self._maps[at].flatten(1).amax(1) <= 0).sum())
        image = f"image {at}, " if len(self.values) > 1 else ""
        scale = f"black is {low:.3g} and white {high:.3g}" if self.scaling == "shared" else "each on its own scale"
        return f"{image}{self.layer}: {scale}; {inactive} of {self.values.shape[1]} channels are nowhere above 0"

    def _range(self, at: int, dims: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """The activations drawn black and white."""
        maps = self._maps[at]
        return maps.amin(dims, keepdim=True).clamp(max=0), maps.amax(dims, keepdim=True).clamp(min=0)

    def responses(self, at: int = 0) -> tuple[Response, ...]:
        """Statistics of every channel for one image, in the order of the channels."""
        return channel_responses(self._maps[at])

    def order(self, at: int = 0) -> tuple[int, ...]:
        """The channels drawn for one image, in their order; equal ones stay in the order of the channels."""
        flat = self._maps[at].flatten(1)
        if self.sort == "index":
            return tuple(range(len(flat)))[: self.top]
        key = flat.amax(1) if self.sort == "max" else flat.mean(1)
        return tuple(key.argsort(descending=True, stable=True).tolist())[: self.top]

    def scaled(self, at: int = 0) -> Tensor:
        """The drawn channels of one image as grey pictures (n, 1, H, W) in [0, 1], brighter where they are more active.

        The range of the scale always contains zero, so that black is zero unless something is below it, and a channel
        that is nearly constant is not stretched to full contrast.
        """
        low, high = self._range(at, (0, 1, 2) if self.scaling == "shared" else (1, 2))
        scaled = (self._maps[at] - low) / (high - low).where(high > low, 1)
        return scaled[list(self.order(at)), None]

    def grid(self, at: int = 0) -> Uint8Image:
        """The drawn channels of one image under their indices; where the layer is not spatial, a square each."""
        side = 56 if self.values.ndim == 4 else 40
        return labeled_grid(self.scaled(at), [str(channel) for channel in self.order(at)], side=side)

    def upsampled(self, channel: int, at: int = 0) -> Tensor:
        """The map of one channel at the size of the image, (H, W): bilinear, pixel centers aligned.

        Raises:
            TargetError: no such channel.
            LayerError: the layer is not spatial.
        """
        channels = self.values.shape[1]
        if not 0 <= channel < channels:
            raise TargetError(
                f"{self.layer} of {self.network.name} has no channel {channel}; its {channels} are 0 … {channels - 1}"
            )
        if self.values.ndim != 4:
            raise LayerError(f"{self.layer} of {self.network.name} is not spatial; choose a layer before the pooling")
        maps = self.values[at : at + 1, channel : channel + 1]
        return F.interpolate(maps, self.images.shape[2:], mode="bilinear", align_corners=False)[0, 0]

    def overlay(self, channel: int, at: int = 0) -> tuple[Uint8Image, drawing.Scale]:
        """One channel over the image, and the scale of its colors.

        Raises:
            TargetError: no such channel.
            LayerError: the layer is not spatial.
        """
        return drawing.overlay(self.images[at], self.upsampled(channel, at), unit="activation")

    def table(self) -> dict[str, Any]:
        """The statistics of every channel, as plain values."""
        return {
            "layer": self.layer,
            "shape": list(self.values.shape),
            "sort": self.sort,
            "images": [
                {
                    "order": list(self.order(at)),
                    "channels": [dataclasses.asdict(response) for response in self.responses(at)],
                }
                for at in range(len(self.values))
            ],
            "notes": list(self.notes),
        }

    def files(self) -> Iterator[File]:
        """The raw maps, the statistics, and for each image the grid and the strongest channels over the image."""
        name, shape = f"activations-{files.slug(self.layer)}", list(self.values.shape)
        about: dict[str, Any] = {"layer": self.layer}
        yield File.array(f"{name}.npy", self.values.float().cpu().numpy(), **about, unit="activation")
        about["shape"] = shape
        yield File.text(f"{name}.json", json.dumps(self.table(), indent=1) + "\n", kind="table", **about)
        for at in range(len(self.values)):
            stem = f"{name}-{at}" if len(self.values) > 1 else name
            yield File.picture(f"{stem}.png", self.grid(at), **about, image=at)
            for channel in self.order(at)[: self.overlays if self.values.ndim == 4 else 0]:
                path, pixels = f"{stem}-channel-{channel}.png", self.overlay(channel, at)[0]
                yield File.picture(path, pixels, kind="overlay", **about, image=at, channel=channel)

    def pictures(self) -> list[Uint8Image]:
        """The grid of each image."""
        return [self.grid(at) for at in range(len(self.values))]

    def lines(self) -> tuple[str, ...]:
        """The strongest channels of each image."""
        names = [picture.name for picture in self.inputs] or [f"image {at}" for at in range(len(self.values))]
        strongest = [", ".join(map(str, self.order(at)[:5])) for at in range(len(self.values))]
        about = f"{self.layer}, {self.values.shape[1]} channels"
        return tuple(f"{name}: {about}, strongest {best}" for name, best in zip(names, strongest, strict=True))


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class LayerActivations(Result):
    """The activations of several layers, from one pass.

    Args:
        layers: the activations of each layer, in the order asked for.
    """

    verb: str = "activations"

    layers: tuple[ActivationMaps, ...]

    def __iter__(self) -> Iterator[ActivationMaps]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, index: int) -> ActivationMaps:
        return self.layers[index]

    def files(self) -> Iterator[File]:
        """The files of each layer, in a folder of its name."""
        for maps in self.layers:
            folder = files.slug(maps.layer)
            yield from (dataclasses.replace(file, path=f"{folder}/{file.path}") for file in maps.files())

    def facts(self) -> Mapping[str, Any]:
        """Names of the layers."""
        return {"layers": [maps.layer for maps in self.layers]}

    def pictures(self) -> list[Uint8Image]:
        """The grid of each layer and image."""
        return [picture for maps in self.layers for picture in maps.pictures()]

    def lines(self) -> tuple[str, ...]:
        """The strongest channels of each layer and image."""
        return tuple(line for maps in self.layers for line in dataclasses.replace(maps, inputs=self.inputs).lines())
