"""The grammar of targets: a text → an objective."""

from __future__ import annotations

import re

from phosphene.core.errors import TargetError
from phosphene.core.networks.network import Network
from phosphene.core.objectives.classes import Logit, Probability
from phosphene.core.objectives.objective import Objective, Sum
from phosphene.core.objectives.units import Channel, ChannelMax, Neuron


def parse(text: str, network: Network) -> Objective:
    """The objective that a text names.

    Grammar: TERM [(+|-) TERM]…, TERM = [FACTOR*]UNIT, UNIT = a label, an index, p(label or index), LAYER:CHANNEL,
    LAYER:CHANNEL@max or LAYER:CHANNEL@ROW,COLUMN. The sign between terms stands between spaces, so that labels may
    contain spaces and hyphens. A text, or a term, that is exactly a label is that label; one in double quotes, too.

    Args:
        text: such as "tabby - tiger cat", "0.5*goldfish + blocks.4:17@7,7", '"cat - dog" - goldfish'.
        network: whose labels and layers are meant.

    Raises:
        TargetError: no class or channel of that name, or several.
        LayerError: no layer of that name.
    """
    if text in network.labels:
        return Logit(text).bind(network)
    quoted: list[str] = []

    def stash(match: re.Match[str]) -> str:
        quoted.append(match[1])
        return f"{_QUOTE}{len(quoted) - 1}{_QUOTE}"

    signs, terms = [1.0], []
    for piece in re.split(r"\s([+-])\s", f" {_QUOTED.sub(stash, text)} "):
        if piece in {"+", "-"}:
            signs.append(1.0 if piece == "+" else -1.0)
        else:
            terms.append(piece.strip())
    if not all(terms):
        raise TargetError(f"the target {text!r} lacks a term; write it like 'tabby - 0.5*tiger cat'")
    weighted = [_term(sign, term, quoted, network) for sign, term in zip(signs, terms, strict=True)]
    return weighted[0][1] if len(weighted) == 1 and weighted[0][0] == 1 else Sum(tuple(weighted))


def _term(sign: float, text: str, quoted: list[str], network: Network) -> tuple[float, Objective]:
    if text in network.labels:
        return sign, Logit(text).bind(network)
    factor = re.fullmatch(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)\s*\*\s*(.+)", text, re.I)
    weight, unit = (float(factor[1]), factor[2]) if factor else (1.0, text)
    if unit in network.labels:
        return sign * weight, Logit(unit).bind(network)
    label = re.fullmatch(rf"(p\()?{_QUOTE}(\d+){_QUOTE}(?(1)\))", unit)
    if label:
        kind = Probability if label[1] else Logit
        return sign * weight, kind(quoted[int(label[2])]).bind(network)
    written = _STASHED.sub(lambda match: f'"{quoted[int(match[1])]}"', unit)
    return sign * weight, _unit(written, network).bind(network)


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


_QUOTE = "\0"  # stands around the number of a quoted label
_QUOTED = re.compile(r'(?:^|(?<=[\s*(]))"([^"]+)"(?=[\s)]|$)')
_STASHED = re.compile(rf"{_QUOTE}(\d+){_QUOTE}")
