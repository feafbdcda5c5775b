"""The kernels of a layer: which layers have them, and whether they read pixels, channels or a vector."""

from __future__ import annotations

import math
from typing import NamedTuple

from torch import Tensor, nn

from phosphene.core.errors import LayerError, NetworkError, did_you_mean
from phosphene.core.networks.network import Network


class KernelWeights(NamedTuple):
    """The kernels of one layer: weights (O, I / groups, H, W), and whether they read the pixels."""

    weights: Tensor
    groups: int
    reads_pixels: bool


def default_layer(network: Network) -> tuple[str, str]:
    """The layer whose kernels are shown when none is named, and why that one.

    Raises:
        NetworkError: the network has neither convolution nor linear layer.
    """
    layers = kernel_layers(network)
    if not layers:
        raise NetworkError(f"{network.name} calls no convolution and no linear layer; it has no kernels to show")
    for kind, word in ((nn.Conv2d, "convolution"), (nn.Linear, "linear layer")):
        for name, module in layers.items():
            if isinstance(module, kind):
                return name, f"the first {word}, as no layer was named"
    raise AssertionError(layers)


def kernel_layers(network: Network) -> dict[str, nn.Conv2d | nn.Linear]:
    """Convolutions and linear layers by name, in the order in which they run; a shared one only once."""
    modules = dict(network.module.named_modules())
    called = ((name, modules[name]) for name in network.layers if "#" not in name)
    return {name: module for name, module in called if isinstance(module, nn.Conv2d | nn.Linear)}


def kernel_weights(network: Network, layer: str) -> KernelWeights:
    """The kernels of a layer, in float32, copied.

    Those of a linear layer that reads a flattened map are reshaped to that map.

    Raises:
        LayerError: no such layer, one without kernels, or a linear layer that reads a vector.
        NetworkError: a weight is not finite.
    """
    layers, name = kernel_layers(network), layer.partition("#")[0]
    if name not in layers:
        kind = network.layer(layer).kind
        inside = [child for child in layers if child.startswith(f"{name}.")] or list(layers)
        raise LayerError(
            f"{layer} of {network.name} is a {kind} without kernels of its own; {did_you_mean(layer, inside)}"
        )
    module = layers[name]
    weights = module.weight.detach().float().cpu().clone()
    if not weights.isfinite().all():
        raise NetworkError(f"{name} of {network.name} holds weights that are not finite; load another checkpoint")
    is_first, channels = next(iter(layers)) == name, _channels(network)
    if isinstance(module, nn.Conv2d):
        return KernelWeights(weights, module.groups, is_first and module.in_channels == channels)
    shape, reads_pixels = _flattened(network, name, module.in_features)
    return KernelWeights(weights.reshape(-1, *shape), 1, reads_pixels)


def _flattened(network: Network, name: str, features: int) -> tuple[tuple[int, int, int], bool]:
    """The shape of the map that a linear layer reads flattened, and whether that map is the image."""
    table = list(network.layers.values())
    before = table[: [layer.name for layer in table].index(name)]
    for layer in reversed(before):
        if math.prod(layer.shape) != features or (layer.kind == "Linear" and not layer.spatial):
            break
        if layer.spatial and layer.layout == "channels":
            channels, height, width = layer.shape
            return (channels, height, width), False
    image = (_channels(network), *network.preprocess.size)
    if not before and math.prod(image) == features:
        return image, True
    convolutions = [key for key, module in kernel_layers(network).items() if isinstance(module, nn.Conv2d)]
    raise LayerError(
        f"{name} of {network.name} reads a vector of {features:,}, which is no picture; "
        f"choose a convolution: {did_you_mean(name, convolutions)}"
    )


def _channels(network: Network) -> int:
    return 1 if network.preprocess.order == "grey" else 3
