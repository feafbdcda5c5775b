"""Many altered copies of one image through one network: what to alter is data, how to run it is decided here alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Literal, Protocol, cast, get_args
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor

from phosphene.attribution.attribution import Baseline, Pass, baseline
from phosphene.core.errors import OptionError
from phosphene.core.networks.fuse import fused
from phosphene.core.networks.network import Activations, Images, Network

Fill = Baseline | Literal["noise", "blur"] | float
"""What is seen where the image is not: a color by name, a grey level in [0, 1], or a picture; see `filling`."""

# Images per batch. On two CPU cores 4 is best or within the spread of the best for efficientnet-lite0, resnet50 and
# vgg16 (benchmarks/occlusion.py --batches); 1 and 16 cost up to half as much again, or more. Fixed, not timed: same
# seed, same bytes. The number for a GPU is a guess that keeps it busy within a few GB.
CPU_BATCH = 4
GPU_BATCH = 64

TRIAL = 3
"""Forward passes that a new engine costs: to find what to fold, and the network and its copy side by side."""


class Alterations(Protocol):
    """Altered copies of one image, made a few at a time."""

    def __len__(self) -> int:
        """How many there are."""

    def apply(self, image: Images, part: slice) -> Images:
        """Some of them, (n, 3, H, W), made from an image (1, 3, H, W)."""


@dataclasses.dataclass(frozen=True, eq=False)
class Patches:
    """Copies with a rectangle covered, one place each; what lies over the border is cut off.

    Args:
        places: top left corners (P, 2), row and column.
        size: height and width of the rectangle, in pixels.
        fill: picture (1, 3, H, W) that shows where it covers.

    >>> covered = Patches(torch.tensor([[0, 0], [1, 1]]), (1, 1), torch.zeros(1, 3, 2, 2))
    >>> covered.apply(torch.ones(1, 3, 2, 2), slice(0, 2))[:, 0].tolist()
    [[[0.0, 1.0], [1.0, 1.0]], [[1.0, 1.0], [1.0, 0.0]]]
    """

    places: Tensor
    size: tuple[int, int]
    fill: Images

    def __len__(self) -> int:
        return len(self.places)

    def apply(self, image: Images, part: slice) -> Images:
        """Copies number part.start to part.stop - 1."""
        places = self.places[part].tolist()
        images = image.repeat(len(places), 1, 1, 1)
        for each, (top, left) in zip(images, places, strict=True):
            window = ..., slice(top, top + self.size[0]), slice(left, left + self.size[1])
            each[window] = self.fill[0][window]
        return images


@dataclasses.dataclass(frozen=True, eq=False)
class Masks:
    """Copies seen through masks: mask * image + (1 - mask) * fill.

    Args:
        count: how many masks there are.
        draw: slice → masks (n, 1, H, W) in [0, 1]; the same masks whenever it is asked, so that none need be kept.
        fill: picture (1, 3, H, W) that shows where a mask is 0.

    >>> masks = torch.tensor([0.0, 0.25, 1.0]).view(3, 1, 1, 1)
    >>> Masks(3, masks.__getitem__, torch.zeros(1, 3, 1, 1)).apply(torch.ones(1, 3, 1, 1), slice(1, 3))[:, 0].flatten()
    tensor([0.2500, 1.0000])
    """

    count: int
    draw: Callable[[slice], Tensor]
    fill: Images

    def __len__(self) -> int:
        return self.count

    def apply(self, image: Images, part: slice) -> Images:
        """Copies number part.start to part.stop - 1."""
        return torch.lerp(self.fill, image, self.draw(part))


class Engine:
    """Runs alterations in small batches, without gradients, on a faster copy of the network.

    The copy is that of `fused`, which agrees with the network in all that can be read. Cost, once: a copy of the
    convolutions, TRIAL passes.

    Args:
        network: never changed.
        reads: activations that will be read.
        batch: images per batch; by default CPU_BATCH or GPU_BATCH.
    """

    def __init__(self, network: Network, reads: Iterable[str] = ("logits",), *, batch: int | None = None) -> None:
        self.reads = frozenset(reads)
        self.network = fused(network, self.reads)
        self.batch = batch or (CPU_BATCH if network.device.type == "cpu" else GPU_BATCH)

    @torch.no_grad()
    def run(
        self,
        image: Images,
        alterations: Alterations,
        reads: Iterable[str],
        read: Callable[[Activations], Tensor],
        *,
        watch: Callable[[int, int], None] | None = None,
    ) -> Tensor:
        """What is read of each altered copy, (P, …). Cost: len(alterations) forward passes.

        Args:
            image: (1, 3, H, W), on the device of the network.
            alterations: what to alter.
            reads: names of the activations that `read` wants; the pass stops after the last of them.
            read: activations → (n, …), such as an objective.
            watch: told how many copies are done, and of how many, after each batch.
        """
        reads, total, found = frozenset(reads), len(alterations), []
        assert reads <= self.reads | {"input"}, f"the engine was not told that {reads - self.reads} would be read"
        for start in range(0, total, self.batch):
            part = slice(start, min(start + self.batch, total))
            found.append(read(self.network.tap(alterations.apply(image, part), reads)))
            if watch is not None:
                watch(part.stop, total)
        return torch.cat(found)


_ENGINES: WeakKeyDictionary[Pass, Engine] = WeakKeyDictionary()


def engine_for(run: Pass) -> Engine:
    """The engine of a pass, made once for all its methods and targets, and gone with it.

    It lives no longer than the pass because weights may change in ways that nothing records, such as `.data`.
    """
    if run not in _ENGINES:
        _ENGINES[run] = Engine(run.network, run.activations.keys() - {"input"})
    return _ENGINES[run]


def filling(fill: Fill, network: Network, image: Images, *, sigma: float = 8.0, seed: int = 0) -> Images:
    """The picture (1, 3, H, W) that shows where an image is covered.

    Args:
        fill: "mean", the color that the network sees as zero; "black", "white", "grey" or a level in [0, 1]; "noise",
            uniform in [0, 1]; "blur", the image blurred.
        network: whose mean color is meant.
        image: (1, 3, H, W), what is covered.
        sigma: of the Gaussian blur, in pixels.
        seed: of the noise.

    Raises:
        OptionError: another word, or a level outside [0, 1].
    """
    if fill == "noise":
        return torch.rand(image.shape, generator=torch.Generator().manual_seed(seed)).to(image)
    if fill == "blur":
        return blurred(image, sigma)
    if fill in get_args(Baseline):
        return baseline(cast("Baseline", fill), network, image)
    if isinstance(fill, str) or not 0 <= fill <= 1:
        known = ", ".join((*get_args(Baseline), "noise", "blur"))
        raise OptionError(f"fill is {fill!r}; choose {known} or a grey level in [0, 1]")
    return torch.full_like(image, fill)


def blurred(image: Images, sigma: float) -> Images:
    """The image after a Gaussian blur that repeats the border, cut off at three sigma."""
    radius = max(1, round(3 * sigma))
    steps = torch.arange(-radius, radius + 1).to(image)
    kernel = torch.exp(-0.5 * (steps / sigma) ** 2)
    kernel = (kernel / kernel.sum()).expand(image.shape[1], 1, 1, -1)
    for _ in range(2):
        padded = F.pad(image, (radius, radius, 0, 0), mode="replicate")
        image = F.conv2d(padded, kernel, groups=image.shape[1]).transpose(2, 3)
    return image
