"""Maps from a patch that covers the image position by position, and the change of the target."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from phosphene.attribution.attribution import Attribution, Display
from phosphene.attribution.baseline import Fill, fill_image
from phosphene.attribution.forward_pass import ForwardPass
from phosphene.attribution.perturbation.copies import Patches
from phosphene.attribution.perturbation.engine import SETUP_PASSES
from phosphene.core.errors import ImageError, OptionError
from phosphene.core.networks.network import Activations, Images, Network
from phosphene.core.objectives.objective import Objective
from phosphene.core.result import Cost


@dataclasses.dataclass(frozen=True)
class _SlidingPatch(Attribution):
    """What both occlusion methods share: the positions of the patch, and the passes over them."""

    patch: int = 32
    stride: int | None = None
    fill: Fill = "grey"
    seed: int = 0

    @property
    def step(self) -> int:
        """Distance from one position to the next, in pixels."""
        return max(1, self.patch // 2) if self.stride is None else self.stride

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Number of rows and columns of positions that cover an image.

        Raises:
            OptionError: the stride leaves gaps.
            ImageError: the patch is larger than the image.
        """
        if not 1 <= self.step <= self.patch:
            raise OptionError(
                f"stride is {self.step} with a patch of {self.patch}: pixels would never be covered; "
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
        """One forward pass for each position and image, and those that set the engine up."""
        return Cost(forwards=len(images) * math.prod(self.grid(*images.shape[2:])) + SETUP_PASSES)

    def covered(
        self, run: ForwardPass, image: Images, reads: frozenset[str], read: Callable[[Activations], Tensor]
    ) -> Tensor:
        """Values read with the patch at each position, (rows, columns)."""
        rows, columns = self.grid(*image.shape[2:])
        corners = self.step * torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).view(-1, 2)
        fill = fill_image(self.fill, run.network, image, sigma=self.patch / 4, seed=self.seed)
        patches = Patches(corners, (self.patch, self.patch), fill)
        return run.engine.run(image, patches, reads, read).view(rows, columns)


@dataclasses.dataclass(frozen=True)
class Occlusion(_SlidingPatch, name="occlusion"):
    """Fall of the target when a patch covers each position.

    map[y, x] = target(image) - target(image with the patch there), averaged over the patches that cover (y, x).
    Positive: the pixel supports the target. Patches start every `stride` pixels; the last ones are cut off at the
    border, so that every pixel is covered. With a class as target the map is that of figure 7d of the paper (which
    shows the probability under the patch itself: take p(label) as target), with a channel that of figure 7b.
    Cost: (ceil((H - patch) / stride) + 1) * (ceil((W - patch) / stride) + 1) forward passes, and 3 before the first.

    Args:
        patch: side of the square, in pixels.
        stride: distance from one position to the next, in pixels, at most the patch; by default half of it.
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
    reading: ClassVar[str] = "The target falls when red regions are covered, and rises when blue ones are."
    weakness: ClassVar[str] = (
        "The patch itself changes the image's content, and of two equal objects neither is shown: the other remains."
    )

    def map(self, run: ForwardPass, target: Objective) -> Tensor:
        """Mean fall of the target over the patches that cover each pixel, (N, 1, H, W)."""
        scores, size = run.score(target), run.images.shape[2:]
        maps = []
        for i, (image, score) in enumerate(zip(run.images[:, None], scores, strict=True)):
            own = target.of_image(i)
            drops = score - self.covered(run, image, own.reads, own)
            maps.append(self._average(drops[None, None], *size))
        return torch.cat(maps)

    def _average(self, drops: Tensor, height: int, width: int) -> Tensor:
        """Mean over the patches that cover each pixel: (1, 1, rows, columns) → (1, 1, H, W)."""
        kernel = drops.new_ones(1, 1, self.patch, self.patch)
        sums = F.conv_transpose2d(torch.cat([drops, torch.ones_like(drops)]), kernel, stride=self.step)
        return (sums[:1] / sums[1:])[..., :height, :width]


@dataclasses.dataclass(frozen=True)
class OcclusionClass(_SlidingPatch, name="occlusion-class"):
    """Most probable class when a patch covers each position.

    map[y, x] = argmax over the classes of logits(image with the patch there), of the patch whose center is nearest to
    (y, x). The target is not used. Cost: as many forward passes as the method occlusion.

    Args:
        patch: side of the square, in pixels.
        stride: distance from one position to the next, in pixels, at most the patch; by default half of it.
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
    display: ClassVar[Display] = "classes"
    reading: ClassVar[str] = "Each color is a class: the most probable one when that region is covered."
    weakness: ClassVar[str] = "It shows which class is the most probable, not by how much."

    def reads(self, network: Network, target: Objective) -> frozenset[str]:  # noqa: ARG002
        """The logits, whose argmax is the map."""
        return frozenset({"logits"})

    def map(self, run: ForwardPass, target: Objective) -> Tensor:  # noqa: ARG002
        """Index of the most probable class, (N, 1, H, W)."""
        maps = []
        for image in run.images[:, None]:
            classes = self.covered(run, image, frozenset({"logits"}), _best_class)
            rows, columns = (self._nearest(*pair) for pair in zip(classes.shape, image.shape[2:], strict=True))
            maps.append(classes[rows][:, columns].to(image)[None, None])
        return torch.cat(maps)

    def notes(self, run: ForwardPass, target: Objective, values: Tensor) -> tuple[str, ...]:  # noqa: ARG002
        """Which classes are in the map."""
        uncovered = _best_class(run.activations).view(-1, 1, 1, 1)
        share = (values != uncovered).float().mean().item()
        labels = ", ".join(run.network.label(int(index)) for index in sorted(set(values.flatten().tolist())))
        return (f"the most probable class changes on {share:.0%} of the pixels; classes: {labels}",)

    def _nearest(self, count: int, size: int) -> Tensor:
        """For each row or column of pixels, the patch whose center, inside the image, is nearest; the first of two."""
        starts = self.step * torch.arange(count)
        centers = (starts + (starts + self.patch).clamp(max=size)) / 2
        return (torch.arange(size)[:, None] + 0.5 - centers).abs().argmin(1)


def _best_class(activations: Activations) -> Tensor:
    return activations["logits"].argmax(1)
