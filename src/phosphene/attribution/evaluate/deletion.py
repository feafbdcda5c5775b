"""Deletion and insertion: the target while pixels are removed, or shown, in the order of a map."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from phosphene.attribution.baseline import Fill, fill_image
from phosphene.attribution.localize.boxes import saliency
from phosphene.attribution.perturbation.copies import Masks
from phosphene.attribution.perturbation.engine import Engines
from phosphene.core.errors import ImageError, OptionError
from phosphene.core.inputs import Target, bind_target
from phosphene.core.networks.network import Activations, Images, Network
from phosphene.core.objectives.classes import Logit, Probability
from phosphene.core.objectives.objective import Objective
from phosphene.core.result import Cost

CurveKind = Literal["deletion", "insertion"]


@dataclasses.dataclass(frozen=True, eq=False)
class Curves:
    """The target while pixels are removed, or shown, in the order of a map; one curve for each image.

    Args:
        kind: deletion or insertion.
        target: as text.
        shares: share of the pixels removed or shown so far, from 0 to 1, (P,).
        values: unit → (N, P): the target in its own unit, and the probability too where the target is a logit.
        fill: what removed pixels show.
        cost: passes.
    """

    kind: CurveKind
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
            "kind": self.kind,
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
    target: Target | Sequence[Target] = "top",
    *,
    steps: int = 20,
    fill: Fill = "mean",
    engines: Engines | None = None,
) -> Curves:
    """The target while pixels are removed, the most important first. With a good map it falls early: a small area.

    Curve[p] = target(image without its round(p / steps * H * W) most important pixels). Pixels of one value go row by
    row. Cost: steps + 1 forward passes for each image, and those that set an engine up.

    Args:
        network: whose decision the map explains.
        images: (N, 3, H, W), RGB in [0, 1].
        values: the maps, (N, 1 or 3, H, W).
        target: what they explain.
        steps: in how many steps all pixels are removed.
        fill: what removed pixels show; see `baseline.fill_image`. The paper takes mean, zero to the network.
        engines: that run the passes, shared with other calls; new ones by default.

    Raises:
        ImageError: images and maps differ in number or size.
        OptionError: steps below 1 or above the number of pixels, or another fill.

    Reference: Petsiuk, Das & Saenko, BMVC 2018, section 4.1.

    >>> deletion(tiny, images, torch.rand(2, 1, 32, 32), "goldfish", steps=4).shares.tolist()
    [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    return _curves("deletion", network, images, values, target=target, steps=steps, fill=fill, engines=engines)


def insertion(
    network: Network,
    images: Images,
    values: Tensor,
    target: Target | Sequence[Target] = "top",
    *,
    steps: int = 20,
    fill: Fill = "blur",
    engines: Engines | None = None,
) -> Curves:
    """The target while pixels are shown, the most important first. With a good map it rises early: a large area.

    As `deletion`, from the fill to the image. The insertion of a map is the deletion of the reversed map, read
    backwards.

    Args:
        network: whose decision the map explains.
        images: (N, 3, H, W), RGB in [0, 1].
        values: the maps, (N, 1 or 3, H, W).
        target: what they explain.
        steps: in how many steps all pixels are shown.
        fill: what pixels not yet inserted show; see `baseline.fill_image`. The paper takes a blur.
        engines: that run the passes, shared with other calls; new ones by default.

    Raises:
        ImageError: images and maps differ in number or size.
        OptionError: steps below 1 or above the number of pixels, or another fill.

    Reference: Petsiuk, Das & Saenko, BMVC 2018, section 4.1.

    >>> insertion(tiny, images, torch.rand(2, 1, 32, 32), "goldfish", steps=4).areas["logit"].shape
    torch.Size([2])
    """
    return _curves("insertion", network, images, values, target=target, steps=steps, fill=fill, engines=engines)


def _curves(
    kind: CurveKind,
    network: Network,
    images: Images,
    values: Tensor,
    *,
    target: Target | Sequence[Target],
    steps: int,
    fill: Fill,
    engines: Engines | None,
) -> Curves:
    images = network.check(images)
    target = bind_target(network, target, images)
    check_sizes(images, values)
    pixels = images[0, 0].numel()
    if not 1 <= steps <= pixels:
        raise OptionError(f"steps is {steps}; choose 1 … {pixels}, the number of pixels")
    counts = torch.linspace(0, pixels, steps + 1, dtype=torch.float64).round().long().to(images.device)
    engine, setup = (engines or Engines(network)).get(target.reads)
    measured = [_measured(target.of_image(i)) for i in range(len(images))]
    curves = []
    for image, ranks, own in zip(images, pixel_ranks(values.to(images.device)), measured, strict=True):
        masks = _masks(kind, ranks, counts, fill_image(fill, network, image[None]))
        curves.append(engine.run(image[None], masks, target.reads, _values(own.values())))
    by_unit = dict(zip(measured[0], torch.stack(curves).permute(2, 0, 1), strict=True))
    cost = setup + Cost(forwards=len(images) * len(counts))
    return Curves(kind, str(target), counts / pixels, by_unit, fill, cost)


def pixel_ranks(values: Tensor) -> Tensor:
    """The rank of each pixel, (N, H, W), from 0 for the most important; pixels of one value rank row by row.

    Maps of three channels rank by their saliency, maps of one channel by their values: negative ones come last.

    >>> pixel_ranks(torch.tensor([[0.5, -2.0], [3.0, 0.5]]).view(1, 1, 2, 2)).tolist()
    [[[1, 3], [0, 2]]]
    """
    important = values[:, 0] if values.shape[1] == 1 else saliency(values)
    first = important.flatten(1).argsort(dim=1, descending=True, stable=True)
    return first.argsort(dim=1).view_as(important)


def check_sizes(images: Images, values: Tensor) -> None:
    """Refuse maps that do not fit the images.

    Raises:
        ImageError: they differ in number or size.
    """
    if values.shape[:1] != images.shape[:1] or values.shape[2:] != images.shape[2:]:
        raise ImageError(
            f"images are {tuple(images.shape)}, maps {tuple(values.shape)}; give one map of its size for each"
        )


def _masks(kind: CurveKind, ranks: Tensor, counts: Tensor, fill: Images) -> Masks:
    """Masks (n, 1, H, W) of the pixels that are not yet removed, or are already shown."""

    def make(part: slice) -> Tensor:
        first = ranks < counts[part].view(-1, 1, 1, 1)
        return (first if kind == "insertion" else ~first).to(fill)

    return Masks(len(counts), make, fill)


def _measured(target: Objective) -> dict[str, Objective]:
    """What the curves measure, by unit."""
    if type(target) is Logit:
        return {"logit": target, "probability": Probability(target.index)}
    return {target.unit: target}


def _values(objectives: Collection[Objective]) -> Callable[[Activations], Tensor]:
    return lambda activations: torch.stack([objective(activations) for objective in objectives], 1)
