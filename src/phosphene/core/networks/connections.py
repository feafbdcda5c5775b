"""Which layer is given what which other one made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from phosphene.core.networks.layers import at_rest, watch
from phosphene.core.networks.network import Network


class Wiring(NamedTuple):
    """Who made what, by the names of the layer table: "relu#1" is the second call of a shared module.

    Args:
        given: layer → the layer whose output it is given as it is.
        ends: block → the leaf inside, or before it, whose output it returns as it is; a leaf is its own.
    """

    given: dict[str, str]
    ends: dict[str, str]

    def before(self, layer: str) -> str | None:
        """The layer that the last step of a layer is given: of a ReLU, or of a block that ends with one, what it bends.

        Args:
            layer: name of it.
        """
        return self.given.get(self.ends.get(layer, layer))


def wiring(network: Network) -> Wiring:
    """What goes straight from layer to layer; what an operation between them changes is nobody's.

    Cost: one forward pass; every tensor that a module returns is held until its end.

    Args:
        network: is run once, at its own size.

    >>> found = wiring(tiny)
    >>> found.given["features.2"], found.ends["features"], found.before("features")
    ('features.1', 'features.5', 'features.4')
    """
    calls: Counter[str] = Counter()
    made: list[tuple[Tensor, int, str]] = []  # by leaves; held, for the identity of a tensor is free once it is gone
    found = Wiring({}, {})

    def maker(tensor: object) -> str | None:
        # What works in place returns the tensor of another, and counts up its version.
        names = (leaf for each, version, leaf in reversed(made) if each is tensor and version == each._version)
        return next(names, None)

    def before(name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def given(_: nn.Module, inputs: tuple[Any, ...]) -> None:
            number, calls[name] = calls[name], calls[name] + 1
            layer = maker(inputs[0]) if inputs else None
            if layer is not None:
                found.given[f"{name}#{number}" if number else name] = layer

        return given

    def after(name: str, called: nn.Module, output: Tensor) -> None:
        leaf = maker(output)
        if next(called.children(), None) is None or leaf is None:
            made.append((output, output._version, name))
        else:
            found.ends[name] = leaf

    handles = [each.register_forward_pre_hook(before(name)) for name, each in network.module.named_modules() if name]
    try:
        # Inference mode counts no versions.
        with torch.inference_mode(mode=False), torch.no_grad(), at_rest(network.module), watch(network.module, after):
            blank = network.check(torch.zeros(1, 3, *network.preprocess.size))
            network.module(network.preprocess.normalize(blank))
    finally:
        for handle in handles:
            handle.remove()
    return found
