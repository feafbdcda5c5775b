"""The activation map of every channel of a layer for an image: grey pictures, strongest first."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from phosphene.core.errors import LayerError, OptionError
from phosphene.core.inputs import Pictures, layer_name, prepare_inputs
from phosphene.core.networks.network import Network
from phosphene.core.result import Cost
from phosphene.weights.activation_maps import ActivationMaps, ActivationScaling, LayerActivations, Sort


def activations(
    network: Network,
    pictures: Pictures,
    layer: str | nn.Module,
    *,
    sort: Sort = "max",
    top: int | None = None,
    scaling: ActivationScaling = "shared",
    overlays: int = 3,
) -> ActivationMaps:
    """Every channel of a layer as a grey picture, strongest first. Cost: one pass, up to the layer.

    Args:
        network: that is run.
        pictures: one or several, as for `attribute`.
        layer: its name, "logits" too, or the module itself.
        sort: order of the channels: by their max or mean activation, descending; or by index.
        top: how many channels to draw; None for all.
        scaling: whether white is the strongest activation of all channels, so that they compare, or of each channel.
        overlays: how many of the drawn channels to save as overlays on each image.

    Raises:
        LayerError: no such layer, or one whose output is neither maps nor a vector, or not finite.
        OptionError: a value that makes no sense.
    """
    return activations_all(network, pictures, [layer], sort=sort, top=top, scaling=scaling, overlays=overlays)[0]


def activations_all(
    network: Network,
    pictures: Pictures,
    layers: Sequence[str | nn.Module],
    *,
    sort: Sort = "max",
    top: int | None = None,
    scaling: ActivationScaling = "shared",
    overlays: int = 3,
    recorded: Mapping[str, Tensor] | None = None,
) -> LayerActivations:
    """The same for several layers, in their order. Cost: one pass, up to the last of them, unless it was recorded.

    Args:
        network: that is run.
        pictures: see `activations`.
        layers: their names, or the modules.
        sort: see `activations`.
        top: see `activations`.
        scaling: see `activations`.
        overlays: see `activations`.
        recorded: layer → its output in a pass that has run already.

    Raises:
        LayerError: no such layer, or one whose output is neither maps nor a vector, or not finite.
        OptionError: a value that makes no sense.
    """
    _check(layers, sort, scaling, top)
    inputs, start = prepare_inputs(network, pictures), time.perf_counter()
    images, names = inputs.images, [layer_name(network, layer) for layer in layers]
    reads = [*names, "logits"] if inputs.photographs else names  # of photographs the predictions, too
    with torch.no_grad():
        values = network.tap(images, reads) if recorded is None else recorded
    cost = Cost(forwards=len(images) if recorded is None else 0, seconds=time.perf_counter() - start)
    for layer in names:
        _check_values(network, layer, values[layer])
    logits = values.get("logits")
    shared: dict[str, Any] = {
        "network": network,
        "inputs": inputs.photographs,
        "predictions": network.top_classes(logits[:1])[0] if logits is not None and logits.ndim == 2 else (),
        "cost": cost,
    }
    options = {"top": top, "sort": sort, "scaling": scaling}
    maps = tuple(
        ActivationMaps(
            values=values[layer], images=images, layer=layer, sort=sort, scaling=scaling, top=top, overlays=overlays,
            options={"layer": layer, **options}, **shared,
        )
        for layer in names
    )  # fmt: skip
    notes = tuple(note for layer in maps for note in layer.notes)
    return LayerActivations(layers=maps, options={"layers": names, **options}, notes=notes, **shared)


def _check_values(network: Network, layer: str, values: Tensor) -> None:
    shape, table = tuple(values.shape), network.layers
    if len(shape) not in {2, 4} or (layer in table and table[layer].layout == "other"):
        raise LayerError(
            f"{layer} of {network.name} returns {shape}, neither maps (N, C, H, W) nor a vector (N, C); "
            f"choose another layer (phosphene layers {network.name} lists them)"
        )
    if not values.isfinite().all():
        raise LayerError(f"{layer} of {network.name} returns values that are not finite; check the layers before it")


def _check(layers: Sequence[str | nn.Module], sort: str, scaling: str, top: int | None) -> None:
    if isinstance(layers, str) or not layers:
        raise OptionError(f"layers is {layers!r}; give a list of at least one name, such as ['conv1']")
    if sort not in {"max", "mean", "index"}:
        raise OptionError(f"sort is {sort!r}; it can be 'max', 'mean' or 'index'")
    if scaling not in {"shared", "per-channel"}:
        raise OptionError(f"scaling is {scaling!r}; it can be 'shared' or 'per-channel'")
    if top is not None and top < 1:
        raise OptionError(f"top is {top}; give at least 1 channel")
