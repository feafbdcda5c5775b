"""What a method found, and where it came from."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from phosphene.attribution.attribution import Attribution, Pass, record
from phosphene.core import files
from phosphene.core.errors import OptionError
from phosphene.core.images import drawing, image
from phosphene.core.images.drawing import Scale
from phosphene.core.images.image import Uint8Image, levels
from phosphene.core.networks.network import Images, Network
from phosphene.core.objectives.objective import Objective
from phosphene.core.result import Cost


@dataclasses.dataclass(frozen=True, eq=False)
class Heatmap:
    """What a method found: raw values, and everything needed to believe or repeat them.

    Args:
        values: (N, 1 or 3, H, W), raw and signed, at the size of the images.
        images: (N, 3, H, W), what the network saw.
        method: with all its options.
        target: what was explained.
        scores: value of the target for each image, (N,).
        network: which network.
        layer: where the map was computed; "" for pixels.
        cost: passes and seconds of this map alone.
        notes: choices, causes and warnings, to be shown beside the map.
    """

    values: Tensor
    images: Images
    method: Attribution
    target: Objective
    scores: Tensor
    network: Network
    layer: str = ""
    cost: Cost = Cost()
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The registered name of the method."""
        assert self.method.name is not None
        return self.method.name

    @property
    def unit(self) -> str:
        """What one unit of a value is."""
        return self.method.unit.replace("target", self.target.unit)

    def picture(self, index: int = 0) -> tuple[Uint8Image, Scale]:
        """The map of one image as its method is drawn, uint8 (H, W, 3), and what the colors mean."""
        values = self.values[index]
        if self.method.shown == "color":
            return drawing.signed(values, unit=self.unit)
        if self.method.shown == "magnitude":
            return drawing.magnitude(values, unit=self.unit)
        if self.method.shown == "classes":
            return drawing.labels(values[0], unit=self.unit)
        return drawing.heatmap(values.sum(0), unit=self.unit)

    def overlay(self, index: int = 0) -> tuple[Uint8Image, Scale]:
        """The map of one image over that image, uint8 (H, W, 3), and what the colors mean."""
        values = self.values[index]
        if self.method.shown == "classes":
            drawn, scale = self.picture(index)
            return levels((self.images[index].cpu().numpy().transpose(1, 2, 0) + drawn / 255.0) / 2), scale
        return drawing.overlay(
            self.images[index], values.sum(0) if self.method.shown == "heat" else values, unit=self.unit
        )

    def save(self, folder: str | Path) -> list[dict[str, Any]]:
        """Write the raw values, the map and its overlay into a folder.

        Args:
            folder: where to; made if need be.

        Returns:
            one mapping for each file, as a manifest wants it.

        Raises:
            OutputError: the folder cannot be written.
        """
        path, written = Path(folder), []
        shared = {"method": self.name, "layer": self.layer, "target": str(self.target), "unit": self.unit}
        stem = files.slug(self.name)
        raw = files.write_array(path / f"{stem}.npy", self.values.cpu().numpy())
        written.append({"path": raw.name, "kind": "heatmap", **shared, "shape": list(self.values.shape)})
        for i in range(len(self.values)):
            number = f"-{i}" if len(self.values) > 1 else ""
            for kind, (pixels, scale) in (("picture", self.picture(i)), ("overlay", self.overlay(i))):
                saved = image.save(path / f"{stem}{number}-{kind}.png", pixels)
                written.append({"path": saved.name, "kind": kind, **shared, "scale": [scale.low, scale.high]})
        return written


def attribute_all(
    network: Network, images: Images, targets: Sequence[Objective], methods: Sequence[Attribution]
) -> list[Heatmap]:
    """Every map of some methods for some targets, all from one forward pass where that is enough.

    Args:
        network: whose decision is explained.
        images: (N, 3, H, W), RGB in [0, 1].
        targets: what to explain.
        methods: which maps.

    Returns:
        the heatmaps, target by target, in the order of the methods.
    """
    if not targets or not methods:
        raise OptionError("nothing to compute: give at least one target and one method")
    with torch.inference_mode(mode=False):  # the caller may be in it, and gradients are none of its business
        images, targets = network.check(images), [target.bind(network) for target in targets]
        run = record(network, images, targets, methods)
        return [heatmap(run, method, target) for target in targets for method in methods]


def heatmap(run: Pass, method: Attribution, target: Objective) -> Heatmap:
    """The map of one method from a recorded pass, with its provenance."""
    start = time.perf_counter()
    values = method.map(run, target).detach()
    cost = dataclasses.replace(method.cost(run.network, run.images), seconds=time.perf_counter() - start)
    layer, why = method.layer_for(run.network, target)
    notes = (*((f"{layer}: {why}",) if why else ()), *method.explain(run, target, values))
    return Heatmap(values, run.images, method, target, run.score(target), run.network, layer, cost, notes)
