"""Cover the image place by place and watch the target fall."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from phosphene.attribution.attribution import Attribution, Pass, Shown
from phosphene.attribution.perturbation.engine import TRIAL, Fill, Patches, engine_for, filling
from phosphene.core.errors import ImageError, OptionError
from phosphene.core.networks.network import Activations, Images, Network
from phosphene.core.objectives.objective import Objective
from phosphene.core.result import Cost


@dataclasses.dataclass(frozen=True)
class _Covering(Attribution):
    """What the maps that come of covering have in common: the places, and how they are run."""

    patch: int = 32
    stride: int | None = None
    fill: Fill = "grey"
    seed: int = 0

    @property
    def step(self) -> int:
        """Distance from one place to the next, in pixels."""
        return max(1, self.patch // 2) if self.stride is None else self.stride

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """How many rows and columns of places cover an image.

        Raises:
            OptionError: the stride leaves gaps.
            ImageError: the patch is larger than the image.
        """
        if not 1 <= self.step <= self.patch:
            raise OptionError(
                f"stride is {self.step} with a patch of {self.patch}: pixels would be left out; "
                f"choose a stride in 1 … {max(1, self.patch)}"
            )
        if self.patch > min(height, width):
            raise ImageError(
                f"the patch of {self.patch} × {self.patch} is larger than the image of {height} × {width}; "
                f"choose a patch of at most {min(height, width)}"
            )
        rows, columns = (math.ceil((size - self.patch) / self.step) + 1 for size in (height, width))
        return rows, columns

    def cost(self, network: Network, images: Images) -> Cost:  # noqa: ARG002
        """One forward pass for each place and image, and the trial of the engine."""
        return Cost(forwards=len(images) * math.prod(self.grid(*images.shape[2:])) + TRIAL)

    def covered(self, run: Pass, image: Images, reads: frozenset[str], read: Callable[[Activations], Tensor]) -> Tensor:
        """What is read with the patch at each place, (rows, columns)."""
        rows, columns = self.grid(*image.shape[2:])
        places = self.step * torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).view(-1, 2)
        fill = filling(self.fill, run.network, image, sigma=self.patch / 4, seed=self.seed)
        patches = Patches(places, (self.patch, self.patch), fill)
        return engine_for(run).run(image, patches, reads, read).view(rows, columns)


@dataclasses.dataclass(frozen=True)
class Occlusion(_Covering, name="occlusion"):
    """Fall of the target when a patch covers each place.

    map[y, x] = target(image) - target(image with the patch there), averaged over the patches that cover (y, x).
    Positive: the place supports the target. Patches start every `stride` pixels; the last ones are cut off by the
    border, so that every pixel is covered. With a class as target the map is that of figure 7d of the paper (the paper
    shows the covered probability itself: take p(label) as target), with a channel as target that of figure 7b.
    Cost: (ceil((H - patch) / stride) + 1) * (ceil((W - patch) / stride) + 1) forward passes, and 3 before the first.

    Args:
        patch: side of the square, in pixels.
        stride: distance from one place to the next, in pixels, at most the patch; by default half of it.
        fill: what the square shows: grey, mean (zero to the network), black, white, noise, blur, or a level in [0, 1].
        seed: of the noise.

    Raises:
        ImageError: the patch is larger than the image.
        OptionError: the stride is larger than the patch, or there is no such fill.

    Reference: Zeiler & Fergus, ECCV 2014, section 4.2.

    >>> Occlusion(patch=8, stride=8)(tiny, images, Logit(0)).shape
    torch.Size([2, 1, 32, 32])
    """

    unit: ClassVar[str] = "target"
    reading: ClassVar[str] = (
        "Red places support the target: it falls when they are covered; blue ones speak against it."
    )
    weakness: ClassVar[str] = "The patch is itself something to see, and what is there twice is missed by covering one."

    def map(self, run: Pass, target: Objective) -> Tensor:
        """Mean fall of the target over the patches that cover each pixel, (N, 1, H, W)."""
        scores, size = run.score(target), run.images.shape[2:]
        maps = []
        for image, score in zip(run.images[:, None], scores, strict=True):
            drops = score - self.covered(run, image, target.reads, target)
            maps.append(self._average(drops[None, None], *size))
        return torch.cat(maps)

    def _average(self, drops: Tensor, height: int, width: int) -> Tensor:
        """Mean over the patches that cover each pixel: (1, 1, rows, columns) → (1, 1, H, W)."""
        stamp = drops.new_ones(1, 1, self.patch, self.patch)
        sums = F.conv_transpose2d(torch.cat([drops, torch.ones_like(drops)]), stamp, stride=self.step)
        return (sums[:1] / sums[1:])[..., :height, :width]


@dataclasses.dataclass(frozen=True)
class OcclusionClass(_Covering, name="occlusion-class"):
    """Most probable class when a patch covers each place.

    map[y, x] = argmax over the classes of logits(image with the patch there), of the patch whose center is nearest to
    (y, x). The target plays no part. Cost: as many forward passes as the method occlusion.

    Args:
        patch: side of the square, in pixels.
        stride: distance from one place to the next, in pixels, at most the patch; by default half of it.
        fill: what the square shows: grey, mean (zero to the network), black, white, noise, blur, or a level in [0, 1].
        seed: of the noise.

    Raises:
        ImageError: the patch is larger than the image.
        OptionError: the stride is larger than the patch, or there is no such fill.

    Reference: Zeiler & Fergus, ECCV 2014, figure 7e.

    >>> OcclusionClass(patch=8, stride=8)(tiny, images, Logit(0)).shape
    torch.Size([2, 1, 32, 32])
    """

    unit: ClassVar[str] = "class index"
    shown: ClassVar[Shown] = "classes"
    reading: ClassVar[str] = "Each color is a class: the one that the network sees when that place is covered."
    weakness: ClassVar[str] = "It shows that another class wins, not by how much."

    def reads(self, network: Network, target: Objective) -> frozenset[str]:  # noqa: ARG002
        """The logits, of which the largest counts."""
        return frozenset({"logits"})

    def map(self, run: Pass, target: Objective) -> Tensor:  # noqa: ARG002
        """Index of the most probable class, (N, 1, H, W)."""
        maps = []
        for image in run.images[:, None]:
            classes = self.covered(run, image, frozenset({"logits"}), lambda found: found["logits"].argmax(1))
            rows, columns = (self._nearest(*pair) for pair in zip(classes.shape, image.shape[2:], strict=True))
            maps.append(classes[rows][:, columns].to(image)[None, None])
        return torch.cat(maps)

    def explain(self, run: Pass, target: Objective, values: Tensor) -> tuple[str, ...]:  # noqa: ARG002
        """Which classes were seen."""
        now = run.activations["logits"].argmax(1).view(-1, 1, 1, 1)
        share = (values != now).float().mean().item()
        seen = ", ".join(run.network.label(int(each)) for each in sorted(set(values.flatten().tolist())))
        return (f"the most probable class changes on {share:.0%} of the places; seen: {seen}",)

    def _nearest(self, count: int, size: int) -> Tensor:
        """For each pixel of a side, the patch whose center, inside the image, is nearest; the first of two."""
        starts = self.step * torch.arange(count)
        centers = (starts + (starts + self.patch).clamp(max=size)) / 2
        return (torch.arange(size)[:, None] + 0.5 - centers).abs().argmin(1)
