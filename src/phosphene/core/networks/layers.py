"""The layer table of a network: every module it calls, with the shape and the layout of its output.

Modules return maps in three layouts: (N, C, H, W) in most convolutional ones, (N, H, W, C) inside Swin and
ConvNeXt, and (N, prefix + H*W, C) in vision transformers. A `Layer` knows which; everything else sees (N, C, H, W).
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from phosphene.core.networks.fields import BoxPropagation, ReceptiveField

__all__ = ["Layer", "Layout", "ReceptiveField", "evaluating", "first_tensor", "receptive_fields", "trace", "watch"]

Layout = Literal["channels", "channels-last", "tokens", "vector", "other"]
Shape = tuple[int, ...]

MOST_PREFIX = 16  # class and register tokens; published networks have at most 5


@dataclass(frozen=True)
class Layer:
    """One call of one module, and the layout of its output.

    Args:
        name: dotted name of the module; "relu#1" is the second call of a shared module (the first is "relu").
        kind: name of its class, such as "Conv2d".
        shape: shape of its output without the batch, channels first in every layout: (C, H, W) or (C,).
        layout: of channels and positions in its output.
        prefix: number of class and register tokens before the grid; layout "tokens" only.
        parameters: number of parameters, including those of its children.

    >>> Layer("norm", "LayerNorm", (384, 14, 14), "tokens", prefix=1).maps(torch.zeros(2, 197, 384)).shape
    torch.Size([2, 384, 14, 14])
    """

    name: str
    kind: str
    shape: Shape
    layout: Layout
    prefix: int = 0
    parameters: int = 0

    @property
    def spatial(self) -> bool:
        """Whether it has channels at more than one position."""
        return self.layout != "other" and len(self.shape) == 3 and self.shape[1:] != (1, 1)

    def maps(self, output: Tensor) -> Tensor:
        """The output as (N, C, H, W), or (N, C), without the prefix tokens: a view. Layout "other" stays as it is."""
        if self.layout == "channels-last":
            return output.permute(0, 3, 1, 2)
        if self.layout == "tokens":
            channels, height, width = self.shape
            return output[:, self.prefix :].reshape(-1, height, width, channels).permute(0, 3, 1, 2)
        return output

    def unmaps(self, maps: Tensor, output: Tensor) -> Tensor:
        """Maps in the layout of the module again; the prefix tokens are those of `output`."""
        if self.layout == "channels-last":
            return maps.permute(0, 2, 3, 1)
        if self.layout == "tokens":
            return torch.cat([output[:, : self.prefix], maps.flatten(2).transpose(1, 2)], 1)
        return maps


def first_tensor(output: object) -> Tensor | None:
    """The first tensor in what a module returned: tuples, lists, mappings and dataclasses are searched in order.

    >>> first_tensor({"aux": None, "out": (torch.zeros(2), torch.ones(3))})
    tensor([0., 0.])
    """
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping):
        inside: list[Any] = list(output.values())
    elif isinstance(output, Sequence) and not isinstance(output, str | bytes):
        inside = list(output)
    elif dataclasses.is_dataclass(output) and not isinstance(output, type):
        inside = [getattr(output, field.name) for field in dataclasses.fields(output)]
    else:
        inside = []
    return next((tensor for tensor in map(first_tensor, inside) if tensor is not None), None)


@contextmanager
def watch(module: nn.Module, receive: Callable[[str, nn.Module, Tensor], None]) -> Iterator[None]:
    """Within, `receive(name, submodule, output)` is called after every call below the module that returns a tensor.

    Args:
        module: the network; its own call is left out.
        receive: takes the name of the call, the module called and its first tensor.
    """
    calls: Counter[str] = Counter()

    def hook(name: str) -> Callable[[nn.Module, object, object], None]:
        def after(called: nn.Module, _: object, output: object) -> None:
            number, tensor = calls[name], first_tensor(output)
            calls[name] += 1
            if tensor is not None:
                receive(f"{name}#{number}" if number else name, called, tensor)

        return after

    handles = [part.register_forward_hook(hook(name)) for name, part in module.named_modules() if name]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Within, the module is in evaluation mode and its weights require no gradient.

    Afterwards training flags, requires_grad and random states are as before.
    """
    parts = list(module.modules())
    weights = [weight for part in parts for weight in part._parameters.values() if weight is not None]
    training = [part for part in parts if part.training]
    trainable = [weight for weight in weights if weight.requires_grad]
    devices = {weight.device for weight in weights if weight.is_cuda}
    with torch.random.fork_rng(devices):
        try:
            for part in training:
                part.training = False
            for parameter in trainable:
                parameter.requires_grad_(False)
            yield
        finally:
            for part in training:
                part.training = True
            for parameter in trainable:
                parameter.requires_grad_(True)


def trace(module: nn.Module, example: Tensor) -> dict[str, Layer]:
    """Every layer that one forward pass calls, by name, in the order in which the calls end.

    The module is unchanged. Modules that are never called, or return no tensor, are absent, and so is the root.

    Args:
        module: any network that takes one batch of images.
        example: a batch, such as zeros of shape (1, 3, 224, 224), on the device of the module.

    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 5))
    >>> [(layer.name, layer.kind, layer.shape) for layer in trace(net, torch.zeros(1, 3, 8, 8)).values()]
    [('0', 'Conv2d', (8, 6, 6)), ('1', 'ReLU', (8, 6, 6)), ('2', 'Flatten', (288,)), ('3', 'Linear', (5,))]
    """
    table: dict[str, Layer] = {}
    reader = _Reader(len(example))

    def read(name: str, called: nn.Module, output: Tensor) -> None:
        layout, shape, prefix = reader.read(called, tuple(output.shape))
        parameters = sum(weight.numel() for weight in called.parameters())
        table[name] = Layer(name, type(called).__name__, shape, layout, prefix, parameters)

    with evaluating(module), torch.no_grad(), watch(module, read):
        module(example)
    return table


