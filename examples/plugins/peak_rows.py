"""An accumulator of your own, `phosphene survey photos/ --keep peak-rows --plugin …/peak_rows.py`."""

import dataclasses
from typing import ClassVar

import numpy as np
import torch

from phosphene.survey.accumulators.accumulator import Accumulator, channel_column


@dataclasses.dataclass(frozen=True)
class PeakRows(Accumulator, name="peak-rows"):
    """At which height each unit is strongest: images, counted by the row of their greatest activation."""

    tables: ClassVar[dict[str, str]] = {"peak_rows": "a channel and a row of its map"}

    def start(self, layer):
        return {"images": torch.zeros(layer.channels, layer.grid[0], dtype=torch.long)}

    def update(self, state, batch):
        state["images"].scatter_add_(1, (batch.max_at // batch.layer.grid[1]).T, batch.finite.T.long())

    def merge(self, state, other):
        state["images"] += other["images"]

    def result(self, state, layer):
        rows = np.tile(np.arange(layer.grid[0], dtype=np.int32), layer.channels)
        channels = channel_column(layer.channels, layer.grid[0])
        return {"peak_rows": {"channel": channels, "row": rows, "images": state["images"].flatten().numpy()}}
