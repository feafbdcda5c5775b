"""Gradients averaged over many copies of an image: along a path from a baseline, or with added noise."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from phosphene.attribution.attribution import Display
from phosphene.attribution.baseline import Baseline, baseline_image, check_baseline
from phosphene.attribution.forward_pass import ForwardPass
from phosphene.attribution.gradients.backprop import Gradient
from phosphene.core.errors import OptionError
from phosphene.core.networks.network import Images, Network
from phosphene.core.objectives.objective import Objective
from phosphene.core.result import Cost

CHUNK = 8
"""Copies in one batch, which bounds the memory; larger batches are no faster on a CPU."""


@dataclasses.dataclass(frozen=True)
class SmoothGrad(Gradient, name="smoothgrad"):
    """The gradient, averaged over noisy copies of the image, which removes noise from the map.

    map = mean over samples of d target / d (image + σ · normal), σ = noise · (max - min of the image), signed,
    (N, 3, H, W). Cost: `samples` forward and backward passes.

    Args:
        samples: how many noisy copies.
        noise: standard deviation, as a share of the image's range.
        seed: of the noise, which is the same for every image.

    Reference: Smilkov et al., 2017, arXiv:1706.03825.
    """

    samples: int = 50
    noise: float = 0.15
    seed: int = 0

    weakness: ClassVar[str] = "Averaging may also remove detail that the decision depends on."

    def __post_init__(self) -> None:
        if self.samples < 1 or self.noise < 0:
            raise OptionError(f"samples={self.samples}, noise={self.noise}: want samples ≥ 1 and noise ≥ 0")

    def cost(self, network: Network, images: Images) -> Cost:  # noqa: ARG002
        """One forward and one backward pass for each sample and image."""
        return Cost(self.samples, self.samples) * len(images)

    def gradient_layers(self, network: Network, target: Objective) -> frozenset[str]:  # noqa: ARG002
        """None: the noisy copies have passes of their own."""
        return frozenset()

    def map(self, run: ForwardPass, target: Objective) -> Tensor:
        """Mean gradient, (N, 3, H, W)."""
        images = enumerate(run.images[:, None])
        return torch.cat([self._map_of_one(run.network, image, target.of_image(i)) for i, image in images])

    def _map_of_one(self, network: Network, image: Images, target: Objective) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed)
        sigma = self.noise * (image.max() - image.min())

        def noisy(part: slice) -> Images:
            shape = (part.stop - part.start, *image.shape[1:])
            return image + sigma * torch.randn(shape, generator=generator).to(image)

        weights = image.new_full((self.samples,), 1 / self.samples)
        return mean_gradient(network, target, noisy, weights)


@dataclasses.dataclass(frozen=True)
class IntegratedGradients(Gradient, name="integrated-gradients"):
    """Share of each pixel in the difference of the target between the image and a baseline.

    map = (image - baseline) · ∫ d target / d (baseline + t · (image - baseline)) dt, t from 0 to 1, by the
    Gauss–Legendre rule; signed, in units of the target, (N, 3, H, W). Its sum is target(image) - target(baseline)
    up to the error of the rule, which the notes give. Cost: `steps` forward and backward passes, and one forward.

    Args:
        steps: points of the rule.
        baseline: mean (zero to the network), black, white or grey; or a picture: its path, a Picture, or a tensor.

    Reference: Sundararajan, Taly & Yan, ICML 2017.
    """

    steps: int = 50
    baseline: Baseline = "mean"

    unit: ClassVar[str] = "target"
    display: ClassVar[Display] = "heat"
    reading: ClassVar[str] = "Positive pixels raise the target from its value at the baseline to that at the image."
    weakness: ClassVar[str] = "Depends on the baseline: a pixel that has its color gets 0."

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise OptionError(f"steps={self.steps}: want at least 1; 50 is usual")
        check_baseline(self.name, self.baseline)

    def cost(self, network: Network, images: Images) -> Cost:  # noqa: ARG002
        """One pass for each point of the rule, and one for the baseline."""
        return Cost(self.steps + 1, self.steps) * len(images)

    def gradient_layers(self, network: Network, target: Objective) -> frozenset[str]:  # noqa: ARG002
        """None: the points of the path have passes of their own."""
        return frozenset()

    def map(self, run: ForwardPass, target: Objective) -> Tensor:
        """Path integral, (N, 3, H, W)."""
        start = baseline_image(self.baseline, run.network, run.images)[:1]
        images = enumerate(run.images[:, None])
        return torch.cat([self._map_of_one(run.network, image, start, target.of_image(i)) for i, image in images])

    def _map_of_one(self, network: Network, image: Images, start: Images, target: Objective) -> Tensor:
        points, weights = np.polynomial.legendre.leggauss(self.steps)
        t = torch.from_numpy((points + 1) / 2).to(image).view(-1, 1, 1, 1)

        def path(part: slice) -> Images:
            return start + t[part] * (image - start)

        return (image - start) * mean_gradient(network, target, path, torch.from_numpy(weights / 2).to(image))

    def notes(self, run: ForwardPass, target: Objective, values: Tensor) -> tuple[str, ...]:
        """The sum of the map beside the difference of the target, which are equal up to the error of the rule."""
        start = baseline_image(self.baseline, run.network, run.images)
        with torch.no_grad():
            differences = run.score(target) - target(run.network.tap(start, target.reads))
        lines = (
            f"completeness: the map sums to {total:.4g}, the target differs by {difference:.4g} from the baseline"
            for total, difference in zip(values.flatten(1).sum(1).tolist(), differences.tolist(), strict=True)
        )
        return (*super().notes(run, target, values), *lines)


def mean_gradient(network: Network, target: Objective, copies: Callable[[slice], Images], weights: Tensor) -> Tensor:
    """Weighted sum of the gradients at copies of an image, (1, 3, H, W), in chunks, which bounds the memory.

    Args:
        network: that is differentiated.
        target: whose gradients.
        copies: slice of the weights → the copies that they belong to; called in order.
        weights: one for each copy.
    """
    total: Tensor | None = None
    for start in range(0, len(weights), CHUNK):
        part = slice(start, min(start + CHUNK, len(weights)))
        gradients = ForwardPass(network, copies(part), target.reads, gradient_layers=("input",)).gradient(target)
        weighted = torch.einsum("n,nchw->chw", weights[part], gradients)[None]
        total = weighted if total is None else total + weighted
    assert total is not None
    return total
