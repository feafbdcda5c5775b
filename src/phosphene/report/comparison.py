"""Several heatmaps of one network as one result: of any number of pictures, methods and targets."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import repeat
from typing import Any

from phosphene.attribution import Heatmap
from phosphene.core import files
from phosphene.core.errors import OptionError
from phosphene.core.images import image
from phosphene.core.images.image import Picture, Uint8Image
from phosphene.core.networks.network import Network, Prediction
from phosphene.core.result import Cost, File, Result
from phosphene.studies.evidence.map_scores import MapScores


@dataclasses.dataclass(frozen=True, eq=False)
class MapOfPicture:
    """One map of one picture.

    Args:
        heatmap: that holds it.
        index: of the picture in the batch of the heatmap.
        picture: number of the picture in the comparison.
        stem: name of its files, without ending.
        scores: what was measured of it.
    """

    heatmap: Heatmap
    index: int
    picture: int
    stem: str
    scores: MapScores | None

    @property
    def target(self) -> str:
        """As text."""
        return str(self.heatmap.target)

    def files(self) -> Iterator[File]:
        """The raw values and the overlay."""
        values = self.heatmap.values[self.index].detach().cpu().float().numpy()
        about: dict[str, Any] = {
            "method": self.heatmap.name,
            "layer": self.heatmap.layer,
            "target": self.target,
            "input": self.picture,
        }
        yield File.array(f"{self.stem}.npy", values, **about, unit=self.heatmap.unit)
        yield File.picture(f"{self.stem}.png", self.heatmap.overlay(self.index)[0], kind="overlay", **about)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class HeatmapComparison(Result):
    """Some heatmaps of one network. `compare` makes it.

    Args:
        network: that is explained.
        heatmaps: in the order in which they are shown.
        scores: what was measured of each heatmap, as many as there are, or none.
    """

    verb: str = "report"

    network: Network
    heatmaps: tuple[Heatmap, ...]
    scores: tuple[MapScores, ...] = ()

    @property
    def targets(self) -> tuple[str, ...]:
        """Each target once."""
        return tuple(dict.fromkeys(str(heatmap.target) for heatmap in self.heatmaps))

    @property
    def target(self) -> str:
        """All targets as text."""
        return ", ".join(self.targets)

    @cached_property
    def maps(self) -> tuple[MapOfPicture, ...]:
        """Every map of every picture: picture by picture, target by target."""
        numbers = {key: i for i, key in enumerate(seen_pictures(self.heatmaps))}
        stems, maps = Counter[str](), []
        for heatmap, scores in zip(self.heatmaps, self.scores or repeat(None), strict=False):
            for index in range(len(heatmap.images)):
                picture = numbers[_key(seen_pixels(heatmap, index))]
                stem = self._stem(heatmap, picture)
                stems[stem] += 1
                suffix = f"~{stems[stem]}" if stems[stem] > 1 else ""
                maps.append(MapOfPicture(heatmap, index, picture, stem + suffix, scores))
        return tuple(sorted(maps, key=lambda made: (made.picture, self.targets.index(made.target))))

    @cached_property
    def predicted(self) -> tuple[tuple[Prediction, ...], ...]:
        """The best classes of each picture; none where the network is no classifier. Cost: a forward pass for each."""
        first = {made.picture: made for made in reversed(self.maps)}
        logits = (self.network(made.heatmap.images[made.index, None]) for _, made in sorted(first.items()))
        return tuple(self.network.top_classes(values)[0] if values.ndim == 2 else () for values in logits)

    def _stem(self, heatmap: Heatmap, picture: int) -> str:
        """With picture and target only where there are several."""
        parts = [str(picture + 1)] * (len(self.inputs) > 1) + [heatmap.name]
        return files.slug(" ".join(parts + [str(heatmap.target)] * (len(self.targets) > 1)))

    def files(self) -> Iterator[File]:
        """The raw values and the overlay of every map."""
        for made in self.maps:
            yield from made.files()

    def facts(self) -> Mapping[str, Any]:
        """The scores."""
        return {"scores": [dataclasses.asdict(measured) for measured in self.scores]}

    def pictures(self) -> Sequence[Uint8Image]:
        """The overlays."""
        return tuple(made.heatmap.overlay(made.index)[0] for made in self.maps)

    def lines(self) -> tuple[str, ...]:
        """How many maps of how many pictures."""
        return (f"{len(self.maps)} maps of {len(self.inputs)} pictures for {self.target}",)


def compare(
    heatmaps: tuple[Heatmap, ...], pictures: Sequence[Picture] = (), scores: Sequence[MapScores] = ()
) -> HeatmapComparison:
    """Heatmaps as one result; see `report`.

    Args:
        heatmaps: of one network.
        pictures: the photographs, in the order in which the heatmaps first show them.
        scores: what was measured of each heatmap.

    Raises:
        OptionError: nothing to show, maps of several networks, or another number of pictures or scores.
    """
    if not heatmaps:
        raise OptionError("a report of nothing: give at least one heatmap, as phosphene.attribute returns it")
    networks = list(dict.fromkeys(id(heatmap.network) for heatmap in heatmaps))
    if len(networks) > 1:
        raise OptionError(f"the heatmaps come from {len(networks)} networks; make a report for each")
    seen = seen_pictures(heatmaps)
    if len(pictures) not in {0, len(seen)}:
        raise OptionError(f"the heatmaps show {len(seen)} pictures, but {len(pictures)} were given; give each once")
    if len(scores) not in {0, len(heatmaps)}:
        raise OptionError(f"there are {len(heatmaps)} heatmaps and {len(scores)} scores; give one for each heatmap")
    if not pictures:
        names = ["picture"] if len(seen) == 1 else [f"picture {i + 1}" for i in range(len(seen))]
        pictures = [Picture.from_array(pixels, name) for pixels, name in zip(seen.values(), names, strict=True)]
    comparison = HeatmapComparison(
        network=heatmaps[0].network,
        inputs=tuple(pictures),
        heatmaps=heatmaps,
        scores=tuple(scores),
        options={"methods": [dict(heatmap.method.manifest()) for heatmap in heatmaps]},
        cost=sum((heatmap.cost for heatmap in heatmaps), Cost(forwards=len(pictures))),
    )
    return dataclasses.replace(comparison, predictions=comparison.predicted[0])


def seen_pixels(heatmap: Heatmap, index: int) -> Uint8Image:
    """What the network saw of a picture, uint8 (H, W, 3)."""
    return image.levels(heatmap.images[index])


def seen_pictures(heatmaps: Sequence[Heatmap]) -> dict[str, Uint8Image]:
    """Each picture once, by its hash, in the order in which the heatmaps show them."""
    pictures: dict[str, Uint8Image] = {}
    for heatmap in heatmaps:
        for index in range(len(heatmap.images)):
            pixels = seen_pixels(heatmap, index)
            pictures.setdefault(_key(pixels), pixels)
    return pictures


def _key(pixels: Uint8Image) -> str:
    return files.sha256(pixels.tobytes())
