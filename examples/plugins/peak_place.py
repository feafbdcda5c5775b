"""An accumulator: where in the map each unit is strongest. phosphene survey photos/ -o run/ --keep peak-place --plugin …"""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import torch

from phosphene.survey.accumulators.accumulator import (
    Accumulator,
    AccumulatorState,
    BatchStatistics,
    Columns,
    SurveyLayer,
)


@dataclasses.dataclass(frozen=True)
class PeakPlace(Accumulator, name="peak-place"):
    """How many images have the maximum of a unit at each place of its map."""

    tables: ClassVar[Mapping[str, str]] = {"peak_places": "a unit and place"}

    def start(self, layer: SurveyLayer) -> AccumulatorState:
        return {"count": torch.zeros(layer.channels, layer.grid[0] * layer.grid[1], dtype=torch.long)}

    def update(self, state: AccumulatorState, batch: BatchStatistics) -> None:
        state["count"].scatter_add_(1, batch.max_at.T, batch.finite.T.long())

    def merge(self, state: AccumulatorState, other: AccumulatorState) -> None:
        state["count"] += other["count"]

    def result(self, state: AccumulatorState, layer: SurveyLayer) -> Mapping[str, Columns]:
        channel, place = state["count"].numpy().nonzero()
        columns = {"channel": channel.astype("i4"), "row": place // layer.grid[1], "column": place % layer.grid[1]}
        return {"peak_places": {**columns, "images": state["count"].numpy()[channel, place]}}
