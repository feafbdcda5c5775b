"""Layers chosen by name or pattern."""

from __future__ import annotations

import re
from collections.abc import Iterable

from phosphene.core.errors import LayerError, did_you_mean
from phosphene.core.networks.anatomy import blocks
from phosphene.core.networks.network import Network


def match_layers(network: Network, patterns: Iterable[str] = ()) -> tuple[str, ...]:
    """Layers by name or pattern, in the order of the pass; without patterns every block output, and the logits.

    Args:
        network: whose layers.
        patterns: names, or patterns in which * stands for any part of one dotted step and ** for any steps;
            several may stand in one text, separated by commas.

    Raises:
        LayerError: a pattern that no layer matches.
    """
    wanted = [part.strip() for pattern in patterns for part in pattern.split(",") if part.strip()]
    if not wanted:
        return (*blocks(network), "logits")
    names = [*(name for name, layer in network.layers.items() if layer.layout != "other"), "logits"]
    chosen: set[str] = set()
    for pattern in wanted:
        matching = [name for name in names if _expression(pattern).fullmatch(name)]
        if not matching:
            hint = f"(phosphene layers {network.name} lists all {len(names) - 1}; ** matches across dots)"
            raise LayerError(f"no layer of {network.name} matches {pattern!r}; {did_you_mean(pattern, names)} {hint}")
        chosen.update(matching)
    return tuple(name for name in names if name in chosen)


def _expression(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"(\*\*|\*|\?)", pattern)
    wild = {"**": ".*", "*": "[^.]*", "?": "[^.]"}
    return re.compile("".join(wild.get(part, re.escape(part)) for part in parts))
