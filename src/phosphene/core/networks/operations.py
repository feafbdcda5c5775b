"""How an operation propagates receptive boxes from its inputs to its output: a dozen kinds of rule.

An operation that moves entries (view, permute, cat, roll …) runs on the sides of the boxes themselves; a pointwise one
is a maximum over its arguments; a reduction, a product of matrices or an attention is a maximum over dimensions; a
convolution is max pooling.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._pytree import tree_leaves

from phosphene.core.networks.receptive_boxes import Boxes, collapsed, expanded, largest_step, union, union_over

Arguments = dict[str, Any]  # by name, every tensor that depends on the picture replaced by its boxes
BoxRule = Callable[[Arguments, torch.Size], "Boxes | list[Boxes]"]
"""(arguments, shape of the output) → boxes of the output."""


class NoRule(Exception):  # noqa: N818 - nothing went wrong
    """No rule covers an operation with these arguments: the boxes of its output are unknown."""


def no_rule(_: Arguments, __: torch.Size) -> Boxes:
    """The rule of an operation that has none."""
    raise NoRule


def rule_of(func: Any, name: str) -> BoxRule | None:
    """The rule for an operation; None where there is none, and it may be decomposed.

    Args:
        func: an operation of torch.ops.
        name: its name without "aten::" and without the "_" of the in-place version.
    """
    if func.namespace != "aten" or name in BITS or func._overloadname == "dtype":
        return None
    if name in RULES:
        return RULES[name]
    if name in POINTWISE or torch.Tag.pointwise in func.tags:
        return _union
    return partial(_moved, func) if name in MOVES or func.is_view else None


def _operands(arguments: Arguments) -> list[Boxes]:
    return [leaf for leaf in tree_leaves(arguments) if isinstance(leaf, Boxes)]


def _union(arguments: Arguments, shape: torch.Size) -> Boxes:
    return union(_operands(arguments), shape)


def _only(arguments: Arguments) -> Boxes:
    """The boxes of the first argument, the only one that may depend on the picture."""
    boxes, *rest = arguments.values()
    if not isinstance(boxes, Boxes) or _operands({"rest": rest}):
        raise NoRule
    return boxes


def _copy(arguments: Arguments, shape: torch.Size) -> Boxes:
    if not isinstance(arguments["src"], Boxes):
        raise NoRule
    return union([arguments["src"]], shape)


def _moved(func: Any, arguments: Arguments, _: torch.Size) -> Boxes | list[Boxes]:
    """The operation itself, on each side of the boxes; constants among its inputs depend on nothing."""
    data, *rest = arguments.values()
    if _operands({"rest": rest}):
        raise NoRule
    if func in (torch.ops.aten.view.default, torch.ops.aten._unsafe_view.default):
        func = torch.reshape  # expanded sides may have to be copied
    several = isinstance(data, list | tuple)
    parts = list(data) if several else [data]
    operands = [part for part in parts if isinstance(part, Boxes)]
    step = largest_step(operands)

    def run(kind: str, number: int) -> Any:
        nothing = torch.tensor(-math.inf, device=operands[0].clipped[0].device)
        sides = [getattr(p, kind)[number] if isinstance(p, Boxes) else nothing.expand(p.shape) for p in parts]
        return func(sides if several else sides[0], *rest)

    clipped, padded = ([run(kind, number) for number in range(4)] for kind in ("clipped", "padded"))
    if isinstance(clipped[0], Tensor):
        return Boxes(tuple(clipped), tuple(padded), step)
    return [Boxes(*sides, step) for sides in zip(zip(*clipped, strict=True), zip(*padded, strict=True), strict=True)]


def _reshaped(arguments: Arguments, shape: torch.Size) -> Boxes:
    boxes = _only(arguments)
    return boxes.apply(lambda side: side.reshape(shape), boxes.step)


def _reduced(arguments: Arguments, shape: torch.Size) -> Boxes:
    """The union over "dim", or over all: mean, sum, norms."""
    if "other" in arguments:  # max(x, y)
        return _union(arguments, shape)
    boxes, dims = _only(arguments), arguments.get("dim")
    dims = list(range(boxes.ndim)) if dims in (None, []) else [dims] if isinstance(dims, int) else dims
    return boxes.apply(lambda side: collapsed(side).amax(dims, keepdim=len(shape) == boxes.ndim).expand(shape))


def _softmax(arguments: Arguments, shape: torch.Size) -> Boxes:
    boxes = _only(arguments)
    return expanded(union_over(boxes, [arguments["dim"]], boxes.step), shape)


def _layer_norm(arguments: Arguments, shape: torch.Size) -> Boxes:
    boxes, dims = _only(arguments), range(-len(arguments["normalized_shape"]), 0)
    return expanded(union_over(boxes, dims, boxes.step if len(dims) == 1 else (0.0, 0.0)), shape)


def _group_norm(arguments: Arguments, _: torch.Size) -> Boxes:
    def over(side: Tensor) -> Tensor:
        grouped = side.reshape(len(side), arguments["num_groups"], -1, *side.shape[2:])
        return grouped.amax(tuple(range(2, grouped.ndim)), keepdim=True).expand_as(grouped).flatten(1, 2)

    return _only(arguments).apply(over)


def _batch_norm(arguments: Arguments, shape: torch.Size) -> Boxes:
    """Pointwise with stored statistics; those of the batch read all images and places of a channel."""
    boxes, live = _only(arguments), arguments.get("training", arguments.get("use_input_stats"))
    return expanded(union_over(boxes, [0, *range(2, boxes.ndim)]), shape) if live else union([boxes], shape)


def _linear(arguments: Arguments, shape: torch.Size) -> Boxes:
    boxes = _only(arguments)
    return expanded(union_over(boxes, [-1], boxes.step), shape)


def _product(arguments: Arguments, shape: torch.Size) -> Boxes:
    """Matrix products: an entry reads a row of the first and a column of the second factor; addmm adds a bias."""
    *bias, first, second = (value for value in arguments.values() if isinstance(value, Boxes | Tensor))
    if min(first.ndim, second.ndim) < 2:
        raise NoRule
    factors = [union_over(factor, [dim]) for factor, dim in ((first, -1), (second, -2)) if isinstance(factor, Boxes)]
    return union([*factors, *(term for term in bias if isinstance(term, Boxes))], shape)


def _attention(arguments: Arguments, shape: torch.Size) -> Boxes:
    """Scaled dot products: an entry reads its query, and all keys and values."""
    query, key, value = (arguments[name] for name in ("query", "key", "value"))
    if arguments["is_causal"] or isinstance(arguments["attn_mask"], Boxes):
        raise NoRule
    read = ((query, [-1]), (key, [-2, -1]), (value, [-2]))
    return union([union_over(factor, dims) for factor, dims in read if isinstance(factor, Boxes)], shape)


def _all(arguments: Arguments, shape: torch.Size) -> Boxes:
    """A fused transformer layer: everything of an image reads everything of it."""
    return union([union_over(boxes, range(1, boxes.ndim)) for boxes in _operands(arguments)], shape)


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[-1])


def _extended(boxes: Boxes, dim: int, before: int, after: int) -> Boxes:
    """Places added, or cut where negative, at both ends of a dimension.

    They depend on nothing; in a picture that goes on beyond its edges, on the pixels there.
    """
    if before == after == 0:
        return boxes
    size, axis = boxes.shape[dim], dim % boxes.ndim - boxes.ndim + 2  # axis 0 runs down the picture, axis 1 across
    index = torch.arange(-before, size + after, device=boxes.clipped[0].device)
    inside = index.clamp(0, size - 1)
    excess = (index - inside).view(-1, *[1] * (-1 - (dim % boxes.ndim - boxes.ndim)))

    def beyond(number: int, side: Tensor) -> Tensor:
        if axis < 0:
            return side.index_select(dim, inside).masked_fill(excess != 0, -math.inf)
        if size > 1:
            slope = (side.narrow(dim, 1, 1) - side.narrow(dim, 0, 1)).nan_to_num(0, 0, 0)
            return side.index_select(dim, inside) + excess * slope
        step = boxes.step[axis] if number % 2 == axis else 0.0
        return side.index_select(dim, inside) + excess * (step if number > 1 else -step)

    clipped = (side.index_select(dim, inside).masked_fill(excess != 0, -math.inf) for side in boxes.clipped)
    return Boxes(tuple(clipped), tuple(beyond(number, side) for number, side in enumerate(boxes.padded)), boxes.step)


def _padded(arguments: Arguments, _: torch.Size) -> Boxes:
    boxes, pad, mode = _only(arguments), arguments["pad"], arguments.get("mode", "constant")
    if mode != "constant":
        return boxes.apply(lambda side: F.pad(side, pad, mode), boxes.step)
    for number in range(len(pad) // 2):
        boxes = _extended(boxes, -1 - number, pad[2 * number], pad[2 * number + 1])
    return boxes


def _slid(boxes: Boxes, places: torch.Size, *, kernel: Any, stride: Any, padding: Any, dilation: Any) -> Boxes:
    """The union over a window that slides to so many places; every window is full, be it with padding."""
    kernel, stride, padding, dilation = map(_pair, (kernel, stride, padding, dilation))
    step = tuple(_step(boxes, axis) * stride[axis] for axis in (0, 1))
    for axis in (0, 1):
        width = (places[axis] - 1) * stride[axis] + (kernel[axis] - 1) * dilation[axis] + 1
        boxes = _extended(boxes, 2 + axis, padding[axis], width - boxes.shape[2 + axis] - padding[axis])
    return boxes.apply(lambda side: F.max_pool2d(side, kernel, stride, 0, dilation), (step[0], step[1]))


def _step(boxes: Boxes, axis: int) -> float:
    side = boxes.padded[2 + axis].select(3 - axis, 0)[0, 0]
    step = (side[1] - side[0]).item() if len(side) > 1 else boxes.step[axis]
    return step if math.isfinite(step) else boxes.step[axis]


def _convolved(arguments: Arguments, shape: torch.Size) -> Boxes:
    boxes, weight, groups = _only(arguments), arguments["weight"], arguments["groups"]
    if boxes.ndim != 4 or arguments.get("transposed"):
        raise NoRule
    kernel, dilation, padding = weight.shape[2:], _pair(arguments["dilation"]), arguments["padding"]
    if isinstance(padding, str):  # "same" or "valid"; an odd pixel goes to the end
        padding = [(k - 1) * d // 2 if padding == "same" else 0 for k, d in zip(kernel, dilation, strict=True)]

    def mixed(side: Tensor) -> Tensor:
        side = collapsed(side, (0, 1))
        return side if side.shape[1] == 1 else side.reshape(len(side), groups, -1, *side.shape[2:]).amax(2)

    def shared(side: Tensor) -> Tensor:
        return side.repeat_interleave(shape[1] // side.shape[1], 1) if side.shape[1] > 1 else side

    plane, stride = boxes.apply(mixed, boxes.step), arguments["stride"]
    slid = _slid(plane, shape[2:], kernel=kernel, stride=stride, padding=padding, dilation=dilation)
    return expanded(slid.apply(shared, slid.step), shape)


def _pooled(arguments: Arguments, shape: torch.Size) -> Boxes:
    boxes, kernel, dilation = _only(arguments), arguments["kernel_size"], arguments.get("dilation", 1)
    if boxes.ndim != 4:
        raise NoRule
    plane, stride = boxes.apply(lambda side: collapsed(side, (0, 1)), boxes.step), arguments["stride"] or kernel
    slid = _slid(plane, shape[2:], kernel=kernel, stride=stride, padding=arguments["padding"], dilation=dilation)
    return expanded(slid, shape)


def _across(arguments: Arguments, _: torch.Size) -> Boxes:
    """Pooling over neighboring channels, as in local response normalization."""
    boxes, kernel, stride = _only(arguments), arguments["kernel_size"], arguments["stride"]
    if kernel[1:] != [1, 1] or any(arguments["padding"]):
        raise NoRule
    return boxes.apply(lambda side: F.max_pool3d(side, kernel, stride), boxes.step)


def _adaptive(arguments: Arguments, shape: torch.Size) -> Boxes:
    boxes, places = _only(arguments), (shape[-2], shape[-1])
    if boxes.shape == shape:
        return boxes
    return expanded(
        boxes.apply(lambda side: F.adaptive_max_pool2d(collapsed(side, range(side.ndim - 2)), places)), shape
    )


def _names(names: str, rule: BoxRule) -> dict[str, BoxRule]:
    return dict.fromkeys(names.split(), rule)


RULES: dict[str, BoxRule] = {
    **_names("conv2d convolution", _convolved),
    **_names("max_pool2d max_pool2d_with_indices avg_pool2d", _pooled),
    **_names("adaptive_avg_pool2d adaptive_max_pool2d _adaptive_avg_pool2d", _adaptive),
    **_names("pad constant_pad_nd", _padded),
    **_names("batch_norm instance_norm", _batch_norm),
    **_names("layer_norm rms_norm", _layer_norm),
    **_names("softmax _softmax log_softmax _log_softmax", _softmax),
    **_names("mean sum amax amin max min var std var_mean std_mean norm linalg_vector_norm logsumexp", _reduced),
    **_names("matmul mm bmm addmm baddbmm", _product),
    **_names("_native_multi_head_attention _transformer_encoder_layer_fwd", _all),
    "avg_pool3d": _across,
    "group_norm": _group_norm,
    "linear": _linear,
    "scaled_dot_product_attention": _attention,
    "copy": _copy,
    **_names("expand_as type_as", _union),
    **_names("view_as reshape_as", _reshaped),
}
MOVES = frozenset({
    "_unsafe_index", "_unsafe_view", "cat", "stack", "roll", "flip", "index", "index_select", "repeat", "pixel_shuffle",
    "pixel_unshuffle", "channel_shuffle", "upsample_nearest2d", "_upsample_nearest_exact2d",
})  # fmt: skip
POINTWISE = frozenset({
    "alias", "clone", "contiguous", "detach", "dropout", "feature_dropout", "hardswish", "lift_fresh",
    "log_sigmoid_forward", "mish", "prelu", "to", "_to_copy",
})  # fmt: skip
BITS = frozenset({"as_strided", "view_as_complex", "view_as_real"})  # views of the memory, not of the entries