def receptive_fields(module: nn.Module, example: Tensor) -> dict[str, ReceptiveField | None]:
    """The receptive field of every layer that `trace` lists; None where it is unknown, or empty.

    The module is unchanged. Cost: two forward passes, the second with a few small maps beside each tensor.

    Args:
        module: any network that takes one batch of images.
        example: a batch, such as zeros of shape (1, 3, 224, 224); they hold for pictures of its size.

    >>> net = nn.Sequential(nn.Conv2d(3, 8, 7, 2, 3), nn.ReLU(), nn.MaxPool2d(3, 2, 1), nn.AdaptiveAvgPool2d(1))
    >>> fields = receptive_fields(net, torch.zeros(1, 3, 64, 64))
    >>> fields["2"], fields["2"].box(0, 8), fields["3"].whole
    (ReceptiveField(size=(11, 11), stride=(4, 4), start=(-5, -5), picture=(64, 64)), (0, 27, 6, 38), True)
    """
    table = trace(module, example)
    fields: dict[str, ReceptiveField | None] = dict.fromkeys(table)
    picture, propagation = (example.shape[2], example.shape[3]), BoxPropagation(example)

    def read(name: str, _: nn.Module, output: Tensor) -> None:
        boxes = propagation.boxes(output)
        if name in table and boxes is not None:
            fields[name] = ReceptiveField.of(boxes, table[name].maps, picture)

    with evaluating(module), torch.inference_mode(), watch(module, read), propagation:
        module(example)
    return fields


def _channels_first(shape: Shape, layout: Layout) -> Shape:
    return (shape[3], shape[1], shape[2]) if layout == "channels-last" else shape[1:]


def _declared(module: nn.Module, shape: Shape) -> Layout | None:
    """The layout of a four-dimensional output, where the class of a leaf module determines it."""
    if next(module.children(), None) is not None:
        return None
    if isinstance(module, nn.Linear):
        return "channels-last"
    if isinstance(module, nn.LayerNorm):  # timm's LayerNorm2d is one too, and normalizes dimension 1
        last, first = (module.normalized_shape == (size,) for size in (shape[3], shape[1]))
        return None if last == first else "channels-last" if last else "channels"
    planar = any(cls.__name__.endswith("2d") for cls in type(module).__mro__)
    return "channels" if planar or isinstance(module, nn.GroupNorm | nn.PixelShuffle | nn.Upsample) else None


@dataclass
class _Reader:
    """Infers layouts from shapes and from the maps seen so far: (raw shape, layout, channels-first shape)."""

    batch: int
    seen: list[tuple[Shape, Layout, Shape]] = dataclasses.field(default_factory=list)

    def read(self, module: nn.Module, shape: Shape) -> tuple[Layout, Shape, int]:
        """Layout, channels-first shape without the batch, and prefix of an output."""
        if shape[:1] == (self.batch,):
            if len(shape) == 2:
                return "vector", shape[1:], 0
            if len(shape) == 3:
                return self._tokens(shape)
            if len(shape) == 4:
                return self._maps(shape, _declared(module, shape))
        return "other", shape[1:], 0

    def _maps(self, shape: Shape, declared: Layout | None) -> tuple[Layout, Shape, int]:
        known_layout = self._layout_of_similar(shape)
        if declared != "channels" and known_layout is None and self._prefix(shape[2]) is not None:
            return "other", shape[1:], 0  # (N, heads, tokens, ·): inside an attention
        layout = declared or known_layout or "channels"
        known = _channels_first(shape, layout)
        if declared or known_layout or not self.seen:  # a guess is no evidence for the next
            self.seen.append((shape, layout, known))
        return layout, known, 0

    def _layout_of_similar(self, shape: Shape) -> Layout | None:
        """The layout of the latest maps of this shape; else one whose channels and grid, or grid, are earlier ones."""
        for raw, layout, _ in reversed(self.seen):
            if raw == shape:
                return layout
        layouts: tuple[Layout, Layout] = ("channels", "channels-last")
        for part in (slice(0, 3), slice(1, 3)):
            for _, latest, known in reversed(self.seen):
                for layout in sorted(layouts, key=lambda layout: layout != latest):
                    if _channels_first(shape, layout)[part] == known[part]:
                        return layout
        return None

    def _prefix(self, tokens: int) -> int | None:
        """Number of tokens before the latest grid, where the others fill it."""
        if not self.seen:
            return None
        _, height, width = self.seen[-1][2]
        prefix = tokens - height * width
        return prefix if height * width > 1 and 0 <= prefix <= MOST_PREFIX else None

    def _tokens(self, shape: Shape) -> tuple[Layout, Shape, int]:
        _, tokens, channels = shape
        prefix = self._prefix(tokens)
        if prefix is not None:
            return "tokens", (channels, *self.seen[-1][2][1:]), prefix
        side = math.isqrt(tokens)
        prefix = tokens - side * side
        if prefix > MOST_PREFIX or self._prefix(channels) == 0:  # the latter: (N, C, tokens), as mixers have it
            return "other", shape[1:], 0
        return "tokens", (channels, side, side), prefix
