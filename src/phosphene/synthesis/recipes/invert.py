"""Feature inversion: pictures whose activations in a layer are near those of a given picture."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Generator
from pathlib import Path
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from phosphene.core.errors import OptionError
from phosphene.core.images import image
from phosphene.core.images.samples import SAMPLES, sample
from phosphene.core.inputs import OnePicture, layer_name
from phosphene.core.networks.network import Images, Network, Prediction
from phosphene.core.objectives.objective import Objective
from phosphene.core.progress import Watch
from phosphene.core.result import Cost
from phosphene.synthesis.canvas.canvas import Canvas, Fourier, Pixels
from phosphene.synthesis.loop.evaluation import Precision
from phosphene.synthesis.loop.optimizers import Adam
from phosphene.synthesis.loop.recipe import Job, Recipe, Stage, changed, image_size, pair
from phosphene.synthesis.loop.run import run
from phosphene.synthesis.loop.step_film import Animation
from phosphene.synthesis.loop.synthesis import Synthesis
from phosphene.synthesis.losses.feature_match import Match
from phosphene.synthesis.losses.priors import AlphaNorm, TotalVariation
from phosphene.synthesis.recipes.as_saved import as_saved, recognize
from phosphene.synthesis.recipes.inversion import Inversion, Strip
from phosphene.synthesis.recipes.layer_matches import inverted_layers, layer_matches, network_view


@dataclasses.dataclass(frozen=True)
class Invert(Recipe[Strip], name="invert"):
    """Gradient descent from noise to pictures with the activations φ₀ of a given one, for one layer after another.

    Maximizes -‖φ(x) - φ₀‖² / ‖φ₀‖² - tv · TV - alpha_weight · ‖x‖^alpha in three stages: in the first low frequencies,
    and with them colors, change most; in the second all frequencies; in the third both penalties have a tenth of their
    weight, and the picture becomes sharper.

    Args:
        coarse: steps of the first stage.
        steps: of the second.
        finish: of the third.
        lr: of Adam in the second stage, a quarter of it in the others.
        tv: weight of the total variation, for 224 pixels a side: fewer are steeper.
        beta: power of the total variation; less than 2 penalizes edges less.
        alpha_weight: of the alpha-norm.
        alpha: power of the alpha-norm, which bounds the colors.
        canvas: parameterization of the pictures.
        noise: deviation of the start.
        layers: names or patterns such as "blocks.*"; by default, or with "all", the stages of the network.
        seeds: pictures from each layer, each from another start.
        size: height and width of the photograph's crop, in pixels; what the network takes by default.

    Reference: Mahendran & Vedaldi, CVPR 2015 and IJCV 2016. Differs from the paper: Fourier coefficients instead of
    pixels and Adam instead of gradient descent with momentum, which need 400 steps where the paper takes 2,100.
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
    layers: tuple[str, ...] = ()
    seeds: int = 1
    size: int | tuple[int, int] | None = None

    def __post_init__(self) -> None:
        low = min(self.coarse, self.steps, self.finish)
        if low < 0 or self.passes < 1 or min(self.tv, self.alpha_weight, self.noise) < 0 or self.lr <= 0:
            raise OptionError(f"invert wants a step, lr above 0, and nothing else below 0; found {self}")
        if self.seeds < 1:
            raise OptionError(f"{self.seeds} seeds make no picture; give at least 1")
        TotalVariation(self.beta), AlphaNorm(alpha=self.alpha)  # refuse what they cannot be

    @property
    def passes(self) -> int:
        """Steps of all stages of a layer."""
        return self.coarse + self.steps + self.finish

    def stages(self, job: Job) -> Generator[Stage, Synthesis, Strip]:
        """Three stages for each layer, each from where the last one ended."""
        original, matches, notes = self._original(job), *self._matches(job)
        inversions, cost = [], Cost(forwards=len(matches))
        for match in matches:
            synthesis: Synthesis | None = None
            scores = list[Tensor]()
            for stage in self.layer_stages(match, original):
                start = None if synthesis is None else synthesis.images
                synthesis = yield dataclasses.replace(stage, start=start)
                scores.append(synthesis.scores)
            assert synthesis is not None, "there is a step"
            inversions.append(self._inversion(job, match, dataclasses.replace(synthesis, scores=torch.cat(scores))))
            cost += inversions[-1].cost
        return Strip(inversions=tuple(inversions), predictions=inversions[0].predictions, cost=cost, notes=tuple(notes))

    def layer_stages(self, match: Match, original: Images) -> list[Stage]:
        """The stages of one layer; one of no steps is left out.

        Args:
            match: distance from the activations of the original.
            original: (1, 3, H, W).
        """
        size, fourier = image_size(original), self.canvas == "fourier"
        free: Canvas = Fourier(noise=self.noise) if fourier else Pixels("noise", self.noise)
        low: Canvas = Fourier(_LOW_FREQUENCIES, self.noise) if fourier else free
        tv = self.tv * (min(size) / _TUNED) ** self.beta
        full = tv * TotalVariation(self.beta) + self.alpha_weight * AlphaNorm(alpha=self.alpha)
        rows: list[tuple[Canvas, float, int, Objective]] = [
            (low, self.lr / 4, self.coarse, full),
            (free, self.lr, self.steps, full),
            (free, self.lr / 4, self.finish, 0.1 * full),
        ]
        return [
            Stage(
                objective=[-match - penalties] * self.seeds,
                canvas=canvas,
                size=size,
                optimizer=Adam(lr),
                steps=steps,
                batch=_BATCH,
                name=f"{match.layer}, stage {number}",
                fuse=True,
            )
            for number, (canvas, lr, steps, penalties) in enumerate((row for row in rows if row[2]), 1)
        ]

    def check(self, network: Network) -> None:
        """Refuse layers that the network does not have."""
        inverted_layers(network, self.layers)

    def rehearsal(self, job: Job) -> Generator[Stage, Synthesis, Any]:
        """The second stage of each layer for the steps of all, and those that measuring the result takes as long as."""
        once = dataclasses.replace(self, coarse=0, steps=1, finish=0)
        for match in self._matches(job)[0]:
            (stage,) = once.layer_stages(match, self._original(job))
            yield dataclasses.replace(stage, steps=self.passes + _MEASURED, name=match.layer)

    def reduced(self, job: Job, share: float) -> Self:  # noqa: ARG002  the same for all pictures
        """Fewer and larger steps: this share of those of every stage, rounded up."""
        thousandths = int(1000 * (share * (self.passes + _MEASURED) - _MEASURED) / self.passes)
        return self.times(max(1, min(1000, thousandths)) / 1000)

    def times(self, share: float) -> Self:
        """The same with this share of the steps of every stage, rounded up; each is larger, by up to five times.

        Args:
            share: in (0, 1].
        """
        coarse, steps, finish = (math.ceil(count * share) for count in (self.coarse, self.steps, self.finish))
        lr = self.lr * min(_LARGER, share**-0.5)
        return dataclasses.replace(self, coarse=coarse, steps=steps, finish=finish, lr=lr)

    def extent(self, job: Job) -> tuple[int, str]:  # noqa: ARG002  the same for all pictures
        """Steps of all stages."""
        return self.passes, "for each layer"

    def total(self, job: Job) -> int:
        """The steps of all layers."""
        return self.passes * len(self._matches(job)[0])

    def _original(self, job: Job) -> Images:
        return job.once("original", lambda: network_view(job.network, job.sources[0].sources, size=pair(self.size)))

    def _matches(self, job: Job) -> tuple[list[Match], list[str]]:
        """A match for each layer that has something to match on this picture, and why the others have not."""
        layers = job.once("layers", lambda: inverted_layers(job.network, self.layers))
        return job.once("matches", lambda: layer_matches(job.network, self._original(job), layers))

    def _inversion(self, job: Job, match: Match, synthesis: Synthesis) -> Inversion:
        """The result for a layer: errors and classes of the pictures as saved. Cost: a pass for each."""
        network, original = job.network, self._original(job)
        views = [network_view(network, image.load(sample(name)), size=image_size(original)) for name in SAMPLES]
        others = [view for view in views if (view - original).abs().mean() > _SAME]
        errors: list[float] = []
        recognized: list[tuple[Prediction, ...]] = []
        with torch.no_grad():
            for some in torch.split(torch.cat([as_saved(synthesis.images), original]), _BATCH):
                read = network.tap(some, match.reads | {"logits"})
                errors += match(read).tolist()
                recognized += recognize(network, read["logits"])
            unrelated = match(network.tap(torch.cat(others), match.reads)).mean().item()
        return Inversion(
            images=synthesis.images,
            objectives=synthesis.objectives,
            scores=synthesis.scores,
            original=original,
            layer=match.layer,
            reconstruction_errors=tuple(errors[:-1]),
            unrelated=unrelated,
            recognized=tuple(recognized[:-1]),
            predictions=recognized[-1][:1],
            network=network,
            seed=job.seed,
            cost=Cost(forwards=len(synthesis.images) + 1 + len(others)),
        )


