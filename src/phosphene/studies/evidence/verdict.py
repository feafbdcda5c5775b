"""What is said beside a synthetic picture: its value against natural images, and how another network classifies it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from phosphene.core.networks.network import Network, Prediction
from phosphene.studies.evidence.photographs import PhotographSource
from phosphene.studies.evidence.reference_levels import (
    Recognition,
    ReferenceLevel,
    peak_activations,
    recognize,
    reference_levels,
)
from phosphene.survey.store.run import Run
from phosphene.synthesis.recipes.visualization import Visualization


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What was measured of one picture as saved.

    Args:
        target: that it was made for.
        activation: the value of the target.
        rank: of the target's class in the network's own ranking, from 1; 0 for a target that is no class.
        predictions: how the network classifies it, best first; none for a picture smaller than the input.
        peak: the largest value of the unit anywhere in the picture; None where nothing was compared.
        reference: what natural images reach; likewise.
        second: how another network classifies it; None where none was given, or it does not have the class.
        second_name: of that network.
    """

    target: str
    activation: float
    rank: int
    predictions: tuple[Prediction, ...]
    peak: float | None = None
    reference: ReferenceLevel | None = None
    second: Recognition | None = None
    second_name: str = ""

    def __str__(self) -> str:
        value = f"{self.activation:.3g}"
        if self.reference is not None and self.peak is not None:
            value = self.reference.compare(self.peak)
        parts = [f"{self.target}: {value}"]
        if self.predictions:
            parts.append(f"seen as {self.predictions[0].label} ({self.predictions[0].probability:.0%})")
        if self.rank > 1:
            parts.append(f"rank {self.rank}")
        if self.second is not None:
            parts.append(f"{self.second_name}: rank {self.second.rank} ({self.second.probability:.0%})")
        return "; ".join(parts)

    def manifest(self) -> Mapping[str, Any]:
        """The same as plain values."""
        facts: dict[str, Any] = {"target": self.target, "activation": self.activation, "rank": self.rank or None}
        facts["predictions"] = [prediction._asdict() for prediction in self.predictions]
        if self.reference is not None:
            facts |= {
                "reached": self.peak,
                "natural_p99.9": self.reference.level,
                "natural_most": self.reference.maximum,
                "natural_images": self.reference.images,
            }
        if self.second is not None:
            facts["second"] = {
                "network": self.second_name,
                "rank": self.second.rank,
                "probability": self.second.probability,
                "best": self.second.best._asdict(),
            }
        return facts


def verdicts(
    network: Network,
    visualization: Visualization,
    *,
    source: Run | PhotographSource | None = None,
    second: Network | None = None,
) -> tuple[Verdict, ...]:
    """What can be said of each picture. Cost: see `reference_levels` and `recognize`.

    Args:
        network: that the pictures were made for.
        visualization: the pictures.
        source: a survey, or photographs, to compare with; None compares with none.
        second: another network that classifies them.

    Raises:
        ImageError: no photograph can be read.
        RunError: the survey is of another network.
        NetworkError: the second network has other classes, and one of both no labels.
    """
    objectives, images = visualization.objectives, visualization.images
    targets, nothing = visualization.targets, (None,) * len(objectives)
    peaks = peak_activations(network, objectives, images) if source is not None else nothing
    levels = reference_levels(source, network, targets).levels if source is not None else nothing
    recognitions = recognize(second, network, targets, images) if second is not None else nothing
    rows = zip(
        visualization.names, visualization.activations, visualization.ranks, visualization.recognized, strict=True
    )
    return tuple(
        Verdict(*row, *measured, second.name if second else "")
        for row, measured in zip(rows, zip(peaks, levels, recognitions, strict=True), strict=True)
    )
