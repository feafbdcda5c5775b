"""Exact receptive fields: the network runs once, and beside every tensor goes the sight of each of its entries.

Nothing is captured beforehand: the operations are followed as they run, so in-place writes, shared modules and control
flow in Python are what they are. An operation without a rule leaves all that comes of it unknown, never wrong.
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

from phosphene.core.networks.operations import Given, NoRule, Rule, no_rule, rule_of
from phosphene.core.networks.receptive_boxes import Sight

Pair = tuple[int, int]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Field:
    """The receptive field of a layer: the box of input pixels that each place of its maps can see.

    Place (i, j) sees the rows start[0] + i*stride[0] … + size[0] - 1, as far as the picture reaches, and columns alike.
    Where places are not evenly spaced (windows, adaptive pooling), size is the largest, stride the median, or else the
    mean; `box` is exact everywhere.

    Args:
        size: height and width, in input pixels; larger than the picture where much padding is seen.
        stride: rows and columns from one place to the next, in input pixels; 0 where all places see the same.
        start: first row and column that place (0, 0) sees; negative in the padding.
        picture: height and width of the input that was walked, in pixels.
        boxes: int (4, h, w): top, left, bottom and right (exclusive) of each place, within the picture.
    """

    size: Pair
    stride: Pair
    start: Pair
    picture: Pair
    boxes: Tensor = field(repr=False, compare=False)

    def box(self, row: int, column: int) -> tuple[int, int, int, int]:
        """Top, left, bottom and right (exclusive) of the smallest box with all the pixels that a place sees."""
        top, left, bottom, right = self.boxes[:, row, column].tolist()
        return top, left, bottom, right

    @property
    def whole(self) -> bool:
        """Whether every place sees the whole picture, as after global pooling or attention."""
        return bool((self.boxes == self.boxes.new_tensor((0, 0, *self.picture)).view(4, 1, 1)).all())

    @staticmethod
    def of(sight: Sight, maps: Callable[[Tensor], Tensor], picture: Pair) -> Field:
        """The field of a layer with this sight, whose output reads as maps (N, C, h, w) or counts as one place."""
        seen, reach = (
            torch.stack([_places(maps(side)) for side in sides]).cpu() for sides in (sight.seen, sight.reach)
        )
        blind = (seen == -math.inf).any(0)
        boxes = torch.cat([-seen[:2], seen[2:]]).masked_fill(blind, 0).int()
        step = sight.step if maps(sight.seen[0]).ndim == 4 else (0.0, 0.0)
        (height, down, top), (width, across, left) = (
            _axis(reach[axis].amax(1 - axis), reach[axis + 2].amax(1 - axis), step[axis])
            or _extent(boxes[axis][~blind], boxes[axis + 2][~blind])
            for axis in (0, 1)
        )
        return Field((height, width), (down, across), (top, left), picture, boxes)


def _places(maps: Tensor) -> Tensor:
    return maps.amax((0, 1)) if maps.ndim == 4 else maps.amax().view(1, 1)


def _axis(negated: Tensor, end: Tensor, step: float) -> tuple[int, int, int] | None:
    """Size, stride and start of places along an axis; None where all see the same."""
    apart = end.diff() if len(end) > 1 else end.new_tensor([step])
    stride = apart.median().item() or apart.mean().item()
    if not apart.any() or not math.isfinite(stride):
        return None
    return int((end + negated).max()), round(stride), -int(negated[0])


def _extent(first: Tensor, end: Tensor) -> tuple[int, int, int]:
    if not len(first):
        return 0, 0, 0
    return int(end.max() - first.min()), 0, int(first.min())


class Walk(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Within, under `torch.inference_mode`, every operation on the picture, or on what came of it, is followed.

    Inference mode is what keeps operations such as linear and batch_norm whole until they arrive here.

    >>> picture = torch.zeros(1, 1, 6, 6)
    >>> with torch.inference_mode(), Walk(picture) as walk:
    ...     pooled = torch.max_pool2d(picture[:, :, 1:], 2)
    >>> Field.of(walk.sight(pooled), lambda output: output, (6, 6)).box(1, 2)
    (3, 4, 5, 6)

    Args:
        picture: the input, (N, C, H, W).
    """

    def __init__(self, picture: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.sights: MutableMapping[Tensor, tuple[Sight | None, int]] = WeakTensorKeyDictionary()
        # Writes of another sight, by address of the storage; holding the storage keeps its address from reuse.
        self.writes: dict[int, tuple[torch.UntypedStorage, int]] = {}
        self.unknown: set[str] = set()
        self.sights[picture] = Sight.of(picture), 0

    def follows(self, tensor: Tensor) -> bool:
        """Whether a tensor may depend on the picture."""
        return tensor in self.sights or self._written(tensor) > 0

    def sight(self, tensor: Tensor) -> Sight | None:
        """What a tensor that depends on the picture has seen; None where that is unknown."""
        sight, written = self.sights.get(tensor, (None, 0))
        return sight if written == self._written(tensor) else None

    def _written(self, tensor: Tensor) -> int:
        return self.writes.get(tensor.untyped_storage().data_ptr(), (None, 0))[1]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name.removeprefix("aten::").rstrip("_")
        read = args[:1] if name.endswith("_as") else args  # the second of view_as lends its shape only
        followed = any(isinstance(each, Tensor) and self.follows(each) for each in tree_leaves((read, kwargs)))
        if not followed or name.startswith("new_") or name.endswith("_like"):
            return func(*args, **kwargs)
        rule = rule_of(func, name)
        if rule is None and func._can_decompose():
            with self:
                return func.decompose(*args, **kwargs)
        result = func(*args, **kwargs)
        outputs = [each for each in tree_leaves(result) if isinstance(each, Tensor)]
        sights = self._sights(func, rule or no_rule, _given(func, read, kwargs), outputs)
        for output, sight in zip(outputs, sights, strict=True):
            self._note(output, sight, inplace=func._schema.is_mutable)
        return result

    def _sights(self, func: Any, rule: Rule, given: Given, outputs: list[Tensor]) -> list[Sight | None]:
        """The sight of each output."""
        unknown: list[Sight | None] = [None] * len(outputs)
        tensors = [each for each in tree_leaves(given) if isinstance(each, Tensor)]
        if any(self.follows(each) and self.sight(each) is None for each in tensors) or not outputs:
            return unknown
        given = tree_map_only(Tensor, lambda each: self.sight(each) or each, given)
        try:
            found = rule(given, outputs[0].shape)
        except (NoRule, RuntimeError):  # arguments that a rule did not foresee are as good as no rule
            self._report(str(func))
            return unknown
        sights = found if isinstance(found, list) else [found] * len(outputs)
        return [s if s.shape == o.shape else None for s, o in zip(sights, outputs, strict=True)]

    def _note(self, tensor: Tensor, sight: Sight | None, *, inplace: bool) -> None:
        if inplace and (sight is None or sight is not self.sight(tensor)):
            storage, count = tensor.untyped_storage(), self._written(tensor) + 1
            self.writes[storage.data_ptr()] = storage, count  # what other views of it see is unknown from now on
            if tensor.numel() * tensor.element_size() != storage.nbytes():
                sight = None
        self.sights[tensor] = sight, self._written(tensor)

    def _report(self, operation: str) -> None:
        if operation not in self.unknown:
            log.warning("receptive fields are unknown after %s, which no rule of operations.py covers", operation)
        self.unknown.add(operation)


def _given(func: Any, args: Any, kwargs: Any) -> Given:
    """The arguments by name, defaults filled in, without those that go by keyword only: none of them is looked at."""
    parameters = [each for each in func._schema.arguments if not each.kwarg_only]
    given = {each.name: kwargs.get(each.name, each.default_value) for each in parameters}
    return given | dict(zip(given, args, strict=False))
