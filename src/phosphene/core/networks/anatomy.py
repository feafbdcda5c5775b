"""Everything that is guessed about a network, with the reason for each guess.

A guess is a default: every caller lets the user name another layer.
"""

from __future__ import annotations

import re
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from phosphene.core.errors import LayerError
from phosphene.core.networks import rules
from phosphene.core.networks.connections import connections
from phosphene.core.networks.network import Network


class Reads(Protocol):
    """What depends on activations, such as an objective."""

    @property
    def reads(self) -> frozenset[str]:
        """Names of the activations that it reads."""


class Classifier(NamedTuple):
    """The linear map from pooled features to logits.

    Args:
        layer: its name.
        weight: (K, C).
        bias: (K,), or None.
    """

    layer: str
    weight: Tensor
    bias: Tensor | None


def spatial_layers(network: Network) -> list[str]:
    """Names of the layers that have channels at more than one position, in the order of the pass."""
    return [name for name, layer in network.layers.items() if layer.spatial]


def last_spatial_layer(network: Network, target: Reads | None = None) -> tuple[str, str]:
    """The layer at which class activation maps are computed by default, and why: the last spatial one before a target.

    The deepest features that still have positions are the most specific to a class (Selvaraju et al., section 3). On
    networks of tokens it is the input of the last attention: after it only the class token is read.

    Args:
        network: whose layers.
        target: what the map explains; None for the logits.

    Raises:
        LayerError: no layer is spatial.

    >>> last_spatial_layer(tiny)
    ('features', 'the last layer with a map')
    """
    names = list(network.layers)
    read = {name for name in (target.reads if target else ()) if name in network.layers}
    if read:
        names = names[: min(names.index(name) for name in read)]
    maps = [name for name in names if network.layers[name].spatial]
    if not maps:
        raise LayerError(f"no layer of {network.name} before {target or 'the end'} keeps a map; use a method of pixels")
    attention = [name for name in names if "attention" in network.layers[name].kind.casefold()]
    if network.layers[maps[-1]].layout == "tokens" and attention:
        inside = attention[-1] + "."
        entry = [
            name for name in maps if names.index(name) < names.index(attention[-1]) and not name.startswith(inside)
        ]
        if entry:
            return entry[-1], f"what enters the last attention, {attention[-1]}"
    return maps[-1], "the last layer with a map" + (f" before {target}" if read else "")


def deepest_spatial_layer_read(network: Network, target: Reads) -> str | None:
    """The deepest spatial layer that a target reads; where it reads none, as a class does, the last of the network.

    Its activations say most of how two pictures of one target differ. None: the network has no spatial layer.
    """
    maps = spatial_layers(network)
    read = [name for name in maps if name in target.reads]
    deepest = read or maps
    return deepest[-1] if deepest else None


def classifier(network: Network) -> Classifier | None:
    """The last linear layer or 1 × 1 convolution with as many outputs as the network has classes; None without one.

    >>> classifier(tiny).layer, classifier(tiny).weight.shape
    ('head', torch.Size([5, 12]))
    """
    for name in reversed(list(network.layers)):
        module = network.module.get_submodule(name.partition("#")[0])
        if not isinstance(module, nn.Linear | nn.Conv2d) or module.weight.shape[0] != network.classes:
            continue
        if isinstance(module, nn.Linear) or module.kernel_size == (1, 1):
            bias = None if module.bias is None else module.bias.detach()
            return Classifier(name, module.weight.detach().flatten(1), bias)
    return None


def pooled_layer(network: Network, channels: int) -> str | None:
    """The last spatial layer with as many channels as the classifier weighs: what global pooling reads; None if none.

    Args:
        network: that ends in pooling and a linear layer.
        channels: that the classifier weighs.
    """
    maps = [name for name in spatial_layers(network) if network.layers[name].shape[0] == channels]
    return maps[-1] if maps else None


