"""From what a user writes to what is meant: the grammar of targets."""

from __future__ import annotations

import re

from phosphene.core.errors import TargetError
from phosphene.core.networks.network import Images, Network
from phosphene.core.objectives.classes import Logit, Probability
from phosphene.core.objectives.objective import Objective, Sum
from phosphene.core.objectives.units import Channel, ChannelMax, Neuron


def parse(text: str, network: Network) -> Objective:
    """The objective that a text names.

    Grammar: TERM [(+|-) TERM]…, TERM = [FACTOR*]UNIT, UNIT = a label, an index, p(label or index), LAYER:CHANNEL,
    LAYER:CHANNEL@max or LAYER:CHANNEL@ROW,COLUMN. The sign between terms stands between spaces, so that labels may
    contain spaces and hyphens.

    Args:
        text: such as "tabby - tiger cat", "0.5*goldfish + blocks.4:17@7,7".
        network: whose labels and layers are meant.

    Raises:
        TargetError: no class or channel of that name, or several.
        LayerError: no layer of that name.
    """
    signs, units = [1.0], []
    for piece in re.split(r"\s([+-])\s", f" {text} "):
        if piece in {"+", "-"}:
            signs.append(1.0 if piece == "+" else -1.0)
        else:
            units.append(piece.strip())
    if not all(units):
        raise TargetError(f"the target {text!r} lacks a term; write it like 'tabby - 0.5*tiger cat'")
    terms = [_term(sign, unit, network) for sign, unit in zip(signs, units, strict=True)]
    return terms[0][1] if len(terms) == 1 and terms[0][0] == 1 else Sum(tuple(terms))


def resolve(target: str | int | Objective, network: Network, images: Images) -> Objective:
    """The objective that a user means, bound to a network.

    Args:
        target: an objective, an index, a text for `parse`, or "top" for the most probable class of the images.
        network: whose classes and layers are meant.
        images: (N, 3, H, W); only "top" looks at them. Cost for "top": one forward pass.

    Raises:
        TargetError: no such target, or "top" for images of several best classes.
    """
    if isinstance(target, Objective):
        return target.bind(network)
    if isinstance(target, int):
        return Logit(target).bind(network)
    if target != "top":
        return parse(target, network)
    best = {ranked[0].index: ranked[0].label for ranked in network.predict(images, 1)}
    if len(best) > 1:
        names = ", ".join(best.values())
        raise TargetError(f"the images have {len(best)} best classes ({names}); name one, or take them one by one")
    return Logit(next(iter(best))).bind(network)


def _term(sign: float, text: str, network: Network) -> tuple[float, Objective]:
    factor = re.match(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)\s*\*\s*(.+)", text, re.I)
    weight, unit = (float(factor[1]), factor[2]) if factor else (1.0, text)
    return sign * weight, _unit(unit, network).bind(network)


def _unit(text: str, network: Network) -> Objective:
    place = re.fullmatch(r"(?P<layer>.+):(?P<channel>\d+)(?:@(?P<max>max)|@(?P<row>\d+),\s*(?P<column>\d+))?", text)
    if place:
        layer, channel = place["layer"], int(place["channel"])
        if place["max"]:
            return ChannelMax(layer, channel)
        if place["row"]:
            return Neuron(layer, channel, int(place["row"]), int(place["column"]))
        return Channel(layer, channel)
    probability = re.fullmatch(r"p\((.+)\)", text)
    kind, label = (Probability, probability[1]) if probability else (Logit, text)
    # A label that looks like a number is still that label, and no number is a layer: many are called 0, 1, 2.
    if label in network.labels:
        return kind(label)
    if re.fullmatch(r"-?\d+", label):
        return kind(int(label))
    if label in network.layers and not probability:
        raise TargetError(f"{text!r} is a layer of {network.name}; name a channel of it, such as {text}:0")
    if (head := label.partition(":")[0]) in network.layers:
        forms = f"{head}:CHANNEL, {head}:CHANNEL@max or {head}:CHANNEL@ROW,COLUMN"
        raise TargetError(f"{text!r} is no unit of layer {head}; write {forms}")
    if re.search(r"\s[+-]\.?\d", label):
        raise TargetError(f"{text!r} is no sum; put spaces around the sign, as in 'tabby - 0.5*tiger cat'")
    return kind(label)
