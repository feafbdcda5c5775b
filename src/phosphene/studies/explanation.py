"""The result of explaining one picture: predictions, maps, scores of the maps, cut-out, boxes and activations."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from phosphene.attribution import Heatmap
from phosphene.attribution.evaluate.deletion import Curves
from phosphene.attribution.evaluate.sanity import Sanity
from phosphene.attribution.localize.cutout import Cutout
from phosphene.core import files
from phosphene.core.images.image import Picture, Uint8Image
from phosphene.core.networks.network import Box, Images, Network
from phosphene.core.objectives.objective import Objective
from phosphene.core.result import File, Result
from phosphene.studies.evidence.map_scores import MapScores
from phosphene.weights.activation_maps import ActivationMaps


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Explanation(Result):
    """Predictions, maps and scores of one picture. The notes name the methods left out, and why.

    Args:
        network: that is explained.
        target: that was explained.
        images: (1, 3, H, W), what the network saw of the picture.
        seen: the box of the photograph that it saw.
        heatmaps: one for each method that works here.
        activations: one for each layer asked for.
        cutout: the object, cut out by its saliency.
        boxes: method → box in the photograph, at 20 % of the map's maximum; of maps of regions, not of single pixels.
        curves: method → deletion and insertion.
        sanity: method → correlation of the map with that of random weights in the upper half of the network.
    """

    verb: str = "explain"

    network: Network
    target: Objective
    images: Images
    seen: Box
    heatmaps: tuple[Heatmap, ...]
    activations: tuple[ActivationMaps, ...] = ()
    cutout: Cutout | None = None
    boxes: Mapping[str, Box] = dataclasses.field(default_factory=dict)
    curves: Mapping[str, tuple[Curves, Curves]] = dataclasses.field(default_factory=dict)
    sanity: Mapping[str, Sanity] = dataclasses.field(default_factory=dict)

    @property
    def picture(self) -> Picture:
        """The photograph."""
        return self.inputs[0]

    @cached_property
    def maps(self) -> dict[str, Heatmap]:
        """Name → heatmap; a method that was run again with other options is called NAME~2."""
        return unique_names(self.heatmaps)

    @cached_property
    def scores(self) -> dict[str, MapScores]:
        """Method → what was measured of its map."""
        names = dict.fromkeys((*self.curves, *self.sanity))
        return {name: MapScores.of(self.curves.get(name), self.sanity.get(name)) for name in names}

    def files(self) -> Iterator[File]:
        """Those of the heatmaps, of the activations in a folder for each layer, and the cut-out."""
        for name, made in self.maps.items():
            for file in made.files():
                yield dataclasses.replace(file, path=files.slug(name) + file.path.removeprefix(files.slug(made.name)))
        for maps in self.activations:
            folder = f"activations-{files.slug(maps.layer)}"
            for file in maps.files():
                yield dataclasses.replace(file, path=f"{folder}/{file.path}")
        if self.cutout is not None:
            about: dict[str, Any] = {"method": "grabcut", "target": str(self.target)}
            yield File.picture("cutout.png", self.cutout.rgba, **about)

    def facts(self) -> Mapping[str, Any]:
        """The boxes, and the scores of the maps."""
        return {
            "boxes": {name: list(box) for name, box in self.boxes.items()},
            "scores": {name: dataclasses.asdict(measured) for name, measured in self.scores.items()},
        }

    def pictures(self) -> Sequence[Uint8Image]:
        """The overlay of every map."""
        return tuple(made.overlay()[0] for made in self.heatmaps)

    def lines(self) -> tuple[str, ...]:
        """The best classes with probability and logit, and how many maps there are."""
        count = len(self.heatmaps)
        return (
            *(f"{best.probability:6.1%}  {best.logit:6.2f}  {best.label}" for best in self.predictions),
            f"{count} map{'' if count == 1 else 's'} for {self.target} ({self.cost})",
        )


def unique_names(heatmaps: Sequence[Heatmap]) -> dict[str, Heatmap]:
    """Heatmaps by the names of their methods; NAME~2 for the second of one name."""
    counts, named = Counter[str](), dict[str, Heatmap]()
    for made in heatmaps:
        counts[made.name] += 1
        named[f"{made.name}~{counts[made.name]}" if counts[made.name] > 1 else made.name] = made
    return named
