"""Which layer's output is which layer's input."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from phosphene.core.networks.layers import evaluating, watch
from phosphene.core.networks.network import Network


class Connections(NamedTuple):
    """Direct connections by the names of the layer table: "relu#1" is the second call of a shared module.

    Args:
        input_from: layer → the leaf layer whose output is its input, unchanged.
        output_from: block → the leaf layer, inside or before it, whose output it returns unchanged. Leaves are absent.
    """

    input_from: dict[str, str]
    output_from: dict[str, str]

    def pre_activation(self, layer: str) -> str | None:
        """The layer whose output is the input of the last leaf of a layer: of a block that ends in a ReLU, of the ReLU.

        Args:
            layer: its name; a leaf is its own last leaf.
        """
        return self.input_from.get(self.output_from.get(layer, layer))


def connections(network: Network) -> Connections:
    """Follow tensors by identity from layer to layer; what an operation outside of modules has changed is not followed.

    Cost: one forward pass; every tensor that a module returns is held until its end.

    Args:
        network: is run once, at its own size.

    >>> direct = connections(tiny)
    >>> direct.input_from["features.2"], direct.output_from["features"], direct.pre_activation("features")
    ('features.1', 'features.5', 'features.4')
    """
    calls: Counter[str] = Counter()
    outputs, direct = _LeafOutputs(), Connections({}, {})

    def before(name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def hook(_: nn.Module, inputs: tuple[Any, ...]) -> None:
            number, calls[name] = calls[name], calls[name] + 1
            layer = outputs.leaf(inputs[0]) if inputs else None
            if layer is not None:
                direct.input_from[f"{name}#{number}" if number else name] = layer

        return hook

    def after(name: str, called: nn.Module, output: Tensor) -> None:
        leaf = outputs.leaf(output)
        if next(called.children(), None) is None or leaf is None:
            outputs.add(output, name)
        else:
            direct.output_from[name] = leaf

    modules = [(name, module) for name, module in network.module.named_modules() if name]
    handles = [module.register_forward_pre_hook(before(name)) for name, module in modules]
    try:
        # Inference mode counts no versions.
        with (
            torch.inference_mode(mode=False),
            torch.no_grad(),
            evaluating(network.module),
            watch(network.module, after),
        ):
            blank = network.check(torch.zeros(1, 3, *network.preprocess.size))
            network.module(network.preprocess.normalize(blank))
    finally:
        for handle in handles:
            handle.remove()
    return direct


class _LeafOutputs:
    """What leaves have returned; held, since the identity of a freed tensor is used again."""

    def __init__(self) -> None:
        self._outputs: list[tuple[Tensor, int, str]] = []

    def add(self, output: Tensor, leaf: str) -> None:
        self._outputs.append((output, output._version, leaf))

    def leaf(self, tensor: object) -> str | None:
        """The leaf that returned a tensor, unless it was written to since: in-place operations count its version up."""
        made = (
            leaf for output, version, leaf in reversed(self._outputs) if output is tensor and version == output._version
        )
        return next(made, None)
