"""How far to believe a map: cover, or uncover, the pixels in its order, and watch the target."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from phosphene.attribution.localize.boxes import saliency
from phosphene.attribution.perturbation.engine import TRIAL, Engine, Fill, Masks, filling
from phosphene.core.errors import ImageError, OptionError
from phosphene.core.networks.network import Activations, Images, Network
from phosphene.core.objectives.classes import Logit, Probability
from phosphene.core.objectives.grammar import resolve
from phosphene.core.objectives.objective import Objective
from phosphene.core.result import Cost


@dataclasses.dataclass(frozen=True, eq=False)
class Curves:
    """What the target says while an image disappears, or appears, in the order of a map; one curve for each image.

    Args:
        way: deletion or insertion.
        target: as text.
        shares: share of the pixels altered so far, from 0 to 1, (P,).
        values: unit → (N, P): the target in its own unit, and the probability too where the target is a logit.
        fill: what is seen where the image is not.
        cost: passes.
    """

    way: Literal["deletion", "insertion"]
    target: str
    shares: Tensor
    values: Mapping[str, Tensor]
    fill: Fill
    cost: Cost

    @property
    def areas(self) -> dict[str, Tensor]:
        """Unit → area under each curve by the trapezoid rule, (N,): its mean height, in that unit."""
        return {unit: torch.trapezoid(curve, self.shares.to(curve), dim=1) for unit, curve in self.values.items()}

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "way": self.way,
            "target": self.target,
            "fill": self.fill,
            "areas": {unit: area.tolist() for unit, area in self.areas.items()},
            "shares": self.shares.tolist(),
            "values": {unit: curve.tolist() for unit, curve in self.values.items()},
            "cost": dataclasses.asdict(self.cost),
        }


def deletion(
    network: Network,
    images: Images,
    values: Tensor,
    target: str | int | Objective = "top",
    *,
    steps: int = 20,
    fill: Fill = "mean",
    engine: Engine | None = None,
) -> Curves:
    """The target while the pixels disappear, the most important first. A good map makes it fall at once: a small area.

    Curve[p] = target(image without its round(p / steps * H * W) most important pixels). Pixels of one value go row by
    row. Cost: steps + 1 forward passes for each image, and the trial of a new engine.

    Args:
        network: whose decision the map explains.
        images: (N, 3, H, W), RGB in [0, 1].
        values: the maps, (N, 1 or 3, H, W).
        target: what they explain.
        steps: how many times pixels are taken.
        fill: what is seen where the image is not; see `perturb.filling`. The paper takes mean, zero to the network.
        engine: that runs the passes; one engine can serve many maps of a network, by default each call makes its own.

    Raises:
        ImageError: images and maps differ in number or size.
        OptionError: steps below 1 or above the number of pixels, or another fill.

    Reference: Petsiuk, Das & Saenko, BMVC 2018, section 4.1.

    >>> deletion(tiny, images, torch.rand(2, 1, 32, 32), "goldfish", steps=4).shares.tolist()
    [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    return _curves("deletion", network, images, values, target=target, steps=steps, fill=fill, engine=engine)


def insertion(
    network: Network,
    images: Images,
    values: Tensor,
    target: str | int | Objective = "top",
    *,
    steps: int = 20,
    fill: Fill = "blur",
    engine: Engine | None = None,
) -> Curves:
    """The target while the pixels appear, the most important first. A good map makes it rise at once: a large area.

    As `deletion`, from a picture without the image to the image. The insertion of a map is the deletion of the reversed
    map, read backwards.

    Args:
        network: whose decision the map explains.
        images: (N, 3, H, W), RGB in [0, 1].
        values: the maps, (N, 1 or 3, H, W).
        target: what they explain.
        steps: how many times pixels are given.
        fill: what is seen where the image is not yet; see `perturb.filling`. The paper takes a blur.
        engine: that runs the passes; one engine can serve many maps of a network, by default each call makes its own.

    Raises:
        ImageError: images and maps differ in number or size.
        OptionError: steps below 1 or above the number of pixels, or another fill.

    Reference: Petsiuk, Das & Saenko, BMVC 2018, section 4.1.

    >>> insertion(tiny, images, torch.rand(2, 1, 32, 32), "goldfish", steps=4).areas["logit"].shape
    torch.Size([2])
    """
    return _curves("insertion", network, images, values, target=target, steps=steps, fill=fill, engine=engine)


def _curves(
    way: Literal["deletion", "insertion"],
    network: Network,
    images: Images,
    values: Tensor,
    *,
    target: str | int | Objective,
    steps: int,
    fill: Fill,
    engine: Engine | None,
) -> Curves:
    images = network.check(images)
    target = resolve(target, network, images)
    match(images, values)
    pixels = images[0, 0].numel()
    if not 1 <= steps <= pixels:
        raise OptionError(f"steps is {steps}; choose 1 … {pixels}, the number of pixels")
    counts = torch.linspace(0, pixels, steps + 1, dtype=torch.float64).round().long().to(images.device)
    cost, meters = Cost(forwards=len(images) * len(counts) + (TRIAL if engine is None else 0)), _meters(target)
    engine = engine or Engine(network, target.reads)
    curves = []
    for image, ranks in zip(images, order(values.to(images.device)), strict=True):
        masks = _masks(way, ranks, counts, filling(fill, network, image[None]))
        curves.append(engine.run(image[None], masks, target.reads, _all(meters.values())))
    found = torch.stack(curves).permute(2, 0, 1)
    return Curves(way, str(target), counts / pixels, dict(zip(meters, found, strict=True)), fill, cost)


def order(values: Tensor) -> Tensor:
    """The rank of each pixel, (N, H, W), from 0 for the most important; pixels of one value rank row by row.

    Maps of three channels rank by their saliency, maps of one channel by their values: what speaks against comes last.

    >>> order(torch.tensor([[0.5, -2.0], [3.0, 0.5]]).view(1, 1, 2, 2)).tolist()
    [[[1, 3], [0, 2]]]
    """
    important = values[:, 0] if values.shape[1] == 1 else saliency(values)
    first = important.flatten(1).argsort(dim=1, descending=True, stable=True)
    return first.argsort(dim=1).view_as(important)


def match(images: Images, values: Tensor) -> None:
    """Check that each image has its map.

    Raises:
        ImageError: another number, or another size.
    """
    if values.shape[:1] != images.shape[:1] or values.shape[2:] != images.shape[2:]:
        raise ImageError(
            f"images are {tuple(images.shape)}, maps {tuple(values.shape)}; give one map of its size for each"
        )


def _masks(way: str, ranks: Tensor, counts: Tensor, fill: Images) -> Masks:
    """What is still, or already, seen: masks (n, 1, H, W)."""

    def draw(part: slice) -> Tensor:
        altered = ranks < counts[part].view(-1, 1, 1, 1)
        return (altered if way == "insertion" else ~altered).to(fill)

    return Masks(len(counts), draw, fill)


def _meters(target: Objective) -> dict[str, Objective]:
    if type(target) is Logit:
        return {"logit": target, "probability": Probability(target.index)}
    return {target.unit: target}


def _all(meters: Collection[Objective]) -> Callable[[Activations], Tensor]:
    return lambda activations: torch.stack([meter(activations) for meter in meters], 1)
