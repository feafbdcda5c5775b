"""Feature inversion: what a layer still knows of a picture, made visible by a picture that it cannot tell apart."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from phosphene.core.errors import ImageError, OptionError
from phosphene.core.images import image
from phosphene.core.images.preprocess import luma
from phosphene.core.images.samples import SAMPLES, sample
from phosphene.core.inputs import OnePicture, layer_name, prepare_inputs
from phosphene.core.networks.autograd_modes import default_modes
from phosphene.core.networks.fuse import fused
from phosphene.core.networks.network import Images, Network, Prediction
from phosphene.core.objectives.objective import Objective
from phosphene.core.registry import Named
from phosphene.core.result import Cost
from phosphene.synthesis.canvas.canvas import Canvas, Fourier, Pixels
from phosphene.synthesis.loop.budget import kept, seconds_of
from phosphene.synthesis.loop.evaluation import Precision
from phosphene.synthesis.loop.loop import Synthesis, Watch, synthesize
from phosphene.synthesis.loop.optimizers import Adam
from phosphene.synthesis.loop.state import fingerprint
from phosphene.synthesis.losses.feature_match import AlphaNorm, Match
from phosphene.synthesis.losses.priors import TotalVariation
from phosphene.synthesis.recipes.inversion import Inversion
from phosphene.synthesis.recipes.visualize import as_saved


@dataclasses.dataclass(frozen=True)
class Invert(Named, name="invert"):
    """Descent from faint noise to a picture with the same activations, smooth, and of colors as photographs have.

    Maximizes -‖φ(x) - φ₀‖² / ‖φ₀‖² - tv · TV - alpha_weight · ‖x‖^alpha in three stages: first the broad waves move,
    and with them the colors; then all waves; then both penalties fade, and what they have hidden comes out.

    Args:
        coarse: steps of the first stage.
        steps: of the second.
        finish: of the third.
        lr: of Adam in the second stage, a quarter of it in the others.
        tv: weight of the total variation, for 224 pixels a side: fewer are steeper; a tenth of it in the third stage.
        beta: power of the total variation; less than 2 lets edges stand.
        alpha_weight: of the alpha-norm; a tenth of it in the third stage.
        alpha: power of the alpha-norm, which keeps colors from going far.
        canvas: what is painted on.
        noise: deviation of the start.

    Reference: Mahendran & Vedaldi, CVPR 2015 and IJCV 2016. Differs from the paper: waves instead of pixels and Adam
    instead of gradient descent with momentum, which need 400 steps where the paper takes 2,100.
    """

    coarse: int = 100
    steps: int = 200
    finish: int = 100
    lr: float = 0.02
    tv: float = 10.0
    beta: float = 2.0
    alpha_weight: float = 1.0
    alpha: float = 6.0
    canvas: Literal["fourier", "pixels"] = "fourier"
    noise: float = 0.01

    def __post_init__(self) -> None:
        low = min(self.coarse, self.steps, self.finish)
        if low < 0 or self.passes < 1 or min(self.tv, self.alpha_weight, self.noise) < 0 or self.lr <= 0:
            raise OptionError(f"invert wants a step, lr above 0, and nothing else below 0; found {self}")
        TotalVariation(self.beta), AlphaNorm(self.alpha)  # refuse what they cannot be

    @property
    def passes(self) -> int:
        """Steps of all stages."""
        return self.coarse + self.steps + self.finish

    def stages(self, side: int) -> list[tuple[Canvas, float, int, Objective]]:
        """What is painted on, size and number of the steps, and what is taken off the objective; one after another.

        Args:
            side: of the pictures, in pixels.
        """
        free: Canvas = Fourier(noise=self.noise) if self.canvas == "fourier" else Pixels("noise", self.noise)
        broad: Canvas = Fourier(_BROAD, self.noise) if self.canvas == "fourier" else free
        tv = self.tv * (side / _TUNED) ** self.beta
        full = tv * TotalVariation(self.beta) + self.alpha_weight * AlphaNorm(self.alpha)
        every = [
            (broad, self.lr / 4, self.coarse, full),
            (free, self.lr, self.steps, full),
            (free, self.lr / 4, self.finish, 0.1 * full),
        ]
        return [each for each in every if each[2]]

    def times(self, share: float) -> Invert:
        """The same with fewer and larger steps: this share of those of every stage, rounded up."""
        coarse, steps, finish = (math.ceil(each * share) for each in (self.coarse, self.steps, self.finish))
        lr = self.lr * min(_LARGER, share**-0.5)
        return dataclasses.replace(self, coarse=coarse, steps=steps, finish=finish, lr=lr)


@default_modes
def invert(
    network: Network,
    picture: OnePicture,
    layer: str | nn.Module,
    *,
    seeds: int = 1,
    how: Invert = Invert(),
    size: tuple[int, int] | None = None,
    precision: Precision = "float32",
    state: str | Path | None = None,
    seed: int = 0,
    watch: Watch | None = None,
) -> Inversion:
    """Pictures that a layer cannot tell from a given one. Cost: the steps of `how` for each seed, forward and backward.

    Args:
        network: whose layer.
        picture: a path, a Picture, a Pillow image or an array, or one image (1, 3, H, W), as it is.
        layer: its name, "logits", or the module itself.
        seeds: pictures, each from another start: where they differ, the layer does not know.
        how: steps, penalties, canvas.
        size: height and width of the photograph's crop; what the network takes by default.
        precision: of the network's multiplications; see `synthesize`. The errors are measured in float32.
        state: a folder to keep the state in: what was killed goes on from there to the same bytes. Remove it once the
            result is saved.
        seed: of the starts.
        watch: is told of each step, all stages counted through, and may stop the stage.

    Raises:
        LayerError: no such layer, or one that is zero everywhere on this picture.
        ImageError: not one image, or of a size that the network cannot take.
        OptionError: no seed.
        OutputError: the state cannot be written.

    >>> found = invert(tiny, images[:1], "features.2", seeds=2, how=Invert(5, 60, 5, lr=0.2))
    >>> found.images.shape, found.cost.backwards, found.error < 0.2 < found.unrelated
    (torch.Size([2, 3, 32, 32]), 140, True)
    """
    if seeds < 1:
        raise OptionError(f"{seeds} seeds make no picture; give at least 1")
    begun, original = time.perf_counter(), seen(network, picture, size=size)
    layer = layer_name(network, layer)
    match = Match.of(network, original, layer)
    quick = fused(network, match.reads)  # once for all stages
    found = _descend(quick, match, original, how, seeds=seeds, precision=precision, state=state, seed=seed, watch=watch)
    images, facts = found[-1].images, _judge(network, match, found[-1].images, original)
    cost = sum((each.cost for each in found), Cost(forwards=1)) + facts.pop("cost")
    scores = torch.cat([each.scores for each in found])
    notes = tuple(f"{layer}, stage {number}: {note}" for number, each in enumerate(found, 1) for note in each.notes)
    return Inversion(
        images, original, layer, how=how, scores=scores, seed=seed, cost=cost.since(begun), notes=notes, **facts
    )


def afford(
    network: Network,
    original: Images,
    layers: Sequence[str],
    *,
    seeds: int = 1,
    how: Invert = Invert(),
    seconds: float,
    precision: Precision = "float32",
    state: str | Path | None = None,
) -> Invert:
    """As many of the steps as fit into a time, the same for every layer. Cost: for each layer two steps, and `fused`.

    Args:
        network: whose layers.
        original: (1, 3, H, W), the image that will be inverted.
        layers: from which it will be.
        seeds: from how many starts.
        how: what would be done without a budget.
        seconds: of all layers together.
        precision: of the network's multiplications.
        state: the folder in which a choice is kept, so that the run goes on with it.

    Raises:
        OptionError: no time.
        LayerError: see `invert`.
    """
    if seconds <= 0:
        raise OptionError(f"{seconds:g} s allow no step; give more")

    def fit() -> dict[str, int]:
        once = dataclasses.replace(how, coarse=0, steps=1, finish=0)
        pace = ready = 0.0
        for match in [Match.of(network, original, each) for each in layers]:
            begun = time.perf_counter()
            quick = fused(network, match.reads)  # as it will be
            ready += time.perf_counter() - begun
            pace += seconds_of(partial(_descend, quick, match, original, once, seeds=seeds, precision=precision))
        left = 0.9 * seconds - 2 * ready  # now, and then
        return {"thousandths": max(1, min(1000, int(1000 * (left / pace - _JUDGED) / how.passes)))}

    plan = fingerprint(network, original, tuple(layers), seeds, how, seconds, precision)
    path = Path(state) / "budget.json" if state else None
    return how.times(kept(path, plan, fit)["thousandths"] / 1000)


def seen(network: Network, picture: OnePicture, *, size: tuple[int, int] | None = None) -> Images:
    """One picture as the network sees it, (1, 3, H, W): grey where it sees no colors.

    Args:
        network: sees.
        picture: a photograph, or one image (1, 3, H, W), which keeps its size.
        size: height and width of the photograph's crop; what the network takes by default.

    Raises:
        ImageError: not one image.
    """
    images = prepare_inputs(network, picture, size=size).images.float()
    if len(images) != 1 or size not in {None, _size(images)}:
        raise ImageError(f"images are {tuple(images.shape)}; invert wants one, at its own size. Call it for each")
    return luma(images).expand_as(images) if network.preprocess.order == "grey" else images


def _descend(
    network: Network,
    match: Match,
    original: Images,
    how: Invert,
    *,
    seeds: int,
    precision: Precision,
    state: str | Path | None = None,
    seed: int = 0,
    watch: Watch | None = None,
) -> list[Synthesis]:
    """The stages, each from where the one before it ended."""
    found: list[Synthesis] = []
    for number, (canvas, lr, steps, penalties) in enumerate(how.stages(min(_size(original))), 1):
        found.append(
            synthesize(
                network,
                [-match - penalties] * seeds,
                canvas,
                size=_size(original),
                start=found[-1].images if found else None,
                optimizer=Adam(lr),
                steps=steps,
                batch=_BATCH,
                precision=precision,
                state=Path(state) / f"stage-{number}.pt" if state else None,
                seed=seed,
                watch=_from(sum(len(each.scores) for each in found), watch),
            )
        )
    return found


def _judge(network: Network, match: Match, found: Images, original: Images) -> dict[str, Any]:
    """Errors and opinions on the pictures as they will be saved, beside other photographs. Cost: a pass for each."""
    size = _size(original)
    others = [seen(network, image.load(sample(name)), size=size) for name in SAMPLES]
    others = [each for each in others if (each - original).abs().mean() > _SAME]
    errors: list[float] = []
    told: list[tuple[Prediction, ...]] = []
    with torch.no_grad():
        for some in torch.split(torch.cat([as_saved(found), original]), _BATCH):
            read = network.tap(some, match.reads | {"logits"})
            logits = read["logits"].flatten(2).amax(2) if read["logits"].ndim > 2 else read["logits"]
            errors += match(read).tolist()
            told += network.top_classes(logits)
        apart = match(network.tap(torch.cat(others), match.reads))
    *predictions, wanted = told
    return {
        "errors": tuple(errors[:-1]),
        "unrelated": apart.mean().item(),
        "predictions": tuple(predictions),
        "wanted": wanted[0],
        "cost": Cost(forwards=len(found) + 1 + len(others)),
    }


def _from(done: int, watch: Watch | None) -> Watch | None:
    """A watcher of a stage, told of the steps of all stages."""
    return None if watch is None else lambda step, images, scores: watch(done + step, images, scores)


def _size(images: Images) -> tuple[int, int]:
    return images.shape[2], images.shape[3]


_TUNED = 224  # pixels a side, for which penalties are weighed
_BATCH = 8  # images in a pass
_BROAD = 1.5  # power of the frequency with which broad waves move most
_LARGER = 5.0  # times the steps may be, where they are few
_JUDGED = 6  # steps that errors and opinions take as long as
_SAME = 0.01  # mean difference below which a photograph is the picture itself
