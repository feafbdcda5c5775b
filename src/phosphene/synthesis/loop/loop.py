"""The only optimization loop: images that maximize an objective."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
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
from phosphene.core.progress import Progress, Watch
from phosphene.core.result import Cost
from phosphene.synthesis.canvas.canvas import Canvas, Fourier, Painting
from phosphene.synthesis.loop.evaluation import Precision, ScoreEvaluation
from phosphene.synthesis.loop.optimizers import Adam, Optimizer
from phosphene.synthesis.loop.state_file import StateFile, Stored, fingerprint
from phosphene.synthesis.loop.synthesis import Synthesis
from phosphene.synthesis.transforms.pixel_regularizers import PixelRegularizer
from phosphene.synthesis.transforms.transforms import Transform


@default_modes
def synthesize(
    network: Network,
    objective: Target | Sequence[Target],
    canvas: Canvas | None = None,
    *,
    size: tuple[int, int] | None = None,
    start: Images | None = None,
    transforms: Sequence[Transform] = (),
    pixel_regularizers: Sequence[PixelRegularizer] = (),
    optimizer: Optimizer | None = None,
    steps: int = 256,
    redirect_steps: int = 0,
    patience: int = 0,
    batch: int | None = None,
    precision: Precision = "float32",
    state: str | Path | None = None,
    seed: int = 0,
    watch: Watch | None = None,
) -> Synthesis:
    """Argmax of an objective over the images that a canvas can show.

    At each step: image = canvas(parameters); score = objective(network(transforms(image))); the optimizer moves the
    parameters along the gradient of the score; pixel regularizers change the pixels. An objective that reads "input" is
    given the image itself, not the transformed one. Cost: `steps` forward and backward passes that end at the last
    layer read.

    Args:
        network: whose units.
        objective: one, or several: then each gets an image of its own, all in one batch; a text or an index, too.
        canvas: how the image is parameterized; Fourier by default.
        size: height and width, in pixels; what the network takes by default.
        start: images to begin from, (1 or N, 3, H, W); what the canvas begins with by default.
        transforms: random changes before the network sees the image.
        pixel_regularizers: changes of the pixels after each step; for the canvas "pixels" alone.
        optimizer: Adam by default.
        steps: how many.
        redirect_steps: first steps in which positive gradients also pass inactive ReLUs, where otherwise no gradient
            would reach the image; see `rules.redirected`.
        patience: stop once the mean score of this many steps is not 0.5 % above that of as many before, for no image; 0
            never stops.
        batch: most images in one pass, where the transforms make many; bounds the memory.
        precision: of the network's multiplications: "bfloat16" takes half of the time for wide networks on CPUs that
            have it, and no less for small ones; all gradients but the smallest agree.
        state: a file to keep the state in. Where the same synthesis left one, it goes on from there to the same bytes;
            one that had finished is returned.
        seed: of the start and of every transformation.
        watch: is told of each step, and may stop; the same call then goes on, if a state was kept.

    Raises:
        OptionError: no step, no objective, no such precision, a size or batch of nothing, or pixel regularizers on a
            canvas without pixels.
        ImageError: images to begin from of other values, another number or another size.
        TargetError: the network has no such unit or class.
        LayerError: the network has no such layer.
        NetworkError: it lets no gradient through, or scores or gradients are not finite.
        OutputError: the state cannot be written.
    """
    bound = bind_targets(network, objective)
    _check(len(bound), steps, patience=patience, batch=batch, precision=precision)
    start = None if start is None else network.check(start).float()
    size, generator = _size(network, len(bound), size, start), torch.Generator().manual_seed(seed)
    options = (
        canvas, size, start, tuple(transforms), tuple(pixel_regularizers), optimizer, redirect_steps, patience, batch,
        precision, seed, steps >= FUSED_FROM,
    )  # fmt: skip
    plan = fingerprint(bound, network.module, network.preprocess, *options) if state else ""
    reads = frozenset().union(*(term.reads for term in bound)) - {"input"}
    evaluation = ScoreEvaluation(
        fused(network, reads) if steps >= FUSED_FROM else network,
        bound,
        transforms=transforms,
        batch=batch,
        precision=precision,
        generator=generator,
    )
    painting = (canvas or Fourier()).begin(network, len(bound), size, generator=generator, start=start)
    if pixel_regularizers and [name for name, _ in painting.named_parameters()] != ["value"]:
        raise OptionError('pixel regularizers change pixels: give them the canvas "pixels", or leave them out')
    loop = _Loop(painting, (optimizer or Adam()).begin(painting.parameters()), evaluation, generator)
    file = StateFile(state, plan)
    notes = loop.run(
        steps, file, tuple(pixel_regularizers), redirect_steps=redirect_steps, patience=patience, watch=watch
    )
    images = painting().detach().clamp(0, 1)
    cost = Cost(forwards=evaluation.passes, backwards=evaluation.passes, seconds=loop.seconds)
    scores = torch.stack(loop.scores)
    return Synthesis(images=images, objectives=bound, scores=scores, network=network, seed=seed, cost=cost, notes=notes)


@dataclasses.dataclass
class _Loop:
    """All that changes from step to step, and hence all that a state holds."""

    painting: Painting
    optimizer: torch.optim.Optimizer
    evaluation: ScoreEvaluation
    generator: torch.Generator
    scores: list[Tensor] = dataclasses.field(default_factory=list)
    settled: bool = False
    seconds: float = 0.0

    def run(
        self,
        steps: int,
        state: StateFile,
        pixel_regularizers: Sequence[PixelRegularizer],
        *,
        redirect_steps: int,
        patience: int,
        watch: Watch | None,
    ) -> tuple[str, ...]:
        """Go up to a number of steps; returns the notes."""
        stored, notes, began = state.load(), [], time.perf_counter()
        if stored is not None and stored["step"] <= steps:
            self._load(stored)
            notes.append(f"went on at step {stored['step']}")
            began -= self.seconds
        stopped = False
        while len(self.scores) < steps and not self.settled and not stopped:
            step = len(self.scores) + 1
            images, scores = self._step(rules.redirected if step <= redirect_steps else None)
            _regularize(self.painting, pixel_regularizers, step)
            self.painting.project()
            self.scores.append(scores.cpu())  # as those of a state are
            self.seconds = time.perf_counter() - began
            stopped = watch is not None and bool(watch(Progress(step, steps, "", images, scores)))
            self.settled = self._settles(patience)
            if state.due:  # between steps alone: a state from within one would not go on to the same bytes
                state.save(self._stored())
        state.save(self._stored())
        if self.settled or stopped:
            notes.append(f"stopped after {len(self.scores)} of {steps} steps")
        return tuple(notes)

    def _step(self, rule: rules.Rule | None) -> tuple[Images, Tensor]:
        """One step of the optimizer; returns the images before it, and their scores."""
        evaluated: list[tuple[Images, Tensor]] = []
        parameters = list(self.painting.parameters())

        def closure() -> float:
            images = self.painting()
            scores, gradients = self.evaluation(images, parameters, rule)
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = (-gradient).contiguous()  # optimizers minimize, and L-BFGS takes views
            evaluated.append((images.detach(), scores))
            return -scores.sum().item()

        self.optimizer.step(closure)
        return evaluated[0]

    def _settles(self, patience: int) -> bool:
        """Whether no score has grown for some time."""
        if not patience or len(self.scores) < 2 * patience:
            return False
        before, after = torch.stack(self.scores[-2 * patience :]).view(2, patience, -1).mean(1)
        return bool((after - before <= _GAIN * before.abs()).all())

    def _stored(self) -> Stored:
        return {
            "step": len(self.scores),
            "settled": self.settled,
            "seconds": self.seconds,
            "passes": self.evaluation.passes,
            "scores": torch.stack(self.scores) if self.scores else torch.zeros(0),
            "painting": {name: parameter.detach() for name, parameter in self.painting.named_parameters()},
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
        }

    @torch.no_grad()
    def _load(self, stored: Stored) -> None:
        self.scores, self.settled, self.seconds = list(stored["scores"]), stored["settled"], stored["seconds"]
        self.evaluation.passes = stored["passes"]
        for name, parameter in self.painting.named_parameters():
            parameter.copy_(stored["painting"][name])
        self.optimizer.load_state_dict(stored["optimizer"])
        self.generator.set_state(stored["generator"])


def _check(count: int, steps: int, *, patience: int, batch: int | None, precision: str) -> None:
    if not count or steps < 1:
        raise OptionError(f"{count} objectives and {steps} steps make no image; give at least one of each")
    if patience < 0 or (batch is not None and batch < 1):
        raise OptionError(f"patience is {patience} and batch {batch}; synthesize wants 0 or more, and 1 or more")
    if precision not in get_args(Precision):
        raise OptionError(f"precision is {precision!r}; allowed are {', '.join(get_args(Precision))}")


def _size(network: Network, count: int, size: tuple[int, int] | None, start: Images | None) -> tuple[int, int]:
    """Height and width of the images: those of what they begin from."""
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
def _regularize(painting: Painting, pixel_regularizers: Sequence[PixelRegularizer], step: int) -> None:
    for parameter in painting.parameters() if pixel_regularizers else ():
        assert parameter.grad is not None
        for regularizer in pixel_regularizers:
            parameter.copy_(regularizer(parameter, -parameter.grad, step))


FUSED_FROM = 16
"""Steps from which on batch norms are fused into convolutions, which takes as long as some steps."""
_GAIN = 0.005
