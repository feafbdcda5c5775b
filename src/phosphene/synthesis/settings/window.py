"""The part of the input that an objective depends on: neurons and shallow channels do not depend on all of it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from phosphene.core.errors import ImageError, LayerError
from phosphene.core.networks.layers import ReceptiveField
from phosphene.core.networks.network import Box, Network
from phosphene.core.objectives.objective import Objective, Sum
from phosphene.core.objectives.units import Channel, ChannelMax, Neuron

Pair = tuple[int, int]
Fields = list[tuple[Channel, ReceptiveField]]


@dataclass(frozen=True)
class Window:
    """A smaller canvas for an objective.

    Args:
        objective: the same, its neurons counted from the corner of the window.
        size: height and width of the canvas, in pixels.
        box: where it lies in the input of the network, in pixels.
    """

    objective: Objective
    size: Pair
    box: Box


def window(network: Network, objective: Objective, *, margin: int = 0, min_size: Pair = (32, 32)) -> Window | None:
    """The smallest canvas on which an objective is exact, or None where it would save less than a quarter.

    A neuron has in the window the value that it has in the whole image, whatever surrounds the window there: the window
    begins at a multiple of the strides, holds all of the receptive field, and ends at the edge of the image wherever
    padding is seen. That is checked on a picture of noise. Channels get room for three receptive fields, and 64 pixels
    at least. Terms that read the image itself do not count. None, too, where a layer is read that depends on the whole
    image or whose receptive field is unknown, such as logits and tokens. Cost: that of `Network.receptive_fields` once,
    and two truncated passes.

    Args:
        network: whose.
        objective: a neuron, a channel, or a sum of such.
        margin: pixels to keep around the receptive field, for transforms that move the image.
        min_size: smallest height and width of the canvas, such as to give several objectives one size.

    >>> part = window(tiny, Neuron("features.0", 3, 6, 2), min_size=(8, 8))
    >>> part.objective.row, part.objective.column, part.size, part.box
    (2, 2, (8, 8), Box(top=8, left=0, bottom=16, right=8))
    """
    units = [unit for unit in terms(objective) if unit.reads != {"input"}]
    fields = [(unit, network.receptive_fields.get(unit.layer)) for unit in units if isinstance(unit, Channel)]
    local = [(unit, field) for unit, field in fields if type(unit) in _LOCAL and field and all(field.stride)]
    if not local or len(local) < len(units):
        return None
    (top, bottom), (left, right) = (
        _span(local, axis, stride=_stride(network, local, axis), margin=margin, min_side=min_size[axis])
        for axis in (0, 1)
    )
    height, width = network.preprocess.size
    if (bottom - top) * (right - left) > _WORTH * height * width:
        return None
    box = Box(top, left, bottom, right)
    part = Window(_moved(objective, network, box), (bottom - top, right - left), box)
    return part if _is_exact(network, objective, part) else None


def shared(network: Network, objectives: Sequence[Objective], *, margin: int = 0) -> tuple[Window, ...] | None:
    """Windows of one size, so that pictures can be made in one batch; None where an objective has no window.

    A picture of channels alone has 96 pixels or more, if the network takes as many, so that there is something to see.

    Args:
        network: whose.
        objectives: one for each picture.
        margin: pixels to keep around the receptive fields.
    """
    min_size = (32, 32) if has_neuron(objectives) else (_MIN_SIDE, _MIN_SIDE)
    for _ in range(2):  # the second time with the size of the largest
        parts = [window(network, objective, margin=margin, min_size=min_size) for objective in objectives]
        windows = tuple(part for part in parts if part is not None)
        if len(windows) < len(parts):
            return None
        min_size = (max(part.size[0] for part in windows), max(part.size[1] for part in windows))
        if all(part.size == min_size for part in windows):
            return windows
    return None


def terms(objective: Objective) -> Iterator[Objective]:
    """The terms of a sum, or of a sum of sums; of another objective, itself."""
    if isinstance(objective, Sum):
        for _, term in objective.terms:
            yield from terms(term)
    else:
        yield objective


def has_neuron(objectives: Sequence[Objective]) -> bool:
    """Whether one of them is a neuron or has one among its terms."""
    return any(isinstance(term, Neuron) for objective in objectives for term in terms(objective))


def _span(local: Fields, axis: int, *, stride: int, margin: int, min_side: int) -> Pair:
    """First row (or column) and the one after the last."""
    side = local[0][1].picture[axis]
    first, last = side, 0
    for unit, field in local:
        if isinstance(unit, Neuron):
            start = field.start[axis] + (unit.row, unit.column)[axis] * field.stride[axis]
            first, last = min(first, start - margin), max(last, start + field.size[axis] + margin)
        else:
            min_side = max(min_side, _ROOM, _FIELDS * field.size[axis])
    if last == 0:  # channels are at every place: the middle is as good as any
        first, last = side // 2, side // 2 + 1
    # Sizes differ from the whole by a multiple of the strides: padding that depends on the input size is then the same.
    first, last = max(0, first) // stride * stride, min(last, side)
    size = side - max(0, side - max(last - first, min_side)) // stride * stride
    spare = (size - (last - first)) // 2 // stride * stride
    first = min(max(0, first - spare), side - size)
    return first, first + size


def _stride(network: Network, local: Fields, axis: int) -> int:
    """Least common multiple of the strides of all layers up to the last one read, along an axis."""
    names = list(network.layers)
    until = 1 + max(names.index(unit.layer) for unit, _ in local)
    fields = (network.receptive_fields[name] for name in names[:until])
    return math.lcm(*(field.stride[axis] for field in fields if field and field.stride[axis]))


def _moved(objective: Objective, network: Network, box: Box) -> Objective:
    """The objective with its neurons counted from the corner of a box."""
    if isinstance(objective, Sum):
        return Sum(tuple((weight, _moved(term, network, box)) for weight, term in objective.terms))
    if not isinstance(objective, Neuron):
        return objective
    field = network.receptive_fields[objective.layer]
    assert field is not None
    down, across = field.stride
    return replace(
        objective, row=objective.row - int(box.top) // down, column=objective.column - int(box.left) // across
    )


def _is_exact(network: Network, objective: Objective, part: Window) -> bool:
    """Whether neurons, and those of other channels at their places, have in the window the values of the whole."""
    noise = torch.rand(1, 3, *network.preprocess.size, generator=torch.Generator().manual_seed(0))
    images, reads = network.check(noise), objective.reads - {"input"}
    top, left, bottom, right = map(int, part.box)
    with torch.no_grad():
        whole = network.tap(images, reads)
        try:
            cut = network.tap(images[:, :, top:bottom, left:right], reads)
        except (ImageError, LayerError):
            return False
    for old, new in zip(terms(objective), terms(part.objective), strict=True):
        if isinstance(old, Neuron) and isinstance(new, Neuron):
            truth, value = (maps[unit.layer][0, :, unit.row, unit.column] for maps, unit in ((whole, old), (cut, new)))
            if not (value - truth).norm() <= _SLACK * truth.norm():
                return False
    return True


_LOCAL = {Channel, ChannelMax, Neuron}
_FIELDS, _ROOM = 3, 64  # of a channel's canvas: receptive fields, and pixels at least
_MIN_SIDE = 96  # pixels, of a canvas of channels
_WORTH, _SLACK = 0.75, 1e-4  # share of the pixels of the whole; relative error
