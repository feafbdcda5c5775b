"""Exact receptive fields: the network runs once, and every operation also propagates the boxes of its inputs.

Nothing is captured beforehand: operations are intercepted as they run, so in-place writes, shared modules and control
flow in Python are covered. After an operation without a rule the boxes are unknown, never wrong.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.weak import WeakTensorKeyDictionary

from phosphene.core.networks.operations import Arguments, BoxRule, NoRule, no_rule, rule_of
from phosphene.core.networks.receptive_boxes import Boxes

_Pair = tuple[int, int]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReceptiveField:
    """The receptive field of a layer: the box of input pixels that each place of its maps depends on.

    Place (i, j) depends on the rows start[0] + i*stride[0] … + size[0] - 1 within the picture, and so for columns.
    Where places are not evenly spaced (windows, adaptive pooling), size is the largest, stride the median, or else the
    mean; `box` is exact everywhere.

    Args:
        size: height and width, in input pixels, padding included: it may exceed the picture.
        stride: rows and columns from one place to the next, in input pixels; 0 where all places have the same box.
        start: first row and column of the box of place (0, 0); negative in the padding.
        picture: height and width of the input, in pixels.
        boxes: int (4, h, w): top, left, bottom and right (exclusive) of each place, within the picture.
    """

    size: _Pair
    stride: _Pair
    start: _Pair
    picture: _Pair
    boxes: Tensor = field(repr=False, compare=False)

    def box(self, row: int, column: int) -> tuple[int, int, int, int]:
        """Top, left, bottom and right (exclusive) of the smallest box with all the pixels that a place depends on."""
        top, left, bottom, right = self.boxes[:, row, column].tolist()
        return top, left, bottom, right

    @property
    def whole(self) -> bool:
        """Whether every place depends on the whole picture, as after global pooling or attention."""
        return bool((self.boxes == self.boxes.new_tensor((0, 0, *self.picture)).view(4, 1, 1)).all())

    @staticmethod
    def of(layer: Boxes, maps: Callable[[Tensor], Tensor], picture: _Pair) -> ReceptiveField:
        """The receptive field of a layer from the boxes of its output.

        Args:
            layer: boxes of its output.
            maps: reads an output as maps (N, C, h, w), or leaves it, which then counts as one place.
            picture: height and width of the input.
        """
        clipped, padded = (
            torch.stack([_places(maps(side)) for side in sides]).cpu() for sides in (layer.clipped, layer.padded)
        )
        empty = (clipped == -math.inf).any(0)
        boxes = torch.cat([-clipped[:2], clipped[2:]]).masked_fill(empty, 0).int()
        step = layer.step if maps(layer.clipped[0]).ndim == 4 else (0.0, 0.0)
        (height, down, top), (width, across, left) = (
            _axis(padded[axis].amax(1 - axis), padded[axis + 2].amax(1 - axis), step[axis])
            or _extent(boxes[axis][~empty], boxes[axis + 2][~empty])
            for axis in (0, 1)
        )
        return ReceptiveField((height, width), (down, across), (top, left), picture, boxes)


def _places(maps: Tensor) -> Tensor:
    return maps.amax((0, 1)) if maps.ndim == 4 else maps.amax().view(1, 1)


def _axis(negated: Tensor, end: Tensor, step: float) -> tuple[int, int, int] | None:
    """Size, stride and start of the boxes along an axis; None where all are the same."""
    steps = end.diff() if len(end) > 1 else end.new_tensor([step])
    stride = steps.median().item() or steps.mean().item()
    if not steps.any() or not math.isfinite(stride):
        return None
    return int((end + negated).max()), round(stride), -int(negated[0])


def _extent(first: Tensor, end: Tensor) -> tuple[int, int, int]:
    if not len(first):
        return 0, 0, 0
    return int(end.max() - first.min()), 0, int(first.min())


class BoxPropagation(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Within it, under `torch.inference_mode`, every operation that depends on the picture propagates receptive boxes.

    Inference mode keeps operations such as linear and batch_norm whole until they arrive here.

    >>> picture = torch.zeros(1, 1, 6, 6)
    >>> with torch.inference_mode(), BoxPropagation(picture) as propagation:
    ...     pooled = torch.max_pool2d(picture[:, :, 1:], 2)
    >>> ReceptiveField.of(propagation.boxes(pooled), lambda output: output, (6, 6)).box(1, 2)
    (3, 4, 5, 6)

    Args:
        picture: the input, (N, C, H, W).
    """

    def __init__(self, picture: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        # Boxes of each tensor, and how many writes its storage had seen when they were computed.
        self.known: MutableMapping[Tensor, tuple[Boxes | None, int]] = WeakTensorKeyDictionary()
        # Writes that changed the boxes, by address of the storage; holding the storage keeps its address from reuse.
        self.writes: dict[int, tuple[torch.UntypedStorage, int]] = {}
        self.unknown: set[str] = set()
        self.known[picture] = Boxes.of_pixels(picture), 0

    def depends(self, tensor: Tensor) -> bool:
        """Whether a tensor may depend on the picture."""
        return tensor in self.known or self._written(tensor) > 0

    def boxes(self, tensor: Tensor) -> Boxes | None:
        """Boxes of a tensor that depends on the picture; None where they are unknown."""
        boxes, written = self.known.get(tensor, (None, 0))
        return boxes if written == self._written(tensor) else None

    def _written(self, tensor: Tensor) -> int:
        return self.writes.get(tensor.untyped_storage().data_ptr(), (None, 0))[1]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name.removeprefix("aten::").rstrip("_")
        read = args[:1] if name.endswith("_as") else args  # the second of view_as lends its shape only
        depends = any(isinstance(leaf, Tensor) and self.depends(leaf) for leaf in tree_leaves((read, kwargs)))
        if not depends or name.startswith("new_") or name.endswith("_like"):
            return func(*args, **kwargs)
        rule = rule_of(func, name)
        if rule is None and func._can_decompose():
            with self:
                return func.decompose(*args, **kwargs)
        result = func(*args, **kwargs)
        outputs = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        propagated = self._propagated(func, rule or no_rule, _arguments(func, read, kwargs), outputs)
        for output, boxes in zip(outputs, propagated, strict=True):
            self._record(output, boxes, inplace=func._schema.is_mutable)
        return result

    def _propagated(self, func: Any, rule: BoxRule, arguments: Arguments, outputs: list[Tensor]) -> list[Boxes | None]:
        """The boxes of each output."""
        unknown: list[Boxes | None] = [None] * len(outputs)
        tensors = [leaf for leaf in tree_leaves(arguments) if isinstance(leaf, Tensor)]
        if any(self.depends(tensor) and self.boxes(tensor) is None for tensor in tensors) or not outputs:
            return unknown
        arguments = tree_map_only(Tensor, lambda tensor: self.boxes(tensor) or tensor, arguments)
        try:
            result = rule(arguments, outputs[0].shape)
        except (NoRule, RuntimeError):  # arguments that a rule did not foresee are as good as no rule
            self._warn(str(func))
            return unknown
        several = result if isinstance(result, list) else [result] * len(outputs)
        return [boxes if boxes.shape == output.shape else None for boxes, output in zip(several, outputs, strict=True)]

    def _record(self, tensor: Tensor, boxes: Boxes | None, *, inplace: bool) -> None:
        if inplace and (boxes is None or boxes is not self.boxes(tensor)):
            storage, count = tensor.untyped_storage(), self._written(tensor) + 1
            self.writes[storage.data_ptr()] = storage, count  # boxes of its other views are unknown from now on
            if tensor.numel() * tensor.element_size() != storage.nbytes():
                boxes = None
        self.known[tensor] = boxes, self._written(tensor)

    def _warn(self, operation: str) -> None:
        if operation not in self.unknown:
            log.warning("receptive fields are unknown after %s, which no rule of operations.py covers", operation)
        self.unknown.add(operation)


def _arguments(func: Any, args: Any, kwargs: Any) -> Arguments:
    """The arguments by name, defaults filled in, without keyword-only ones: no rule reads them."""
    parameters = [parameter for parameter in func._schema.arguments if not parameter.kwarg_only]
    defaults = {parameter.name: kwargs.get(parameter.name, parameter.default_value) for parameter in parameters}
    return defaults | dict(zip(defaults, args, strict=False))
