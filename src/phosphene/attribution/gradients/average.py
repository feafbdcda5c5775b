"""Gradients averaged over many altered copies of an image: along a path, or in a cloud of noise."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from phosphene.attribution.attribution import Baseline, Pass, Shown, baseline
from phosphene.attribution.gradients.backprop import Gradient
from phosphene.core.errors import OptionError
from phosphene.core.networks.network import Images, Network
from phosphene.core.objectives.objective import Objective
from phosphene.core.result import Cost

CHUNK = 8
"""Copies in one batch: bounds the memory; larger batches gain nothing on a CPU."""


@dataclasses.dataclass(frozen=True)
class SmoothGrad(Gradient, name="smoothgrad"):
    """The gradient, averaged over noisy copies of the image: the noise of the map goes, the structure stays.

    map = mean over samples of d target / d (image + σ · normal), σ = noise · (max - min of the image), signed,
    (N, 3, H, W). Cost: `samples` forward and backward passes.

    Args:
        samples: how many noisy copies.
        noise: deviation as a share of the image's range.
        seed: of the noise; every image gets the same.

    Reference: Smilkov et al., 2017, arXiv:1706.03825.
    """

    samples: int = 50
    noise: float = 0.15
    seed: int = 0

    weakness: ClassVar[str] = "Smooth is not faithful: averaging hides noise that the decision may rest on."

    def __post_init__(self) -> None:
        if self.samples < 1 or self.noise < 0:
            raise OptionError(f"samples={self.samples}, noise={self.noise}: want samples ≥ 1 and noise ≥ 0")

    def cost(self, network: Network, images: Images) -> Cost:  # noqa: ARG002
        """So many passes, both ways."""
        return Cost(self.samples, self.samples) * len(images)

    def places(self, network: Network, target: Objective) -> frozenset[str]:  # noqa: ARG002
        """None: the noisy copies run passes of their own."""
        return frozenset()

    def map(self, run: Pass, target: Objective) -> Tensor:
        """Mean gradient, (N, 3, H, W)."""
        return torch.cat([self._of_one(run.network, image[None], target) for image in run.images])

    def _of_one(self, network: Network, image: Images, target: Objective) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed)
        sigma = self.noise * (image.max() - image.min())

        def noisy(chunk: slice) -> Images:
            shape = (chunk.stop - chunk.start, *image.shape[1:])
            return image + sigma * torch.randn(shape, generator=generator).to(image)

        weights = image.new_full((self.samples,), 1 / self.samples)
        return mean_gradient(network, target, noisy, weights)


@dataclasses.dataclass(frozen=True)
class IntegratedGradients(Gradient, name="integrated-gradients"):
    """Share of each pixel in the difference that the image makes against a baseline color.

    map = (image - baseline) · ∫ d target / d (baseline + t · (image - baseline)) dt, t from 0 to 1, by the
    Gauss–Legendre rule; signed, in units of the target, (N, 3, H, W). Its sum is target(image) - target(baseline)
    but for the error of the rule, which the notes give. Cost: `steps` forward and backward passes, and one forward.

    Args:
        steps: points of the rule.
        baseline: the color that stands for "nothing there".

    Reference: Sundararajan, Taly & Yan, ICML 2017.
    """

    steps: int = 50
    baseline: Baseline = "mean"

    unit: ClassVar[str] = "target"
    shown: ClassVar[Shown] = "heat"
    reading: ClassVar[str] = "Positive pixels account for what the target gained from the baseline color to the image."
    weakness: ClassVar[str] = "Depends on the baseline: a pixel that has its color gets nothing."

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise OptionError(f"steps={self.steps}: want at least 1; 50 is usual")

    def cost(self, network: Network, images: Images) -> Cost:  # noqa: ARG002
        """The points of the rule, and the baseline once."""
        return Cost(self.steps + 1, self.steps) * len(images)

    def places(self, network: Network, target: Objective) -> frozenset[str]:  # noqa: ARG002
        """None: the points of the path run passes of their own."""
        return frozenset()

    def map(self, run: Pass, target: Objective) -> Tensor:
        """Path integral, (N, 3, H, W)."""
        return torch.cat([self._of_one(run.network, image[None], target) for image in run.images])

    def _of_one(self, network: Network, image: Images, target: Objective) -> Tensor:
        points, weights = np.polynomial.legendre.leggauss(self.steps)
        t = torch.from_numpy((points + 1) / 2).to(image).view(-1, 1, 1, 1)
        start = baseline(self.baseline, network, image)

        def along(chunk: slice) -> Images:
            return start + t[chunk] * (image - start)

        return (image - start) * mean_gradient(network, target, along, torch.from_numpy(weights / 2).to(image))

    def explain(self, run: Pass, target: Objective, values: Tensor) -> tuple[str, ...]:
        """How nearly the map adds up."""
        start = baseline(self.baseline, run.network, run.images)
        with torch.no_grad():
            gained = run.score(target) - target(run.network.tap(start, target.reads))
        lines = (
            f"completeness: the map sums to {total:.4g}, the target gained {gain:.4g}"
            for total, gain in zip(values.flatten(1).sum(1).tolist(), gained.tolist(), strict=True)
        )
        return (*super().explain(run, target, values), *lines)


def mean_gradient(network: Network, target: Objective, copies: Callable[[slice], Images], weights: Tensor) -> Tensor:
    """Weighted sum of the gradients at altered copies, (1, 3, H, W), in chunks of bounded memory.

    Args:
        network: whose gradients.
        target: of what.
        copies: the copies that a slice of the weights belongs to; asked for in order.
        weights: one for each copy.
    """
    total: Tensor | None = None
    for start in range(0, len(weights), CHUNK):
        chunk = slice(start, min(start + CHUNK, len(weights)))
        gradient = Pass(network, copies(chunk), target.reads, gradients=("input",)).gradient(target)
        part = torch.einsum("n,nchw->chw", weights[chunk], gradient)[None]
        total = part if total is None else total + part
    assert total is not None
    return total
