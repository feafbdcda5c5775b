"""Pictures of several kinds of targets, each kind made in its own way, as one synthesis."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from phosphene.core.networks.network import Images, Network
from phosphene.core.objectives.objective import Objective
from phosphene.core.result import Cost
from phosphene.synthesis.canvas.color import mean_color
from phosphene.synthesis.loop.evaluation import Precision
from phosphene.synthesis.loop.loop import Synthesis, Watch
from phosphene.synthesis.recipes.plan import Plan
from phosphene.synthesis.recipes.preset import Manner
from phosphene.synthesis.recipes.probe import probe
from phosphene.synthesis.recipes.window import shared


def plans(
    network: Network,
    bound: Sequence[Objective],
    manner: Manner,
    *,
    each: int,
    starts: Images | None,
    size: tuple[int, int] | None,
    precision: Precision,
    seed: int,
) -> list[Plan]:
    """A plan for the bound targets of each kind; see `visualize`. Cost: that of `probe` for each, and of `shared`."""
    many = each if starts is None else len(starts)
    windows = shared(network, bound, margin=_MARGIN) if size is None and starts is None else None
    found = []
    for members in kinds(bound, manner):
        wanted = tuple(bound[place] for place in members)
        found.append(
            Plan(
                network,
                wanted,
                tuple(place * many + number for place in members for number in range(many)),
                asked=manner,
                each=many,
                starts=starts,
                given=size,
                precision=precision,
                seed=seed,
                findings=probe(network, wanted, manner),
                windows=windows and tuple(windows[place] for place in members),
            )
        )
    return found


def kinds(targets: Sequence[Objective], manner: Manner) -> list[list[int]]:
    """The places of the targets of each kind, in the order in which the kinds first occur.

    Args:
        targets: bound to a network.
        manner: tells kinds apart.
    """
    found: dict[str, list[int]] = {}
    for place, target in enumerate(targets):
        found.setdefault(manner.kind(target), []).append(place)
    return list(found.values())


def together(
    plans: Sequence[Plan], *, begun: float, seconds: float | None, folder: Path | None, watch: Watch | None
) -> Synthesis:
    """The pictures of some plans, one plan after the other, in the order of their places.

    Args:
        plans: of one network; together they have every place once.
        begun: when the budget began to run, by `time.perf_counter`.
        seconds: a budget of time for all.
        folder: to keep states in.
        watch: is told of each step, counted over all plans, with all pictures as they are by then; plans that it stops
            before they have begun get one step.
    """
    places, found = [place for plan in plans for place in plan.places], list[Synthesis]()
    audience = _Audience(plans, watch)
    for number, plan in enumerate(plans):
        own, deadline = folder / str(number) if folder and len(plans) > 1 else folder, math.inf
        if seconds is not None:
            left, now = sum(len(each.places) for each in plans[number:]), time.perf_counter()
            deadline = now + (begun + seconds - now) * len(plan.places) / left
            plan = plan.within(seconds, deadline, own, alone=len(plans) == 1)  # noqa: PLW2901  the same, in less
        made = plan.make(state=own / "pictures.pt" if own else None, watch=audience.of(plan, deadline))
        told = made.notes if len(plans) == 1 else tuple(f"{plan.name}: {note}" for note in made.notes)
        found.append(dataclasses.replace(made, objectives=plan.shown, notes=(*plan.notes, *told)))
        audience.see(plan, made.images, made.scores[-1])
        audience.done += len(made.scores)
    order = sorted(range(len(places)), key=places.__getitem__)
    objectives = [each for one in found for each in one.objectives]
    scores = [column for one in found for column in one.scores.T]
    return Synthesis(
        torch.cat([one.images for one in found])[order],
        tuple(objectives[place] for place in order),
        pad_sequence([scores[place] for place in order], padding_value=math.nan),  # some may have ended earlier
        found[0].seed,
        sum((one.cost for one in found), Cost()),
        tuple(dict.fromkeys(note for one in found for note in one.notes)),
    )


class _Audience:
    """Who watches, told of all pictures whenever some of them change."""

    def __init__(self, plans: Sequence[Plan], watch: Watch | None) -> None:
        self.watch, self.done, self.told, many = watch, 0, False, sum(len(each.places) for each in plans)
        self.images = mean_color(plans[0].network).expand(many, -1, *plans[0].size)
        self.scores = torch.full((many,), math.nan)

    def of(self, plan: Plan, deadline: float) -> Watch:
        """The watcher of one plan, who also stops it at a time."""

        def tell(step: int, images: Images, scores: Tensor) -> bool:
            self.see(plan, images, scores)
            if self.watch is not None and self.watch(self.done + step, self.images, self.scores):
                self.told = True
            return self.told or time.perf_counter() > deadline

        return tell

    def see(self, plan: Plan, images: Images, scores: Tensor) -> None:
        """The pictures of one plan as they are now; those of the others stay."""
        if images.shape[2:] != self.images.shape[2:]:  # a budget made them smaller
            self.images = images.new_zeros(len(self.images), *images.shape[1:])
        places = torch.tensor(plan.places, device=images.device)
        self.images = self.images.index_copy(0, places, images)
        self.scores = self.scores.to(scores.device).index_copy(0, places.to(scores.device), scores)


_MARGIN = 8  # pixels around what a neuron sees
