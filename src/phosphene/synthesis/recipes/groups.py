"""Groups of targets by kind, and the pictures of all groups in the order of the targets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from phosphene.core.networks.network import Images, Network
from phosphene.core.objectives.objective import Objective
from phosphene.synthesis.canvas.color import mean_color
from phosphene.synthesis.loop.synthesis import Synthesis
from phosphene.synthesis.recipes.group import Group
from phosphene.synthesis.settings.preset import Preset
from phosphene.synthesis.settings.probe import NetworkProbe, probe
from phosphene.synthesis.settings.window import Window, shared


class Measured(NamedTuple):
    """What is measured of targets before the first step.

    Args:
        kinds: places of the targets of each kind.
        probes: one for each kind.
        windows: one for each target; None where one of them has none.
    """

    kinds: list[list[int]]
    probes: list[NetworkProbe]
    windows: tuple[Window, ...] | None


def measure(network: Network, targets: Sequence[Objective], preset: Preset, *, windows: bool) -> Measured:
    """Kinds, probes and windows of targets. Cost: that of `probe` for each kind, and of `shared`.

    Args:
        network: whose.
        targets: bound to it.
        preset: that the pictures are made with.
        windows: whether a window may be used.
    """
    places = kinds(targets, preset)
    parts = shared(network, targets, margin=_MARGIN) if windows else None
    return Measured(places, [probe(network, [targets[place] for place in kind], preset) for kind in places], parts)


def kinds(targets: Sequence[Objective], preset: Preset) -> list[list[int]]:
    """The places of the targets of each kind, in the order in which the kinds first occur.

    Args:
        targets: bound to a network.
        preset: which distinguishes kinds.
    """
    places: dict[str, list[int]] = {}
    for place, target in enumerate(targets):
        places.setdefault(preset.kind(target), []).append(place)
    return list(places.values())


def in_order(groups: Sequence[Group], made: Sequence[Synthesis]) -> tuple[Images, tuple[Objective, ...], Tensor]:
    """Images, objectives and scores of all groups, in the order of their places.

    Args:
        groups: together they have every place once.
        made: one for each group.
    """
    places = [place for group in groups for place in group.places]
    order = sorted(range(len(places)), key=places.__getitem__)
    objectives = [objective for group in groups for objective in group.objectives]
    scores = [column for synthesis in made for column in synthesis.scores.T]
    return (
        torch.cat([synthesis.images for synthesis in made])[order],
        tuple(objectives[place] for place in order),
        pad_sequence([scores[place] for place in order], padding_value=math.nan),  # some may have ended earlier
    )


class Preview:
    """The pictures of all groups as they are, blank before their group begins."""

    def __init__(self, groups: Sequence[Group]) -> None:
        count = sum(len(group.places) for group in groups)
        self.images = mean_color(groups[0].network).expand(count, -1, *groups[0].canvas_size)
        self.scores = torch.full((count,), math.nan)

    def update(self, group: Group, images: Images, scores: Tensor) -> tuple[Images, Tensor]:
        """All pictures and scores with those of one group replaced.

        Args:
            group: whose pictures they are.
            images: of the group.
            scores: of the group.
        """
        places = torch.tensor(group.places, device=images.device)
        self.images = self.images.index_copy(0, places, images)
        self.scores = self.scores.to(scores.device).index_copy(0, places.to(scores.device), scores)
        return self.images, self.scores


_MARGIN = 8  # pixels around the receptive field of a neuron
