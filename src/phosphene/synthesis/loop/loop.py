"""The only optimization loop: images that an objective is greatest for."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import get_args

import torch
from torch import Tensor

from phosphene.core.errors import ImageError, OptionError
from phosphene.core.images.image import check_size
from phosphene.core.inputs import Target, bind_targets
from phosphene.core.networks import rules
from phosphene.core.networks.autograd_modes import default_modes
from phosphene.core.networks.fuse import fused
from phosphene.core.networks.network import Images, Network
from phosphene.core.objectives.objective import Objective
from phosphene.core.result import Cost
from phosphene.synthesis.canvas.canvas import Canvas, Fourier, Painting
from phosphene.synthesis.loop.evaluation import Precision, Question
from phosphene.synthesis.loop.optimizers import Adam, Optimizer
from phosphene.synthesis.loop.state import Facts, State, fingerprint
from phosphene.synthesis.transforms.pixel_regularizers import Edit
from phosphene.synthesis.transforms.transforms import Transform

Watch = Callable[[int, Images, Tensor], bool | None]
"""(steps done, the images that were scored in the last one, their scores (N,)) → true to stop."""


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


@default_modes
def synthesize(
    network: Network,
    objective: Target | Sequence[Target],
    canvas: Canvas | None = None,
    *,
    size: tuple[int, int] | None = None,
    start: Images | None = None,
    transforms: Sequence[Transform] = (),
    edits: Sequence[Edit] = (),
    optimizer: Optimizer | None = None,
    steps: int = 256,
    redirect: int = 0,
    patience: int = 0,
    batch: int | None = None,
    precision: Precision = "float32",
    state: str | Path | None = None,
    seed: int = 0,
    watch: Watch | None = None,
) -> Synthesis:
    """Argmax of an objective over the images that a canvas can show.

    At each step: image = canvas; seen = transforms(image); score = objective(network(seen)); the canvas moves along the
    gradient of the score; edits change the pixels. An objective that reads "input" is given the image itself, not what
    the transforms made of it. Cost: `steps` forward and backward passes that end at the last layer read.

    Args:
        network: whose units.
        objective: one, or several: then each gets an image of its own, all in one batch; a text or an index, too.
        canvas: how the image is written; Fourier by default.
        size: height and width, in pixels; what the network takes by default.
        start: images to begin from, (1 or N, 3, H, W); a blank by default.
        transforms: random changes before the network sees the image.
        edits: changes of the pixels after each step; for the canvas "pixels" alone.
        optimizer: Adam by default.
        steps: how many.
        redirect: first steps in which a ReLU that would stop all of the gradient does not; see `rules.redirected`.
        patience: stop once the mean score of so many steps is not 0.5 % above that of as many before, for no image; 0
            never stops.
        batch: most images in one pass, where the transforms make many; bounds the memory.
        precision: of the network's multiplications: "bfloat16" takes half of the time for wide networks on CPUs that
            have it, and no less for small ones; all gradients but the smallest agree.
        state: a file to keep the state in. Where the same synthesis left one, it goes on from there to the same bytes;
            where it had finished, what it had found is returned.
        seed: of the start and of every transformation.
        watch: is told of each step, and may stop; the same call then goes on, if a state was kept.

    Raises:
        OptionError: no step, no objective, no such precision, a size or batch of nothing, or edits on a canvas that has
            no pixels.
        ImageError: images to begin from of other values, another number or another size.
        TargetError: the network has no such unit or class.
        LayerError: the network has no such layer.
        NetworkError: it lets no gradient through, or what is climbed is no number any more.
        OutputError: the state cannot be written.
    """
    bound = bind_targets(network, objective)
    _check(len(bound), steps, patience=patience, batch=batch, precision=precision)
    start = None if start is None else network.check(start).float()
    size, generator = _size(network, len(bound), size, start), torch.Generator().manual_seed(seed)
    how = (
        canvas, size, start, tuple(transforms), tuple(edits), optimizer, redirect, patience, batch, precision, seed,
        steps >= _LONG,
    )  # fmt: skip
    plan = fingerprint(bound, network.module, network.preprocess, *how) if state else ""
    reads = frozenset().union(*(each.reads for each in bound)) - {"input"}
    asked = fused(network, reads) if steps >= _LONG else network
    ask = Question(asked, bound, transforms=transforms, batch=batch, precision=precision, generator=generator)
    painting = (canvas or Fourier()).begin(network, len(bound), size, generator=generator, start=start)
    if edits and [name for name, _ in painting.named_parameters()] != ["value"]:
        raise OptionError('edits change pixels: give them the canvas "pixels", or leave them out')
    loop = _Loop(painting, (optimizer or Adam()).begin(painting.parameters()), ask, generator)
    notes = loop.run(steps, State(state, plan), tuple(edits), redirect=redirect, patience=patience, watch=watch)
    images = painting().detach().clamp(0, 1)
    cost = Cost(forwards=ask.passes, backwards=ask.passes, seconds=loop.seconds)
    return Synthesis(images, bound, torch.stack(loop.scores), seed, cost, notes)


@dataclasses.dataclass
class _Loop:
    """All that changes from step to step, and hence all that a state holds."""

    painting: Painting
    mover: torch.optim.Optimizer
    ask: Question
    generator: torch.Generator
    scores: list[Tensor] = dataclasses.field(default_factory=list)
    settled: bool = False
    seconds: float = 0.0

    def run(
        self,
        steps: int,
        state: State,
        edits: Sequence[Edit],
        *,
        redirect: int,
        patience: int,
        watch: Watch | None,
    ) -> tuple[str, ...]:
        """Go up to a number of steps; returns what must be said about it."""
        facts, notes, begun = state.load(), [], time.perf_counter()
        if facts is not None and facts["step"] <= steps:
            self._load(facts)
            notes.append(f"went on at step {facts['step']}")
            begun -= self.seconds
        told = False
        while len(self.scores) < steps and not self.settled and not told:
            step = len(self.scores) + 1
            images, scores = self._step(rules.redirected if step <= redirect else None)
            _edit(self.painting, edits, step)
            self.painting.project()
            self.scores.append(scores.cpu())  # as those of a state are
            self.seconds = time.perf_counter() - begun
            told = watch is not None and bool(watch(step, images, scores))
            self.settled = self._settles(patience)
            if state.due:  # between steps alone: a state from within one would not go on to the same bytes
                state.save(self._facts())
        state.save(self._facts())
        if self.settled or told:
            notes.append(f"stopped after {len(self.scores)} of {steps} steps")
        return tuple(notes)

    def _step(self, rule: rules.Rule | None) -> tuple[Images, Tensor]:
        """One step uphill; returns the images before it, and their scores."""
        asked: list[tuple[Images, Tensor]] = []
        parameters = list(self.painting.parameters())

        def closure() -> float:
            images = self.painting()
            scores, gradients = self.ask(images, parameters, rule)
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = -gradient  # optimizers go downhill
            asked.append((images.detach(), scores))
            return -scores.sum().item()

        self.mover.step(closure)
        return asked[0]

    def _settles(self, patience: int) -> bool:
        """Whether nothing has grown for some time."""
        if not patience or len(self.scores) < 2 * patience:
            return False
        before, after = torch.stack(self.scores[-2 * patience :]).view(2, patience, -1).mean(1)
        return bool((after - before <= _GAIN * before.abs()).all())

    def _facts(self) -> Facts:
        return {
            "step": len(self.scores),
            "settled": self.settled,
            "seconds": self.seconds,
            "passes": self.ask.passes,
            "scores": torch.stack(self.scores) if self.scores else torch.zeros(0),
            "painting": {name: each.detach() for name, each in self.painting.named_parameters()},
            "mover": self.mover.state_dict(),
            "generator": self.generator.get_state(),
        }

    @torch.no_grad()
    def _load(self, facts: Facts) -> None:
        self.scores, self.settled, self.seconds = list(facts["scores"]), facts["settled"], facts["seconds"]
        self.ask.passes = facts["passes"]
        for name, each in self.painting.named_parameters():
            each.copy_(facts["painting"][name])
        self.mover.load_state_dict(facts["mover"])
        self.generator.set_state(facts["generator"])


def _check(count: int, steps: int, *, patience: int, batch: int | None, precision: str) -> None:
    if not count or steps < 1:
        raise OptionError(f"{count} objectives and {steps} steps make no image; give at least one of each")
    if patience < 0 or (batch is not None and batch < 1):
        raise OptionError(f"patience is {patience} and batch {batch}; synthesize wants 0 or more, and 1 or more")
    if precision not in get_args(Precision):
        raise OptionError(f"precision is {precision!r}; allowed are {', '.join(get_args(Precision))}")


def _size(network: Network, count: int, size: tuple[int, int] | None, start: Images | None) -> tuple[int, int]:
    """Height and width of so many images: those of what they begin from."""
    if size is not None:
        check_size(size)
    if start is None:
        return size or network.preprocess.size
    many, _, *own = start.shape
    height, width = size or own
    if many not in {1, count} or [height, width] != own:
        raise ImageError(
            f"start is {tuple(start.shape)}; {count} of {height} × {width} begin from 1 or {count} of their size"
        )
    return height, width


@torch.no_grad()
def _edit(painting: Painting, edits: Sequence[Edit], step: int) -> None:
    for parameter in painting.parameters() if edits else ():
        assert parameter.grad is not None
        for each in edits:
            parameter.copy_(each(parameter, -parameter.grad, step))


_GAIN = 0.005
_LONG = 16  # steps
