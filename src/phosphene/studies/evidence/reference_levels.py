"""What natural images reach for a target, for comparison with synthetic pictures; how another network sees them."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from phosphene.core.errors import ImageError, NetworkError, OptionError, TargetError
from phosphene.core.images import image
from phosphene.core.images.image import Picture
from phosphene.core.networks.network import Activations, Images, Network, Prediction
from phosphene.core.objectives.classes import Logit
from phosphene.core.objectives.objective import Objective
from phosphene.core.objectives.units import Channel, ChannelMax
from phosphene.core.result import Cost, Result
from phosphene.studies.evidence.photographs import Photographs, PhotographSource, read_batches
from phosphene.survey.store.run import Run
from phosphene.synthesis.recipes.as_saved import as_read

Floats = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class ReferenceLevel:
    """What a target reaches in natural images, by its largest value in each.

    Args:
        objective: what was measured; see `spatial_maximum`.
        images: how many.
        quantile: in (0, 1).
        level: the value at that quantile, interpolated linearly between two images.
        maximum: over all images.
        note: how it was measured, where that matters.
    """

    objective: Objective
    images: int
    quantile: float
    level: float
    maximum: float
    note: str = ""

    def compare(self, value: float) -> str:
        """A value as a share of the level, or of the maximum where there are few images.

        >>> print(ReferenceLevel(Logit(1), 500, 0.999, 5.9, 6.1).compare(12.3))
        12.3, 208 % of the 99.9th percentile of 500 natural images (5.9; of so few that is all but their greatest, 6.1)
        """
        needed, images = round(1 / (1 - self.quantile)), f"{self.images:,} natural images"
        if self.maximum == self.level == 0:
            return f"{value:.3g}, where {images} all stay at 0"
        what, reference, more = f"the {100 * self.quantile:g}th percentile of {images}", self.level, ""
        if 10 * self.images < needed:
            what, reference = f"the greatest of {images}", self.maximum
        elif self.images < needed:
            more = f"; of so few that is all but their greatest, {self.maximum:.3g}"
        if min(reference, value) <= 0:  # no share of it
            return f"{value:.3g}; {what} is {reference:.3g}{more}"
        return f"{value:.3g}, {100 * value / reference:.0f} % of {what} ({reference:.3g}{more})"

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {**dataclasses.asdict(self), "objective": str(self.objective)}


@dataclasses.dataclass(frozen=True, eq=False)
class ReferenceLevels(Result):
    """What natural images reach for some targets.

    Args:
        levels: one for each target.
    """

    verb: str = dataclasses.field(default="reference-levels", kw_only=True)
    levels: tuple[ReferenceLevel, ...]

    def facts(self) -> Mapping[str, Any]:
        return {"levels": [level.as_dict() for level in self.levels]}

    def lines(self) -> tuple[str, ...]:
        return tuple(
            f"{level.objective}: {level.level:.3g} at the {100 * level.quantile:g}th percentile of {level.images:,} "
            f"natural images, {level.maximum:.3g} at most"
            for level in self.levels
        )


@dataclasses.dataclass(frozen=True)
class Recognition:
    """How another network classifies a picture.

    Args:
        rank: of the target's class among its own, from 1.
        probability: of that class.
        best: its most probable class.
    """

    rank: int
    probability: float
    best: Prediction


def reference_levels(
    source: Run | PhotographSource,
    network: Network,
    objectives: Sequence[Objective],
    *,
    quantile: float = 0.999,
    limit: int = 500,
    seed: int = 0,
) -> ReferenceLevels:
    """What natural images reach for each target: the level at a quantile of them, and the maximum.

    Each image counts by the largest value over the places of the unit; see `spatial_maximum`. Where a survey has the
    unit, its numbers are used: exact where its patches include the quantile, else interpolated linearly within a bin
    of its histogram, which is at most a quarter of an octave wide. Everything else is measured in the images of the
    survey or of the source. Cost: none, or a truncated forward pass for each image. Images that cannot be read are
    left out, and counted in the note.

    Args:
        source: a survey, or images: a folder, a pattern, or several; see `survey`.
        network: whose units; the one of the survey.
        objectives: the targets, bound to the network.
        quantile: in (0, 1).
        limit: how many images are measured at most, drawn by the seed.
        seed: of that draw.

    Raises:
        ImageError: no image can be read.
        RunError: the survey is of another network.
        OptionError: a quantile or limit out of range.
    """
    if not 0 < quantile < 1 or limit < 1:
        raise OptionError(f"quantile is {quantile} and limit {limit}; want one within 0 … 1, and at least 1 image")
    start, maxima = time.perf_counter(), [spatial_maximum(objective) for objective in objectives]
    levels, passes = dict[int, ReferenceLevel](), 0
    if isinstance(source, Run):
        source.check_network(network)
        surveyed = {index: _surveyed(source, objective, quantile) for index, objective in enumerate(maxima)}
        levels = {index: level for index, level in surveyed.items() if level}
    missing = [index for index in range(len(maxima)) if index not in levels]
    if missing:
        photographs = Photographs.of(source, limit, seed)
        values, note = _measured(photographs, network, [maxima[index] for index in missing])
        passes = len(values)
        for index, column in zip(missing, values.T, strict=True):
            level, maximum = float(np.quantile(column, quantile)), float(column.max())
            levels[index] = ReferenceLevel(maxima[index], len(column), quantile, level, maximum, note)
    return ReferenceLevels(
        tuple(levels[index] for index in range(len(maxima))),
        network=network,
        options={"quantile": quantile, "limit": limit},
        seed=seed,
        cost=Cost(forwards=passes, seconds=time.perf_counter() - start),
    )


def peak_activations(network: Network, objectives: Sequence[Objective], images: Images) -> tuple[float, ...]:
    """What synthetic pictures reach, rounded to 8 bits, to be compared with `reference_levels`.

    Cost: a forward pass for each.

    Args:
        network: whose units.
        objectives: one for each picture.
        images: (N, 3, H, W).
    """
    values = []
    with torch.no_grad():
        for objective, pixels in zip(map(spatial_maximum, objectives), images, strict=True):
            activations = _tap(network, as_read(pixels[None], objective, network), [objective])
            values.append(objective(activations).item())
    return tuple(values)


def spatial_maximum(objective: Objective) -> Objective:
    """The largest value over the places of a channel, in place of its mean or of one neuron.

    A class has one value for each image and stays; so does a sum, since the maxima of its channels may lie at
    different places.

    >>> str(spatial_maximum(Channel("blocks.4", 17)))
    'blocks.4:17@max'
    """
    return ChannelMax(objective.layer, objective.channel) if isinstance(objective, Channel) else objective


def recognize(
    other: Network, network: Network, objectives: Sequence[Objective], images: Images
) -> tuple[Recognition | None, ...]:
    """How another network classifies each picture, given to it as a photograph of 8 bits.

    Classes are matched by label where both networks have labels, and not the same, else by index. None for a target
    that is no class, and for a class that the other network does not have. Cost: a forward pass of the other network
    for each class.

    Args:
        other: the other network.
        network: that the pictures were made for.
        objectives: one for each picture, bound to `network`.
        images: (N, 3, H, W) in [0, 1].

    Raises:
        NetworkError: one of them has no labels, and they have different numbers of classes.
    """
    check_classes(other, network)
    return tuple(
        _recognize(other, index, pixels) if (index := _class_of(other, network, objective)) is not None else None
        for objective, pixels in zip(objectives, images, strict=True)
    )


def check_classes(other: Network, network: Network) -> None:
    """Raise NetworkError where one of them has no labels, and they have different numbers of classes."""
    if not (network.labels and other.labels) and network.classes != other.classes:
        unlabeled = network if not network.labels else other
        raise NetworkError(
            f"{unlabeled.name} has no labels, and {network.name} has {network.classes} classes where {other.name} has "
            f"{other.classes}; name a second network of the same classes"
        )


def _recognize(other: Network, index: int, pixels: Tensor) -> Recognition:
    prepared = other.prepare(Picture.from_array(image.levels(pixels)))
    with torch.no_grad():
        logits = other(prepared.images).cpu()
    rank = int((logits[0] > logits[0, index]).sum()) + 1
    return Recognition(rank, logits[0].double().softmax(0)[index].item(), other.top_classes(logits, 1)[0][0])


def _class_of(other: Network, network: Network, objective: Objective) -> int | None:
    """The class of the other network that a target of this one names."""
    if not isinstance(objective, Logit):
        return None
    assert isinstance(objective.index, int), "bound objectives know their index"
    if not (network.labels and other.labels) or network.labels == other.labels:
        return objective.index
    try:
        return other.index(network.label(objective.index))
    except TargetError:
        return None


def _surveyed(run: Run, objective: Objective, quantile: float) -> ReferenceLevel | None:
    """The level of a unit by the tables of a survey; None where it lacks the unit or a table."""
    layer, channel = surveyed_unit(objective)
    if layer not in run.layers or not {"units", "patches", "histograms"} <= set(run.tables):
        return None
    low, high, count = run.histogram(layer, channel)
    row, total = run.unit(layer, channel), int(count.sum())
    if not total or not {"min", "max"} <= row.keys():
        return None
    minimum, maximum = float(row["min"]), float(row["max"])
    top = np.array([patch.activation for patch in run.patches(layer, channel)])
    place = quantile * (total - 1)
    if math.floor(place) >= total - len(top):
        level = float(np.interp(place, np.arange(total - len(top), total), top[::-1]))
        return ReferenceLevel(objective, total, quantile, level, maximum)
    ends = np.cumsum(count)
    edges = np.stack([low, high], 1).clip(minimum, maximum).ravel()
    level = float(np.interp(quantile * total, np.stack([ends - count, ends], 1).ravel(), edges))
    return ReferenceLevel(objective, total, quantile, level, maximum, "from the bins of a histogram")


def surveyed_unit(objective: Objective) -> tuple[str, int]:
    """The layer and the channel of a target in a survey; ("", 0) for a target that surveys do not record."""
    if type(objective) is ChannelMax:
        return objective.layer, objective.channel
    if type(objective) is Logit and isinstance(objective.index, int):
        return "logits", objective.index
    return "", 0


def _measured(photographs: Photographs, network: Network, objectives: Sequence[Objective]) -> tuple[Floats, str]:
    """Values (images, objectives) of the images that can be read, and a note on those that cannot."""
    rows, errors, indices = list[Tensor](), list[str](), range(len(photographs.sources))
    with torch.no_grad():
        for batch in read_batches(network, photographs.load, indices, on_error=errors.append):
            activations = _tap(network, batch.images, objectives)
            rows.append(torch.stack([objective(activations) for objective in objectives], 1).cpu())
    if not rows:
        raise ImageError(f"no natural image can be read; the first of {len(errors)}: {errors[0]}")
    note = f"{len(errors)} of {len(indices)} images cannot be read; the first: {errors[0]}" if errors else ""
    return torch.cat(rows).double().numpy(), note


def _tap(network: Network, images: Images, objectives: Sequence[Objective]) -> Activations:
    reads = frozenset[str]().union(*(objective.reads for objective in objectives))
    activations: Mapping[str, Tensor] = network.tap(images, reads)
    return activations