def invert(
    network: Network,
    picture: OnePicture,
    layer: str | nn.Module,
    *,
    seeds: int | None = None,
    recipe: Invert = Invert(),
    size: int | tuple[int, int] | None = None,
    seconds: float | None = None,
    precision: Precision = "float32",
    animate: Animation | None = None,
    state: str | Path | None = None,
    seed: int = 0,
    watch: Watch | None = None,
) -> Inversion:
    """Pictures that a layer cannot distinguish from a given one: `run` of `Invert`, for one layer.

    Cost: the steps of the recipe for each seed, forward and backward.

    Args:
        network: whose layer.
        picture: a path, a Picture, a Pillow image or an array, or one image (1, 3, H, W), as it is.
        layer: its name, "logits", or the module itself.
        seeds: pictures, each from another start: where they differ, the activations do not determine the picture.
        recipe: steps, penalties, canvas.
        size: height and width of the photograph's crop; what the network takes by default.
        seconds: a budget of time; see `run`, also for what follows.
        precision: of the network's multiplications. The errors are measured in float32.
        animate: "gif" or "mp4", also a film of the steps.
        state: a folder to keep the state in.
        seed: of the starts.
        watch: is told of each step, counted over all stages, and may stop.

    Raises:
        LayerError: no such layer, or one that is zero everywhere on this picture.
        ImageError: not one image, or of a size that the network cannot take.
        OptionError: no seed, or no time.
        OutputError: the state cannot be written.

    >>> result = invert(tiny, images[:1], "features.2", seeds=2, recipe=Invert(coarse=5, steps=60, finish=5, lr=0.2))
    >>> result.images.shape, result.cost.backwards, result.error < 0.2 < result.unrelated
    (torch.Size([2, 3, 32, 32]), 140, True)
    """
    options: dict[str, Any] = {"seconds": seconds, "precision": precision, "animate": animate, "state": state}
    one = changed(recipe, layers=(layer_name(network, layer),), seeds=seeds, size=size)
    strip = run(one, network, picture, seed=seed, watch=watch, **options)
    (inversion,) = strip.inversions
    same = ("network", "inputs", "options", "seed", "cost", "notes", "film")
    return dataclasses.replace(inversion, **{name: getattr(strip, name) for name in same})


_TUNED = 224  # pixels a side, for which the weights of the penalties were chosen
_BATCH = 8  # images in a pass
_LOW_FREQUENCIES = 1.5  # power of the frequency with which low ones change most
_LARGER = 5.0  # times the steps may be, where they are few
_MEASURED = 6  # steps that take as long as measuring the result
_SAME = 0.01  # mean difference below which a photograph is the picture itself