def embedding_layer(network: Network) -> str:
    """The layer whose channels the classifier weighs: the last before it with as many as it takes, a vector if any.

    Raises:
        LayerError: no layer comes before the logits.

    >>> embedding_layer(tiny)
    'pool'
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


def blocks(network: Network) -> tuple[str, ...]:
    """The outputs of the blocks of a network: the children of its sequences, where those are modules with children.

    Architectures are written as sequences of blocks. Where three or more modules with children stand side by side at
    the top, as in Inception, they are the blocks. A sequence of plain layers, as in VGG, has none: there it is the
    output of each ReLU, or else of each convolution.
    """
    modules = dict(network.module.named_modules())
    maps = spatial_layers(network)
    top = [name for name in maps if "." not in name and not isinstance(modules.get(name), nn.Sequential)]
    top = [name for name in top if name in modules and next(modules[name].children(), None) is not None]
    outer = top if len(top) >= _SIDE_BY_SIDE else [name for name in maps if _is_block(name, modules)]
    outermost = [name for name in outer if not any(name.startswith(f"{other}.") for other in outer)]
    if not outermost:
        outermost = [name for name in maps if "ReLU" in network.layers[name].kind]
    return tuple(outermost or [name for name in maps if network.layers[name].kind == "Conv2d"] or maps)


def _is_block(name: str, modules: dict[str, nn.Module]) -> bool:
    """Whether a call is that of a module with children, in a sequence."""
    base = name.partition("#")[0]
    parent = modules[base.rpartition(".")[0]] if base in modules else None
    sequence = isinstance(parent, nn.Sequential | nn.ModuleList) and parent is not modules[""]
    return sequence and next(modules[base].children(), None) is not None


def stages(network: Network) -> tuple[str, ...]:
    """The input of the first block, the last block of each size, and the logits: what a layer by layer figure shows.

    Where fewer than four sizes occur, as in transformers, all blocks count; of many, eight spread over the network.
    """
    outputs, names = blocks(network), list(network.layers)
    if not outputs:
        return ("logits",)
    shapes = [network.shape(block) for block in outputs]
    ends = [block for block, own, after in zip(outputs, shapes, [*shapes[1:], None], strict=True) if own != after]
    chosen = ends if len(ends) >= _FEW_STAGES else list(outputs)
    if len(chosen) > _MOST_STAGES:
        chosen = _evenly(chosen, _MOST_STAGES)
    inside = next((place for place, name in enumerate(names) if name.startswith(f"{outputs[0]}.")), 0)
    stem = [names[inside - 1]] if inside and network.layer(names[inside - 1]).spatial else []
    return (*stem, *chosen, "logits")


def spread_layers(network: Network, count: int = 3) -> tuple[str, ...]:
    """Some spatial layers, evenly spaced from the first to the last: early, middle and late features.

    >>> spread_layers(tiny)
    ('features.0', 'features.3', 'features')
    """
    maps = spatial_layers(network)
    return tuple(maps if len(maps) <= count else _evenly(maps, count))


def _evenly(names: list[str], count: int) -> list[str]:
    return [names[round(place * (len(names) - 1) / (count - 1))] for place in range(count)]


def dream_layer(network: Network) -> str:
    """The last layer with 1/16 of the rows and columns of the input: features of objects, at many positions.

    Parts of parts are passed over: of "blocks.4.0.conv" and "blocks.4", the second is the name. So is the output of a
    layer norm: its mean square is the same for every picture.

    Raises:
        LayerError: the network has no such layer.

    >>> dream_layer(tiny)
    'features'
    """
    (height, width), leaf_of = network.preprocess.size, connections(network).output_from
    normalized = {name for name in network.layers if _LAYER_NORM.search(network.layer(leaf_of.get(name, name)).kind)}
    shapes = {
        name: network.layers[name].shape
        for name in spatial_layers(network)
        if name.count(".") <= 1 and name not in normalized
    }
    fine = [name for name, (_, rows, columns) in shapes.items() if rows * 16 >= height and columns * 16 >= width]
    if not fine:
        raise LayerError(f"{network.name} has no layer with maps to dream of; name a target, or a layer")
    return fine[-1]


def pre_activation(network: Network, layer: str) -> str | None:
    """The layer whose output the last activation of a layer is given: of the same shape, and not yet capped.

    None where the activation is not a module, or works on something of another shape. Cost: one forward pass.
    """
    before = connections(network).pre_activation(layer)
    return before if before is not None and network.shape(before) == network.shape(layer) else None


def before_softmax(network: Network) -> str | None:
    """The layer whose output the last softmax module is given; None without such a module. Cost: one forward pass."""
    softmax = [name for name, layer in network.layers.items() if layer.kind == "Softmax"]
    return pre_activation(network, softmax[-1]) if softmax else None


def coarsest_stride(network: Network, reads: frozenset[str]) -> int:
    """Pixels between neighboring positions of the coarsest map up to the last layer read."""
    names = list(network.layers)
    until = len(names) if "logits" in reads or not reads else 1 + max(map(names.index, reads))
    maps = [network.layers[name] for name in names[:until] if network.layers[name].spatial]
    return max((round(network.preprocess.size[0] / layer.shape[1]) for layer in maps), default=1)


def has_max_pooling(network: Network) -> bool:
    """Whether a network has a max pooling module, whose switches (places of the maxima) the deconvnet needs."""
    return any("MaxPool" in layer.kind for layer in network.layers.values())


def has_relu_below(network: Network, layer: str) -> bool:
    """Whether a ReLU lies between the pixels and a layer, so that a backward rule can act. Cost: one pass up to it."""
    network.shape(layer)  # looked up now, or the pass that traces the layers would be counted too
    with torch.no_grad(), rules.backward_rule() as mode:
        network.tap(network.check(torch.zeros(1, 3, *network.preprocess.size)), [layer])
    return bool(mode.met["relu"])


_LAYER_NORM = re.compile("LayerNorm|RMSNorm")
_SIDE_BY_SIDE = 3  # modules at the top that make them blocks
_FEW_STAGES, _MOST_STAGES = 4, 8
