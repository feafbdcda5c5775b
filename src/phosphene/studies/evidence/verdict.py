"""What must be said under a synthetic picture, so that nobody believes more of it than is true."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from phosphene.core.networks.network import Network, Prediction
from phosphene.studies.evidence.reference_levels import Natural, Opinion, Source, natural, opinion, reached
from phosphene.survey.store.run import Run
from phosphene.synthesis.recipes.visualize import Visualization


@dataclasses.dataclass(frozen=True)
class Belief:
    """What is known of one picture as saved.

    Args:
        target: what it was made for.
        activation: of the target, at rest.
        rank: the place of the target's class in the network's own list, from 1; 0 for a target that is no class.
        predictions: what the network makes of it, best first; none for a picture smaller than the network takes.
        reached: the greatest value of the unit anywhere in the picture; None where nothing was compared.
        natural: what photographs reach; likewise.
        second: what another network makes of it; None where none was asked, or it does not know the class.
        other: the name of that network.
    """

    target: str
    activation: float
    rank: int
    predictions: tuple[Prediction, ...]
    reached: float | None = None
    natural: Natural | None = None
    second: Opinion | None = None
    other: str = ""

    def __str__(self) -> str:
        value = f"{self.activation:.3g}"
        if self.natural is not None and self.reached is not None:
            value = self.natural.line(self.reached)
        parts = [f"{self.target}: {value}"]
        if self.predictions:
            parts.append(f"seen as {self.predictions[0].label} ({self.predictions[0].probability:.0%})")
        if self.rank > 1:
            parts.append(f"rank {self.rank}")
        if self.second is not None:
            parts.append(f"{self.other}: rank {self.second.rank} ({self.second.probability:.0%})")
        return "; ".join(parts)

    def manifest(self) -> Mapping[str, Any]:
        """The same as plain values."""
        facts: dict[str, Any] = {"target": self.target, "activation": self.activation, "rank": self.rank or None}
        facts["predictions"] = [each._asdict() for each in self.predictions]
        if self.natural is not None:
            facts |= {
                "reached": self.reached,
                "natural_p99.9": self.natural.level,
                "natural_most": self.natural.most,
                "natural_images": self.natural.images,
            }
        if self.second is not None:
            best = self.second.best._asdict()
            facts["second"] = {"network": self.other, "rank": self.second.rank, "probability": self.second.probability}
            facts["second"]["best"] = best
        return facts


def believe(
    network: Network, found: Visualization, *, source: Run | Source | None = None, second: Network | None = None
) -> tuple[Belief, ...]:
    """What is known of each picture. Cost: see `natural` and `opinion`.

    Args:
        network: that the pictures were made for.
        found: the pictures.
        source: a survey, or photographs, to compare with; None compares with none.
        second: another network to ask.

    Raises:
        ImageError: no photograph can be read.
        RunError: the survey is of another network.
        NetworkError: the second network has other classes, and one of both no labels.
    """
    made, images = found.synthesis.objectives, found.synthesis.images
    nothing = (None,) * len(made)
    values = reached(network, made, images) if source is not None else nothing
    levels = natural(source, network, found.targets) if source is not None else nothing
    opinions = opinion(second, network, found.targets, images) if second is not None else nothing
    rows = zip(found.names, found.activations, found.ranks, found.predictions, strict=True)
    return tuple(
        Belief(*row, *more, second.name if second else "")
        for row, more in zip(rows, zip(values, levels, opinions, strict=True), strict=True)
    )
