"""One forward pass that records chosen layers, and stops after the last of them."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from phosphene.core.errors import LayerError, NetworkError
from phosphene.core.networks.layers import Layer, evaluating, first_tensor


class Reading:
    """Records the maps of some layers in one pass of a module, and leaves the module as it was found.

    Args:
        module: takes a normalized batch.
        layers: the layer table of the module, as far as names are wanted.
        wanted: names to read; with "logits" among them the pass runs to its end.
        starts: those of them whose gradient will be taken; the graph starts at the first.
        copied: those of them that the module is known to overwrite in place.
    """

    def __init__(
        self,
        module: nn.Module,
        layers: Mapping[str, Layer],
        wanted: frozenset[str],
        *,
        starts: frozenset[str],
        copied: frozenset[str],
    ) -> None:
        self.module, self.layers = module, layers
        self.wanted, self.inner = wanted, wanted - {"input", "logits"}
        self.starts, self.copied = starts, copied
        self.calls: Counter[str] = Counter()
        self.reached: set[str] = set()
        self.activations: dict[str, Tensor] = {}
        self.versions: dict[str, int] = {}

    def run(self, batch: Tensor) -> dict[str, Tensor]:
        """The maps by name, (N, C, H, W) or (N, C), and the logits if the pass ran to its end."""
        with evaluating(self.module), self._hooks():
            try:
                output = self.module(batch)
            except _StopPass:
                return self.activations
        logits = first_tensor(output)
        if logits is None:
            raise NetworkError(f"the module returned {type(output).__name__}, which holds no tensor of logits; wrap it")
        self.activations["logits"] = logits
        return self.activations

    @property
    def overwritten(self) -> frozenset[str]:
        """Layers that a later in-place operation has written over since they were read."""
        return frozenset(name for name, version in self.versions.items() if self.activations[name]._version != version)

    @contextmanager
    def _hooks(self) -> Iterator[None]:
        bases = {name.partition("#")[0] for name in self.inner}
        handles = [self.module.get_submodule(base).register_forward_hook(self._hook(base)) for base in bases]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _hook(self, base: str) -> Callable[[nn.Module, Any, Any], Any]:
        def hook(_module: nn.Module, _args: Any, output: Any) -> Any:
            call, self.calls[base] = self.calls[base], self.calls[base] + 1
            name = f"{base}#{call}" if call else base
            if name not in self.inner:
                return None
            tensor = first_tensor(output)
            assert tensor is not None, f"{name} returned no tensor, though it did when its layers were traced"
            replacement = self._record(name, tensor)
            self.reached.add(name)
            if "logits" not in self.wanted and self.inner <= self.reached:
                raise _StopPass
            return None if replacement is None else _put(output, replacement)

        return hook

    def _maps(self, name: str, output: Tensor) -> Tensor:
        """An output as maps."""
        layer = self.layers[name]
        if layer.layout == "tokens" and output.shape[1] != layer.prefix + layer.shape[1] * layer.shape[2]:
            raise LayerError(
                f"{name} holds {output.shape[1]} tokens for these images, and {layer.prefix} + {layer.shape[1]} × "
                f"{layer.shape[2]} for those of the size that the network wants; give images of that size"
            )
        return layer.maps(output)

    def _record(self, name: str, output: Tensor) -> Tensor | None:
        """Record the maps of an output; return what replaces it in the rest of the pass, or None."""
        layer, maps = self.layers[name], self._maps(name, output)
        start = name in self.starts and not maps.requires_grad
        if start:
            maps = maps.detach().requires_grad_()
        self.activations[name] = maps
        if start or name in self.copied or maps.is_inference():
            return layer.unmaps(maps.clone(), output)
        self.versions[name] = maps._version
        # Gradients are taken with respect to the maps, so the rest of the pass must depend on them, not on the output.
        return layer.unmaps(maps, output) if name in self.starts and maps is not output else None


class StreamedReading(Reading):
    """The same, but maps are passed to a callback as they are computed, before they can be overwritten, and not stored.

    Args:
        module: takes a normalized batch.
        layers: the layer table of the module, as far as names are wanted.
        wanted: names to read.
        receive: called with the name and the maps, (N, C, H, W) or (N, C).
    """

    def __init__(
        self,
        module: nn.Module,
        layers: Mapping[str, Layer],
        wanted: frozenset[str],
        receive: Callable[[str, Tensor], None],
    ) -> None:
        super().__init__(module, layers, wanted, starts=frozenset(), copied=frozenset())
        self.receive = receive

    def _record(self, name: str, output: Tensor) -> Tensor | None:
        self.receive(name, self._maps(name, output))
        return None


class _StopPass(BaseException):
    """Raised to end a pass once the last wanted layer was reached."""


def _put(output: Any, tensor: Tensor) -> Any:
    """The output with its first tensor replaced."""
    if isinstance(output, Tensor):
        return tensor
    if isinstance(output, Mapping):
        key = next(key for key, value in output.items() if first_tensor(value) is not None)
        return type(output)({**output, key: _put(output[key], tensor)})  # type: ignore[call-arg]  # dicts and the like
    if dataclasses.is_dataclass(output) and not isinstance(output, type):
        values = {field.name: getattr(output, field.name) for field in dataclasses.fields(output)}
        return dataclasses.replace(output, **_put(values, tensor))
    items = list(output)
    at = next(i for i, item in enumerate(items) if first_tensor(item) is not None)
    items[at] = _put(items[at], tensor)
    return type(output)(*items) if hasattr(output, "_fields") else type(output)(items)
