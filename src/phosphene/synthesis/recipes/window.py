"""The part of the input that is enough for an objective: neurons and shallow channels do not see all of it."""

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
Seen = list[tuple[Channel, ReceptiveField]]


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


def window(network: Network, objective: Objective, *, margin: int = 0, least: Pair = (32, 32)) -> Window | None:
    """The smallest canvas that is enough for an objective, or None where it would save less than a quarter.

    A neuron has in the window the value that it has in the whole image, whatever surrounds the window there: it begins
    at a multiple of the strides, holds all of the receptive field, and ends at the edge of the image wherever padding
    is seen. That is tried out on a picture of noise before it is believed. Channels get room for three receptive
    fields, and 64 pixels at least. Terms that read the image itself have no say. None, too, where something is read
    that sees the whole image or whose receptive field is unknown, as logits and tokens. Cost: that of
    `Network.receptive_fields` once, and two truncated passes.

    Args:
        network: whose.
        objective: a neuron, a channel, or a sum of such.
        margin: pixels to keep around the receptive field, for transforms that move the image.
        least: height and width that the canvas has at least, such as to give several objectives one size.

    >>> found = window(tiny, Neuron("features.0", 3, 6, 2), least=(8, 8))
    >>> found.objective.row, found.objective.column, found.size, found.box
    (2, 2, (8, 8), Box(top=8, left=0, bottom=16, right=8))
    """
    units = [each for each in terms(objective) if each.reads != {"input"}]
    local = [(each, network.receptive_fields.get(each.layer)) for each in units if isinstance(each, Channel)]
    seen = [(unit, field) for unit, field in local if type(unit) in _LOCAL and field and all(field.stride)]
    if not seen or len(seen) < len(units):
        return None
    (top, bottom), (left, right) = (
        _span(seen, axis, stride=_stride(network, seen, axis), margin=margin, least=least[axis]) for axis in (0, 1)
    )
    height, width = network.preprocess.size
    if (bottom - top) * (right - left) > _WORTH * height * width:
        return None
    box = Box(top, left, bottom, right)
    found = Window(_moved(objective, network, box), (bottom - top, right - left), box)
    return found if _holds(network, objective, found) else None


def shared(network: Network, objectives: Sequence[Objective], *, margin: int = 0) -> tuple[Window, ...] | None:
    """Windows of one size, so that objectives can be painted in one batch; None where one of them sees too much.

    A picture of channels alone has 96 pixels or more, if the network takes as many, so that there is something to see.

    Args:
        network: whose.
        objectives: one for each picture.
        margin: pixels to keep around the receptive fields.
    """
    least = (32, 32) if placed(objectives) else (_SEEN, _SEEN)
    for _ in range(2):  # the second time with the size of the largest
        found = [window(network, each, margin=margin, least=least) for each in objectives]
        windows = tuple(each for each in found if each is not None)
        if len(windows) < len(found):
            return None
        least = (max(each.size[0] for each in windows), max(each.size[1] for each in windows))
        if all(each.size == least for each in windows):
            return windows
    return None


def terms(objective: Objective) -> Iterator[Objective]:
    """What a sum, or a sum of sums, is made of; of anything else, itself."""
    if isinstance(objective, Sum):
        for _, term in objective.terms:
            yield from terms(term)
    else:
        yield objective


def placed(objectives: Sequence[Objective]) -> bool:
    """Whether one of them is, or has in it, a neuron at its place."""
    return any(isinstance(term, Neuron) for each in objectives for term in terms(each))


def _span(seen: Seen, axis: int, *, stride: int, margin: int, least: int) -> Pair:
    """First row (or column) and the one after the last."""
    side = seen[0][1].picture[axis]
    first, last = side, 0
    for unit, field in seen:
        if isinstance(unit, Neuron):
            start = field.start[axis] + (unit.row, unit.column)[axis] * field.stride[axis]
            first, last = min(first, start - margin), max(last, start + field.size[axis] + margin)
        else:
            least = max(least, _ROOM, _FIELDS * field.size[axis])
    if last == 0:  # channels are everywhere: the middle will do
        first, last = side // 2, side // 2 + 1
    # Sizes differ from the whole by a multiple of the strides: what pads by the size of its input then pads alike.
    first, last = max(0, first) // stride * stride, min(last, side)
    size = side - max(0, side - max(last - first, least)) // stride * stride
    spare = (size - (last - first)) // 2 // stride * stride
    first = min(max(0, first - spare), side - size)
    return first, first + size


def _stride(network: Network, seen: Seen, axis: int) -> int:
    """Rows (or columns) after which everything repeats, up to the last of the layers read."""
    names = list(network.layers)
    until = 1 + max(names.index(unit.layer) for unit, _ in seen)
    found = (network.receptive_fields[name] for name in names[:until])
    return math.lcm(*(field.stride[axis] for field in found if field and field.stride[axis]))


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


def _holds(network: Network, objective: Objective, found: Window) -> bool:
    """Whether every neuron of the window, and those at its place in other channels, say what they say in the whole."""
    noise = torch.rand(1, 3, *network.preprocess.size, generator=torch.Generator().manual_seed(0))
    images, reads = network.check(noise), objective.reads - {"input"}
    top, left, bottom, right = map(int, found.box)
    with torch.no_grad():
        whole = network.tap(images, reads)
        try:
            part = network.tap(images[:, :, top:bottom, left:right], reads)
        except (ImageError, LayerError):
            return False
    for old, new in zip(terms(objective), terms(found.objective), strict=True):
        if isinstance(old, Neuron) and isinstance(new, Neuron):
            truth, value = (maps[each.layer][0, :, each.row, each.column] for maps, each in ((whole, old), (part, new)))
            if not (value - truth).norm() <= _SLACK * truth.norm():
                return False
    return True


_LOCAL = {Channel, ChannelMax, Neuron}
_FIELDS, _ROOM = 3, 64  # of a channel's canvas: receptive fields, and pixels at least
_SEEN = 96
_WORTH, _SLACK = 0.75, 1e-4
