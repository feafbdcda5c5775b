"""How far to believe a synthetic picture: what natural images reach, and what another network makes of it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from phosphene.core.errors import ImageError, NetworkError, OptionError, TargetError
from phosphene.core.images import image
from phosphene.core.images.image import Picture
from phosphene.core.networks.network import Activations, Images, Network, Prediction
from phosphene.core.objectives.objective import Channel, ChannelMax, Logit, Objective
from phosphene.survey.sources.image_list import roll
from phosphene.survey.store.run import Run
from phosphene.synthesis.recipes.visualize import as_read

BATCH = 4
"""Images in a pass."""

Floats = npt.NDArray[np.float64]
Source = str | Path | Sequence[str | Path]
"""Images: a folder, a pattern, a table, a shard, or several."""


@dataclasses.dataclass(frozen=True)
class Natural:
    """What a target reaches in natural images, by the greatest value of each.

    Args:
        objective: what was read; see `greatest`.
        images: how many.
        quantile: in (0, 1).
        level: at that quantile; between two images by a straight line.
        most: of all.
        note: how it came about, where that matters.
    """

    objective: Objective
    images: int
    quantile: float
    level: float
    most: float
    note: str = ""

    def line(self, value: float) -> str:
        """What is to be said of a value: its share of the level, or of the greatest of a handful.

        >>> print(Natural(Logit(1), 500, 0.999, 5.9, 6.1).line(12.3))
        12.3, 208 % of the 99.9th percentile of 500 natural images (5.9; of so few that is all but their greatest, 6.1)
        """
        wanted, images = round(1 / (1 - self.quantile)), f"{self.images:,} natural images"
        if self.most == self.level == 0:
            return f"{value:.3g}, where {images} all stay at 0"
        what, beside, more = f"the {100 * self.quantile:g}th percentile of {images}", self.level, ""
        if 10 * self.images < wanted:
            what, beside = f"the greatest of {images}", self.most
        elif self.images < wanted:
            more = f"; of so few that is all but their greatest, {self.most:.3g}"
        if min(beside, value) <= 0:  # no share of it
            return f"{value:.3g}; {what} is {beside:.3g}{more}"
        return f"{value:.3g}, {100 * value / beside:.0f} % of {what} ({beside:.3g}{more})"


@dataclasses.dataclass(frozen=True)
class Opinion:
    """What another network makes of a picture.

    Args:
        rank: of the wanted class among its own, from 1.
        probability: of that class.
        best: the class that it finds most probable.
    """

    rank: int
    probability: float
    best: Prediction


class Photographs(NamedTuple):
    """Images of a survey or of a folder, some of them.

    Args:
        sources: where each comes from.
        labels: the class of each, "" where none is known.
        load: reads one by its place in `sources`; raises ImageError.
    """

    sources: tuple[str, ...]
    labels: tuple[str, ...]
    load: Callable[[int], Picture]

    @classmethod
    def of(cls, source: Run | Source, limit: int, seed: int = 0) -> Photographs:
        """At most `limit` of them, drawn by the seed, in their own order."""
        if not isinstance(source, Run):
            images = roll(source, limit=limit, seed=seed)
            return cls(images.sources, images.classes, images.load)
        there = np.flatnonzero(source.images["ok"])
        drawn = np.sort(np.random.default_rng(seed).choice(there, min(limit, len(there)), replace=False)).tolist()
        sources, labels = (tuple(source.images[name][drawn].tolist()) for name in ("source", "label"))
        return cls(sources, labels, lambda number: source.picture(drawn[number]))


def natural(
    source: Run | Source,
    network: Network,
    objectives: Sequence[Objective],
    *,
    quantile: float = 0.999,
    limit: int = 500,
    seed: int = 0,
) -> tuple[Natural, ...]:
    """What natural images reach for each target: the level at a quantile of them, and the most.

    Of each image counts its greatest value over the places of the unit; see `greatest`. A survey that has the unit is
    read off: exactly where its patches reach down to the quantile, else from its histogram, by a straight line within a
    bin, which is a quarter of an octave or less. Anything else is looked at anew, in the images of the survey or of the
    source. Cost: none, or a truncated forward pass for each image. Images that cannot be read are left out, and counted
    in the note.

    Args:
        source: a survey, or images: a folder, a pattern, or several; see `survey`.
        network: whose units; the one of the survey.
        objectives: the targets, bound to the network.
        quantile: in (0, 1).
        limit: so many images at most, drawn by the seed, where they are looked at anew.
        seed: of that draw.

    Raises:
        ImageError: no image can be read.
        RunError: the survey is of another network.
        OptionError: a quantile or limit that makes no sense.
    """
    if not 0 < quantile < 1 or limit < 1:
        raise OptionError(f"quantile is {quantile} and limit {limit}; want one within 0 … 1, and at least 1 image")
    wanted, found = [greatest(each) for each in objectives], dict[int, Natural]()
    if isinstance(source, Run):
        source.check_network(network)
        found = {at: told for at, each in enumerate(wanted) if (told := _surveyed(source, each, quantile))}
    rest = [at for at in range(len(wanted)) if at not in found]
    if rest:
        values, note = _looked(Photographs.of(source, limit, seed), network, [wanted[at] for at in rest])
        for at, column in zip(rest, values.T, strict=True):
            level, most = float(np.quantile(column, quantile)), float(column.max())
            found[at] = Natural(wanted[at], len(column), quantile, level, most, note)
    return tuple(found[at] for at in range(len(wanted)))


def reached(network: Network, objectives: Sequence[Objective], images: Images) -> tuple[float, ...]:
    """What synthetic pictures reach, as saved in 8 bits, to be held against `natural`. Cost: a forward pass for each.

    Args:
        network: whose units.
        objectives: one for each picture.
        images: (N, 3, H, W).
    """
    with torch.no_grad():
        return tuple(
            wanted(_read(network, as_read(each[None], wanted, network), [wanted])).item()
            for wanted, each in zip(map(greatest, objectives), images, strict=True)
        )


def greatest(objective: Objective) -> Objective:
    """The same for every image, however the unit was asked for: its greatest value over the places of its map.

    So a channel that was averaged, and a neuron at one place, become the maximum of their channel. A class has one
    value an image and stays, as does a sum: its channels are averaged over places, as maxima of several may lie apart.

    >>> str(greatest(Channel("blocks.4", 17)))
    'blocks.4:17@max'
    """
    return ChannelMax(objective.layer, objective.channel) if isinstance(objective, Channel) else objective


def opinion(
    other: Network, network: Network, objectives: Sequence[Objective], images: Images
) -> tuple[Opinion | None, ...]:
    """What another network makes of each picture, shown to it as a file of 8 bits, as if it were a photograph.

    Classes are matched by label where both networks have labels, and not the same, else by index. None for a target
    that is no class, and for a class that the other does not know. Cost: a forward pass of the other for each class.

    Args:
        other: that is asked.
        network: that the pictures were made for.
        objectives: one for each picture, bound to `network`.
        images: (N, 3, H, W) in [0, 1].

    Raises:
        NetworkError: one of them has no labels, and they have different numbers of classes.
    """
    same_classes(other, network)
    return tuple(
        _opinion(other, index, each) if (index := _match(other, network, objective)) is not None else None
        for objective, each in zip(objectives, images, strict=True)
    )


def same_classes(other: Network, network: Network) -> None:
    """Raise NetworkError where one of them has no labels, and they have different numbers of classes."""
    if not (network.labels and other.labels) and network.classes != other.classes:
        bare = network if not network.labels else other
        raise NetworkError(
            f"{bare.name} has no labels, and {network.name} has {network.classes} classes where {other.name} has "
            f"{other.classes}; name a second network of the same classes"
        )


def _opinion(other: Network, index: int, pixels: Tensor) -> Opinion:
    prepared = other.prepare(Picture.from_array(image.levels(pixels)))
    with torch.no_grad():
        logits = other(prepared.images).cpu()
    rank = int((logits[0] > logits[0, index]).sum()) + 1
    return Opinion(rank, logits[0].double().softmax(0)[index].item(), other.top_classes(logits, 1)[0][0])


def _match(other: Network, network: Network, objective: Objective) -> int | None:
    """The class of the other network that a target of this one means."""
    if not isinstance(objective, Logit):
        return None
    assert isinstance(objective.index, int), "bound objectives know their index"
    if not (network.labels and other.labels) or network.labels == other.labels:
        return objective.index
    try:
        return other.index(network.label(objective.index))
    except TargetError:
        return None


def _surveyed(run: Run, objective: Objective, quantile: float) -> Natural | None:
    """What a survey knows of a unit; None where it has not been looked at, or too little was kept."""
    layer, channel = unit_of(objective)
    if layer not in run.layers or not {"units", "patches", "histograms"} <= _kept(run):
        return None
    low, high, count = run.histogram(layer, channel)
    facts, total = run.unit(layer, channel), int(count.sum())
    if not total or not {"min", "max"} <= facts.keys():
        return None
    least, most = float(facts["min"]), float(facts["max"])
    top = np.array([each.activation for each in run.patches(layer, channel)])
    place = quantile * (total - 1)
    if math.floor(place) >= total - len(top):
        level = float(np.interp(place, np.arange(total - len(top), total), top[::-1]))
        return Natural(objective, total, quantile, level, most)
    ends = np.cumsum(count)
    edges = np.stack([low, high], 1).clip(least, most).ravel()
    level = float(np.interp(quantile * total, np.stack([ends - count, ends], 1).ravel(), edges))
    return Natural(objective, total, quantile, level, most, "from the bins of a histogram")


def unit_of(objective: Objective) -> tuple[str, int]:
    """Layer and channel in a survey; ("", 0) for what no survey has."""
    if type(objective) is ChannelMax:
        return objective.layer, objective.channel
    if type(objective) is Logit and isinstance(objective.index, int):
        return "logits", objective.index
    return "", 0


def _kept(run: Run) -> set[str]:
    return {Path(each["path"]).stem for each in run.manifest["files"]}


def _looked(pictures: Photographs, network: Network, objectives: Sequence[Objective]) -> tuple[Floats, str]:
    """Values (images, objectives) of the images that can be read, and how many could not."""
    rows, lost, waiting = list[Tensor](), list[str](), list[Tensor]()
    last = len(pictures.sources) - 1
    with torch.no_grad():
        for number in range(last + 1):
            try:
                waiting.append(network.prepare(pictures.load(number)).images)
            except ImageError as error:
                lost.append(str(error))
            if len(waiting) == BATCH or (waiting and number == last):
                found = _read(network, torch.cat(waiting), objectives)
                rows.append(torch.stack([each(found) for each in objectives], 1).cpu())
                waiting.clear()
    if not rows:
        raise ImageError(f"no natural image can be read; the first of {len(lost)}: {lost[0]}")
    note = f"{len(lost)} of {last + 1} images cannot be read; the first: {lost[0]}" if lost else ""
    return torch.cat(rows).double().numpy(), note


def _read(network: Network, images: Images, objectives: Sequence[Objective]) -> Activations:
    found: Mapping[str, Tensor] = network.tap(images, frozenset[str]().union(*(each.reads for each in objectives)))
    return found
