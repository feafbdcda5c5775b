"""The only optimization loop: images that an objective is greatest for."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext

import torch
from torch import Tensor

from phosphene.core import rules
from phosphene.core.errors import OptionError
from phosphene.core.network import Images, Network
from phosphene.core.objective import Objective
from phosphene.core.result import Cost
from phosphene.synthesis.canvas import Canvas, Fourier, Painting
from phosphene.synthesis.edits import Edit
from phosphene.synthesis.optimizers import Adam, Optimizer
from phosphene.synthesis.transforms import Transform

Watch = Callable[[int, Images, Tensor], bool | None]
"""(steps done, images, objectives (N,)) → true to stop."""


@dataclasses.dataclass(frozen=True, eq=False)
class Synthesis:
    """Images, and how they came about.

    Args:
        images: (N, 3, H, W) in [0, 1].
        objectives: what each was made for.
        scores: (steps, N), the objective on the transformed images, step by step.
        seed: of the start and of every transformation.
        cost: passes and seconds.
        notes: what was chosen on the way.
    """

    images: Images
    objectives: tuple[Objective, ...]
    scores: Tensor
    seed: int
    cost: Cost
    notes: tuple[str, ...] = ()


def synthesize(
    network: Network,
    objective: Objective | Sequence[Objective],
    canvas: Canvas | None = None,
    *,
    size: tuple[int, int] | None = None,
    transforms: Sequence[Transform] = (),
    edits: Sequence[Edit] = (),
    optimizer: Optimizer | None = None,
    steps: int = 256,
    redirect: int = 0,
    seed: int = 0,
    watch: Watch | None = None,
) -> Synthesis:
    """Argmax of an objective over the images that a canvas can show.

    At each step: image = canvas; seen = transforms(image); score = objective(network(seen)); the canvas moves along the
    gradient of the score; edits change the pixels. An objective that reads "input" is given the image itself, not what
    the transforms made of it. Cost: `steps` forward and backward passes that end at the last layer read.

    Args:
        network: whose units.
        objective: one, or several: then each gets an image of its own, all in one batch.
        canvas: how the image is written; Fourier by default.
        size: height and width, in pixels; what the network takes by default.
        transforms: random changes before the network sees the image.
        edits: changes of the pixels after each step; for the canvas "pixels" alone.
        optimizer: Adam by default.
        steps: how many.
        redirect: first steps in which a ReLU that would stop all of the gradient does not; see `rules.redirected`.
        seed: of the start and of every transformation.
        watch: is told of each step, and may stop.

    Raises:
        OptionError: no step, no objective, or edits on a canvas that has no pixels.
        TargetError: the network has no such unit or class.
        LayerError: the network has no such layer.
    """
    wanted = [objective] if isinstance(objective, Objective) else list(objective)
    if not wanted or steps < 1:
        raise OptionError(f"{len(wanted)} objectives and {steps} steps make no image; give at least one of each")
    start, generator = time.perf_counter(), torch.Generator().manual_seed(seed)
    bound = tuple(each.bind(network) for each in wanted)
    painting = (canvas or Fourier()).begin(network, len(bound), size or network.preprocess.size, generator)
    if edits and [name for name, _ in painting.named_parameters()] != ["value"]:
        raise OptionError('edits change pixels: give them the canvas "pixels", or leave them out')
    ask = _Question(network, bound, tuple(transforms), generator)
    mover = (optimizer or Adam()).begin(painting.parameters())
    scores: list[Tensor] = []
    with torch.inference_mode(mode=False):
        for step in range(1, steps + 1):
            scores.append(_step(painting, mover, ask, rule=rules.redirected if step <= redirect else None))
            _edit(painting, edits, step)
            painting.project()
            if watch is not None and watch(step, painting().detach(), scores[-1]):
                break
        images = painting().detach().clamp(0, 1)
    passes = len(scores) * ask.seen
    cost = Cost(forwards=passes, backwards=passes, seconds=time.perf_counter() - start)
    return Synthesis(images, bound, torch.stack(scores), seed, cost)


class _Question:
    """The score of each image, under another transformation each time it is asked."""

    def __init__(
        self,
        network: Network,
        objectives: tuple[Objective, ...],
        transforms: tuple[Transform, ...],
        generator: torch.Generator,
    ) -> None:
        self.network, self.objectives, self.transforms, self.generator = network, objectives, transforms, generator
        self.reads = frozenset().union(*(each.reads for each in objectives)) - {"input"}
        self.seen = len(objectives)

    def __call__(self, images: Images) -> Tensor:
        """(N,)."""
        seen = images
        for each in self.transforms:
            seen = each(seen, self.generator)
        self.seen = len(seen)
        found = self.network.tap(seen, self.reads) if self.reads else {}
        many = len(seen) // len(images)
        scores = []
        for place, objective in enumerate(self.objectives):
            mine = {name: each[place * many : (place + 1) * many] for name, each in found.items()}
            scores.append(objective({**mine, "input": images[place : place + 1]}).mean())
        return torch.stack(scores)


def _step(painting: Painting, mover: torch.optim.Optimizer, ask: _Question, *, rule: rules.Rule | None) -> Tensor:
    """One step uphill; returns the scores before it."""
    asked: list[Tensor] = []
    parameters = list(painting.parameters())

    def closure() -> float:
        with rules.backward_rule(rule) if rule else nullcontext():
            scores = ask(painting())
            gradients = torch.autograd.grad(scores.sum(), parameters)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = -gradient  # optimizers go downhill
        asked.append(scores.detach())
        return -scores.sum().item()

    mover.step(closure)
    return asked[0]


@torch.no_grad()
def _edit(painting: Painting, edits: Sequence[Edit], step: int) -> None:
    for parameter in painting.parameters() if edits else ():
        assert parameter.grad is not None
        for each in edits:
            parameter.copy_(each(parameter, -parameter.grad, step))
