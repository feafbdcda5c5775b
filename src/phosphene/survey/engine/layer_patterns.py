"""Which layers a survey listens to."""

from __future__ import annotations

import re
from collections.abc import Iterable

from torch import nn

from phosphene.core.errors import LayerError, nearest
from phosphene.core.networks.network import Network


def choose(network: Network, patterns: Iterable[str] = ()) -> tuple[str, ...]:
    """Layers by name or pattern, in the order of the pass; without patterns every block output, and the logits.

    Args:
        network: whose layers.
        patterns: names, or patterns in which * stands for any part of one dotted step and ** for any steps;
            several may stand in one text, separated by commas.

    Raises:
        LayerError: a pattern that no layer matches.
    """
    wanted = [each.strip() for pattern in patterns for each in pattern.split(",") if each.strip()]
    if not wanted:
        return (*blocks(network), "logits")
    names = [*(name for name, layer in network.layers.items() if layer.layout != "other"), "logits"]
    found: set[str] = set()
    for pattern in wanted:
        matching = [name for name in names if _pattern(pattern).fullmatch(name)]
        if not matching:
            hint = f"(phosphene layers {network.name} lists all {len(names) - 1}; ** matches across dots)"
            raise LayerError(f"no layer of {network.name} matches {pattern!r}; {nearest(pattern, names)} {hint}")
        found.update(matching)
    return tuple(name for name in names if name in found)


def blocks(network: Network) -> tuple[str, ...]:
    """What the blocks of a network put out: the children of its sequences, where those are modules with children.

    Where three or more modules with children stand side by side at the top, as in Inception, they are the blocks. A
    sequence of plain layers, as in VGG, has none: there it is what each ReLU, or else each convolution, puts out.
    """
    modules = dict(network.module.named_modules())
    maps = [name for name, layer in network.layers.items() if layer.spatial]
    top = [name for name in maps if "." not in name and not isinstance(modules.get(name), nn.Sequential)]
    top = [name for name in top if name in modules and next(modules[name].children(), None) is not None]
    outer = top if len(top) >= _SIDE_BY_SIDE else [name for name in maps if _is_block(name, modules)]
    found = [name for name in outer if not any(_within(name, each) for each in outer)]
    if not found:
        found = [name for name in maps if "ReLU" in network.layers[name].kind]
    return tuple(found or [name for name in maps if network.layers[name].kind == "Conv2d"] or maps)


def _is_block(name: str, modules: dict[str, nn.Module]) -> bool:
    """Whether a call is that of a module with children, in a sequence."""
    base = name.partition("#")[0]
    parent = modules[base.rpartition(".")[0]] if base in modules else None
    sequence = isinstance(parent, nn.Sequential | nn.ModuleList) and parent is not modules[""]
    return sequence and next(modules[base].children(), None) is not None


def _within(name: str, outer: str) -> bool:
    return name.startswith(outer + ".")


def _pattern(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"(\*\*|\*|\?)", pattern)
    wild = {"**": ".*", "*": "[^.]*", "?": "[^.]"}
    return re.compile("".join(wild.get(part, re.escape(part)) for part in parts))


_SIDE_BY_SIDE = 3
