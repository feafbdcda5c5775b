"""Which layer is given what which other one made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from phosphene.core.layers import at_rest, watch
from phosphene.core.network import Network


def feeds(network: Network) -> dict[str, str]:
    """The layer whose output each layer is given, for those that are given one as it is; the others are absent.

    Names are those of the layer table: "relu#1" is the second call of a shared module. Cost: one forward pass; every
    tensor that a module returns is held until its end.

    Args:
        network: is run once, at its own size.

    >>> feeds(tiny)["features.1"], feeds(tiny)["features.2"]
    ('features.0', 'features.1')
    """
    calls: Counter[str] = Counter()
    made: list[tuple[Tensor, str, bool]] = []
    found: dict[str, str] = {}

    def before(name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def given(_: nn.Module, inputs: tuple[Any, ...]) -> None:
            number, calls[name] = calls[name], calls[name] + 1
            # What works in place returns the tensor of another, a block that of its last leaf: that leaf is meant.
            makers = [
                (leaf, place, layer)
                for place, (tensor, layer, leaf) in enumerate(made)
                if inputs and tensor is inputs[0]
            ]
            if makers:
                found[f"{name}#{number}" if number else name] = max(makers)[2]

        return given

    def after(name: str, called: nn.Module, output: Tensor) -> None:
        made.append((output, name, next(called.children(), None) is None))

    blank = torch.zeros(1, 3, *network.preprocess.size, device=network.device)
    handles = [each.register_forward_pre_hook(before(name)) for name, each in network.module.named_modules() if name]
    try:
        with at_rest(network.module), torch.no_grad(), watch(network.module, after):
            network.module(network.preprocess.normalize(blank))
    finally:
        for handle in handles:
            handle.remove()
    return found
