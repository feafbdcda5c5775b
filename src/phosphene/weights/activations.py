"""What every channel of a layer makes of an image: grey maps, strongest first."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from phosphene.core import files
from phosphene.core.errors import LayerError, OptionError, TargetError
from phosphene.core.images import drawing, image
from phosphene.core.images.image import Uint8Image
from phosphene.core.networks.network import Images, Network
from phosphene.core.result import Cost
from phosphene.weights.response import Response, measure
from phosphene.weights.sheet import sheet

Sort = Literal["max", "mean", "index"]
Scaling = Literal["shared", "per-channel"]


@dataclasses.dataclass(frozen=True, eq=False)
class ActivationMaps:
    """The activations of one layer, in the order and on the scale in which they are shown.

    Args:
        values: (N, C, H, W), or (N, C) where the layer has no places; raw.
        images: (N, 3, H, W), what the network saw.
        network: whose layer it is.
        layer: its name.
        sort: what channels are ordered by, strongest first: their max or mean activation; or their index.
        scaling: whether white is the strongest activation of all channels, or of each.
        top: how many channels are shown; None for all.
        cost: of the pass, shared with the other layers that were read in it.
    """

    values: Tensor = dataclasses.field(repr=False)
    images: Images = dataclasses.field(repr=False)
    network: Network
    layer: str
    sort: Sort = "max"
    scaling: Scaling = "shared"
    top: int | None = None
    cost: Cost = dataclasses.field(default_factory=Cost)

    @property
    def _maps(self) -> Tensor:
        return self.values if self.values.ndim == 4 else self.values[:, :, None, None]

    @property
    def notes(self) -> tuple[str, ...]:
        """What black and white mean in each image, and how many channels are silent, to be shown beside the maps."""
        return tuple(self._note(at) for at in range(len(self.values)))

    def _note(self, at: int) -> str:
        low, high = (each.item() for each in self._range(at, (0, 1, 2)))
        silent = sum(each.silent for each in self.responses(at))
        image = f"image {at}, " if len(self.values) > 1 else ""
        scale = f"black is {low:.3g} and white {high:.3g}" if self.scaling == "shared" else "each on its own scale"
        return f"{image}{self.layer}: {scale}; {silent} of {self.values.shape[1]} channels are nowhere above 0"

    def _range(self, at: int, dims: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """The activations drawn black and white."""
        maps = self._maps[at]
        return maps.amin(dims, keepdim=True).clamp(max=0), maps.amax(dims, keepdim=True).clamp(min=0)

    def responses(self, at: int = 0) -> tuple[Response, ...]:
        """Statistics of every channel for one image, in the order of the channels."""
        return measure(self._maps[at])

    def order(self, at: int = 0) -> tuple[int, ...]:
        """The channels shown for one image, in their order; equal ones stay in the order of the channels."""
        flat = self._maps[at].flatten(1)
        if self.sort == "index":
            return tuple(range(len(flat)))[: self.top]
        key = flat.amax(1) if self.sort == "max" else flat.mean(1)
        return tuple(key.argsort(descending=True, stable=True).tolist())[: self.top]

    def pictures(self, at: int = 0) -> Tensor:
        """The shown channels of one image as grey pictures (n, 1, H, W) in [0, 1], brighter where they respond more.

        The range of the scale always holds zero, so that black is zero wherever nothing is below it: a channel that is
        nearly constant is not stretched into a pattern.
        """
        low, high = self._range(at, (0, 1, 2) if self.scaling == "shared" else (1, 2))
        scaled = (self._maps[at] - low) / (high - low).where(high > low, 1)
        return scaled[list(self.order(at)), None]

    def grid(self, at: int = 0) -> Uint8Image:
        """The shown channels of one image under their indices; a layer without places gives one square each."""
        return sheet(
            self.pictures(at), [str(channel) for channel in self.order(at)], side=56 if self.values.ndim == 4 else 40
        )

    def upsampled(self, channel: int, at: int = 0) -> Tensor:
        """The map of one channel at the size of the image, (H, W): bilinear, pixel centers kept in place.

        Raises:
            TargetError: no such channel.
            LayerError: the layer has no places.
        """
        channels = self.values.shape[1]
        if not 0 <= channel < channels:
            raise TargetError(
                f"{self.layer} of {self.network.name} has no channel {channel}; its {channels} are 0 … {channels - 1}"
            )
        if self.values.ndim != 4:
            raise LayerError(f"{self.layer} of {self.network.name} has no places; choose a layer before the pooling")
        maps = self.values[at : at + 1, channel : channel + 1]
        return F.interpolate(maps, self.images.shape[2:], mode="bilinear", align_corners=False)[0, 0]

    def overlay(self, channel: int, at: int = 0) -> tuple[Uint8Image, drawing.Scale]:
        """One channel laid over the image, and what the colors mean.

        Raises:
            TargetError: no such channel.
            LayerError: the layer has no places.
        """
        return drawing.overlay(self.images[at], self.upsampled(channel, at), unit="activation")

    def table(self) -> dict[str, Any]:
        """The statistics of every channel, as plain values."""
        return {
            "layer": self.layer,
            "shape": list(self.values.shape),
            "sort": self.sort,
            "images": [
                {"order": list(self.order(at)), "channels": [dataclasses.asdict(each) for each in self.responses(at)]}
                for at in range(len(self.values))
            ],
            "notes": list(self.notes),
        }

    def save(self, folder: str | Path, *, overlays: int = 3) -> list[dict[str, Any]]:
        """Write the grid, the strongest channels over the image, the statistics and the raw maps into a folder.

        Args:
            folder: where to.
            overlays: how many of the shown channels are laid over each image.

        Returns:
            one mapping for each file, as a manifest wants it.
        """
        folder, name = Path(folder), f"activations-{files.slug(self.layer)}"
        files.write_array(folder / f"{name}.npy", self.values.float().cpu().numpy())
        files.write_json(folder / f"{name}.json", self.table())
        about = {"layer": self.layer, "shape": list(self.values.shape)}
        saved: list[dict[str, Any]] = [
            {"path": f"{name}.npy", "kind": "heatmap", **about, "unit": "activation"},
            {"path": f"{name}.json", "kind": "table", **about},
        ]
        for at in range(len(self.values)):
            one = f"{name}-{at}" if len(self.values) > 1 else name
            image.save(folder / f"{one}.png", self.grid(at))
            saved.append({"path": f"{one}.png", "kind": "picture", **about, "image": at})
            for channel in self.order(at)[: overlays if self.values.ndim == 4 else 0]:
                path = f"{one}-channel-{channel}.png"
                image.save(folder / path, self.overlay(channel, at)[0])
                saved.append({"path": path, "kind": "overlay", **about, "image": at, "channel": channel})
        return saved


def activations(
    network: Network,
    images: Images,
    layer: str,
    *,
    sort: Sort = "max",
    top: int | None = None,
    scaling: Scaling = "shared",
) -> ActivationMaps:
    """Every channel of a layer as a grey picture, strongest first. Cost: one pass, up to the layer.

    Args:
        network: which one.
        images: (N, 3, H, W), RGB in [0, 1].
        layer: its name; "logits" too.
        sort: order of the channels: by their max or mean activation, descending; or by index.
        top: how many channels to show; None for all.
        scaling: whether white is the strongest activation of all channels, so that they compare, or of each.

    Raises:
        LayerError: no such layer, or one whose output is neither maps nor a vector, or not finite.
        OptionError: a value that makes no sense.
    """
    (found,) = activations_all(network, images, [layer], sort=sort, top=top, scaling=scaling)
    return found


def activations_all(
    network: Network,
    images: Images,
    layers: Sequence[str],
    *,
    sort: Sort = "max",
    top: int | None = None,
    scaling: Scaling = "shared",
) -> list[ActivationMaps]:
    """The same for several layers, in their order. Cost: one pass, up to the last of them.

    Args:
        network: which one.
        images: (N, 3, H, W), RGB in [0, 1].
        layers: their names.
        sort: see `activations`.
        top: see `activations`.
        scaling: see `activations`.

    Raises:
        LayerError: no such layer, or one whose output is neither maps nor a vector, or not finite.
        OptionError: a value that makes no sense.
    """
    _check(layers, sort, scaling, top)
    images, table = network.check(images), network.layers
    start = time.perf_counter()
    with torch.no_grad():
        taps = network.tap(images, layers)
    cost = Cost(forwards=len(images), seconds=time.perf_counter() - start)
    for name in layers:
        shape = tuple(taps[name].shape)
        if len(shape) not in {2, 4} or (name in table and table[name].layout == "other"):
            raise LayerError(
                f"{name} of {network.name} returns {shape}, neither maps (N, C, H, W) nor a vector (N, C); "
                f"choose another layer (phosphene layers {network.name} lists them)"
            )
        if not taps[name].isfinite().all():
            raise LayerError(f"{name} of {network.name} returns values that are not finite; look at the layers before")
    return [ActivationMaps(taps[name], images, network, name, sort, scaling, top, cost) for name in layers]


def _check(layers: Sequence[str], sort: str, scaling: str, top: int | None) -> None:
    if isinstance(layers, str) or not layers:
        raise OptionError(f"layers is {layers!r}; give a list of at least one name, such as ['conv1']")
    if sort not in {"max", "mean", "index"}:
        raise OptionError(f"sort is {sort!r}; it can be 'max', 'mean' or 'index'")
    if scaling not in {"shared", "per-channel"}:
        raise OptionError(f"scaling is {scaling!r}; it can be 'shared' or 'per-channel'")
    if top is not None and top < 1:
        raise OptionError(f"top is {top}; show at least 1 channel")
