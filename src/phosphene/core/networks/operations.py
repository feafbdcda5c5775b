"""What an operation does to the sight of its entries: a dozen kinds of rule.

An operation that moves entries (view, permute, cat, roll …) runs on the sides of the boxes as on anything else; a
pointwise one is a maximum over its arguments; a reduction, a product of matrices or an attention is a maximum over
dimensions; a convolution is max pooling.
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

from phosphene.core.networks.receptive_boxes import Sight, farthest, most, narrow, spread, union

Given = dict[str, Any]  # arguments by name, each tensor that depends on the picture replaced by its sight
Rule = Callable[[Given, torch.Size], "Sight | list[Sight]"]  # (given, shape of the output) → sight of the output


class NoRule(Exception):  # noqa: N818 - nothing went wrong
    """These arguments lead to what no rule covers: the output is unknown."""


def no_rule(_: Given, __: torch.Size) -> Sight:
    """The rule of an operation that has none."""
    raise NoRule


def rule_of(func: Any, name: str) -> Rule | None:
    """The rule for an operation; None where there is none, and its parts may tell more.

    Args:
        func: an operation of torch.ops.
        name: its name without "aten::" and without the "_" of the in-place twin.
    """
    if func.namespace != "aten" or name in BITS or func._overloadname == "dtype":
        return None
    if name in RULES:
        return RULES[name]
    if name in POINTWISE or torch.Tag.pointwise in func.tags:
        return _union
    return partial(_moved, func) if name in MOVES or func.is_view else None


def _sights(given: Given) -> list[Sight]:
    return [each for each in tree_leaves(given) if isinstance(each, Sight)]


def _union(given: Given, shape: torch.Size) -> Sight:
    return union(_sights(given), shape)


def _alone(given: Given) -> Sight:
    """The first argument, where it is the only one that depends on the picture."""
    sight, *rest = given.values()
    if not isinstance(sight, Sight) or _sights({"rest": rest}):
        raise NoRule
    return sight


def _copy(given: Given, shape: torch.Size) -> Sight:
    if not isinstance(given["src"], Sight):
        raise NoRule
    return union([given["src"]], shape)


def _moved(func: Any, given: Given, _: torch.Size) -> Sight | list[Sight]:
    """The operation itself, on each side of the boxes; constants among what it moves have seen nothing."""
    data, *rest = given.values()
    if _sights({"rest": rest}):
        raise NoRule
    if func in (torch.ops.aten.view.default, torch.ops.aten._unsafe_view.default):
        func = torch.reshape  # expanded sides may have to be copied
    several = isinstance(data, list | tuple)
    parts = list(data) if several else [data]
    step = farthest([part for part in parts if isinstance(part, Sight)])

    def run(kind: str, number: int) -> Any:
        blind = torch.tensor(-math.inf, device=next(part for part in parts if isinstance(part, Sight)).seen[0].device)
        sides = [getattr(p, kind)[number] if isinstance(p, Sight) else blind.expand(p.shape) for p in parts]
        return func(sides if several else sides[0], *rest)

    seen, reach = ([run(kind, number) for number in range(4)] for kind in ("seen", "reach"))
    if isinstance(seen[0], Tensor):
        return Sight(tuple(seen), tuple(reach), step)
    return [Sight(*sides, step) for sides in zip(zip(*seen, strict=True), zip(*reach, strict=True), strict=True)]


def _reshaped(given: Given, shape: torch.Size) -> Sight:
    sight = _alone(given)
    return sight.each(lambda side: side.reshape(shape), sight.step)


def _reduced(given: Given, shape: torch.Size) -> Sight:
    """The union over "dim", or over all: mean, sum, norms."""
    if "other" in given:  # max(x, y)
        return _union(given, shape)
    sight, dims = _alone(given), given.get("dim")
    dims = list(range(sight.ndim)) if dims in (None, []) else [dims] if isinstance(dims, int) else dims
    return sight.each(lambda side: narrow(side).amax(dims, keepdim=len(shape) == sight.ndim).expand(shape))


def _softmax(given: Given, shape: torch.Size) -> Sight:
    sight = _alone(given)
    return spread(most(sight, [given["dim"]], sight.step), shape)


def _layer_norm(given: Given, shape: torch.Size) -> Sight:
    sight, dims = _alone(given), range(-len(given["normalized_shape"]), 0)
    return spread(most(sight, dims, sight.step if len(dims) == 1 else (0.0, 0.0)), shape)


def _group_norm(given: Given, _: torch.Size) -> Sight:
    def over(side: Tensor) -> Tensor:
        grouped = side.reshape(len(side), given["num_groups"], -1, *side.shape[2:])
        return grouped.amax(tuple(range(2, grouped.ndim)), keepdim=True).expand_as(grouped).flatten(1, 2)

    return _alone(given).each(over)


def _batch_norm(given: Given, shape: torch.Size) -> Sight:
    """Pointwise with stored statistics; those of the batch read all images and places of a channel."""
    sight, live = _alone(given), given.get("training", given.get("use_input_stats"))
    return spread(most(sight, [0, *range(2, sight.ndim)]), shape) if live else union([sight], shape)


def _linear(given: Given, shape: torch.Size) -> Sight:
    sight = _alone(given)
    return spread(most(sight, [-1], sight.step), shape)


def _product(given: Given, shape: torch.Size) -> Sight:
    """Matrix products: an entry reads a row of the first and a column of the second factor; addmm adds a bias."""
    *bias, first, second = (each for each in given.values() if isinstance(each, Sight | Tensor))
    if min(first.ndim, second.ndim) < 2:
        raise NoRule
    factors = [most(each, [dim]) for each, dim in ((first, -1), (second, -2)) if isinstance(each, Sight)]
    return union([*factors, *(each for each in bias if isinstance(each, Sight))], shape)


def _attention(given: Given, shape: torch.Size) -> Sight:
    """Scaled dot products: an entry reads its query, and all keys and values."""
    query, key, value = (given[each] for each in ("query", "key", "value"))
    if given["is_causal"] or isinstance(given["attn_mask"], Sight):
        raise NoRule
    read = ((query, [-1]), (key, [-2, -1]), (value, [-2]))
    return union([most(each, dims) for each, dims in read if isinstance(each, Sight)], shape)


def _all(given: Given, shape: torch.Size) -> Sight:
    """A fused transformer layer: everything of an image reads everything of it."""
    return union([most(each, range(1, each.ndim)) for each in _sights(given)], shape)


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[-1])


def _extended(sight: Sight, dim: int, before: int, after: int) -> Sight:
    """Places added, or cut where negative, at both ends of a dimension.

    They have seen nothing; in a picture that goes on beyond its edges they have seen the pixels there.
    """
    if before == after == 0:
        return sight
    size, axis = sight.shape[dim], dim % sight.ndim - sight.ndim + 2  # axis 0 runs down the picture, axis 1 across
    index = torch.arange(-before, size + after, device=sight.seen[0].device)
    inside = index.clamp(0, size - 1)
    excess = (index - inside).view(-1, *[1] * (-1 - (dim % sight.ndim - sight.ndim)))

    def beyond(number: int, side: Tensor) -> Tensor:
        if axis < 0:
            return side.index_select(dim, inside).masked_fill(excess != 0, -math.inf)
        if size > 1:
            slope = (side.narrow(dim, 1, 1) - side.narrow(dim, 0, 1)).nan_to_num(0, 0, 0)
            return side.index_select(dim, inside) + excess * slope
        step = sight.step[axis] if number % 2 == axis else 0.0
        return side.index_select(dim, inside) + excess * (step if number > 1 else -step)

    seen = (side.index_select(dim, inside).masked_fill(excess != 0, -math.inf) for side in sight.seen)
    return Sight(tuple(seen), tuple(beyond(*each) for each in enumerate(sight.reach)), sight.step)


def _padded(given: Given, _: torch.Size) -> Sight:
    sight, pad, mode = _alone(given), given["pad"], given.get("mode", "constant")
    if mode != "constant":
        return sight.each(lambda side: F.pad(side, pad, mode), sight.step)
    for number in range(len(pad) // 2):
        sight = _extended(sight, -1 - number, pad[2 * number], pad[2 * number + 1])
    return sight


def _slid(sight: Sight, places: torch.Size, *, kernel: Any, stride: Any, padding: Any, dilation: Any) -> Sight:
    """The union over a window that slides to so many places; every window is full, be it with padding."""
    kernel, stride, padding, dilation = map(_pair, (kernel, stride, padding, dilation))
    step = tuple(_step(sight, axis) * stride[axis] for axis in (0, 1))
    for axis in (0, 1):
        width = (places[axis] - 1) * stride[axis] + (kernel[axis] - 1) * dilation[axis] + 1
        sight = _extended(sight, 2 + axis, padding[axis], width - sight.shape[2 + axis] - padding[axis])
    return sight.each(lambda side: F.max_pool2d(side, kernel, stride, 0, dilation), (step[0], step[1]))


def _step(sight: Sight, axis: int) -> float:
    side = sight.reach[2 + axis].select(3 - axis, 0)[0, 0]
    step = (side[1] - side[0]).item() if len(side) > 1 else sight.step[axis]
    return step if math.isfinite(step) else sight.step[axis]


def _convolved(given: Given, shape: torch.Size) -> Sight:
    sight, weight, groups = _alone(given), given["weight"], given["groups"]
    if sight.ndim != 4 or given.get("transposed"):
        raise NoRule
    kernel, dilation, padding = weight.shape[2:], _pair(given["dilation"]), given["padding"]
    if isinstance(padding, str):  # "same" or "valid"; an odd pixel goes to the end
        padding = [(k - 1) * d // 2 if padding == "same" else 0 for k, d in zip(kernel, dilation, strict=True)]

    def mixed(side: Tensor) -> Tensor:
        side = narrow(side, (0, 1))
        return side if side.shape[1] == 1 else side.reshape(len(side), groups, -1, *side.shape[2:]).amax(2)

    def shared(side: Tensor) -> Tensor:
        return side.repeat_interleave(shape[1] // side.shape[1], 1) if side.shape[1] > 1 else side

    alike, stride = sight.each(mixed, sight.step), given["stride"]
    slid = _slid(alike, shape[2:], kernel=kernel, stride=stride, padding=padding, dilation=dilation)
    return spread(slid.each(shared, slid.step), shape)


def _pooled(given: Given, shape: torch.Size) -> Sight:
    sight, kernel, dilation = _alone(given), given["kernel_size"], given.get("dilation", 1)
    if sight.ndim != 4:
        raise NoRule
    alike, stride = sight.each(lambda side: narrow(side, (0, 1)), sight.step), given["stride"] or kernel
    slid = _slid(alike, shape[2:], kernel=kernel, stride=stride, padding=given["padding"], dilation=dilation)
    return spread(slid, shape)


def _across(given: Given, _: torch.Size) -> Sight:
    """Pooling over neighboring channels, as in local response normalization."""
    sight, kernel, stride = _alone(given), given["kernel_size"], given["stride"]
    if kernel[1:] != [1, 1] or any(given["padding"]):
        raise NoRule
    return sight.each(lambda side: F.max_pool3d(side, kernel, stride), sight.step)


def _adaptive(given: Given, shape: torch.Size) -> Sight:
    sight, places = _alone(given), (shape[-2], shape[-1])
    if sight.shape == shape:
        return sight
    return spread(sight.each(lambda side: F.adaptive_max_pool2d(narrow(side, range(side.ndim - 2)), places)), shape)


def _names(names: str, rule: Rule) -> dict[str, Rule]:
    return dict.fromkeys(names.split(), rule)


RULES: dict[str, Rule] = {
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
