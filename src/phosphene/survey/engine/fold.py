"""All states of a survey: those of its accumulators at its layers, and the rows of the images of a batch."""

from __future__ import annotations

import dataclasses
import errno
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from phosphene.core.errors import ImageError, RunError
from phosphene.core.networks.network import Network
from phosphene.survey.accumulators.accumulator import AccumulatorState, BatchStatistics
from phosphene.survey.accumulators.embedding import THUMB, thumbnail
from phosphene.survey.engine.plan import BATCHES_PER_UPDATE, SurveyPlan
from phosphene.survey.sources.image_list import ImageList

States = dict[tuple[str, str], AccumulatorState]
"""States by the names of layer and accumulator."""

FACTS = np.dtype(
    [
        *(("status", "u1"), ("width", "i4"), ("height", "i4"), ("box", "f8", 4), ("sha256", "S64")),
        *(("predicted", "i4"), ("probability", "f4"), ("logit", "f4")),
    ]
)
"""What is recorded of each image itself; status: 0 not read yet, 1 read, 2 cannot be read."""


@dataclasses.dataclass
class Batch:
    """Images on their way through the network, and what is recorded of them.

    Args:
        index: which batch of the plan.
        numbers: of the images that could be read.
        images: (N, 3, H, W).
        facts: a record for each image of the batch, also for those that could not be read.
        rows: file → a row for each image that could be read.
        failures: number → why it could not be read.
    """

    index: int
    numbers: npt.NDArray[np.int64]
    images: Tensor
    facts: dict[int, npt.NDArray[Any]]
    rows: dict[str, npt.NDArray[Any]]
    failures: dict[int, str]


def decode(network: Network, images: ImageList, index: int, numbers: npt.NDArray[np.int64]) -> Batch:
    """Read the images of a batch; those that cannot be read are named, and the rest goes on.

    Raises:
        RunError: the process may open no more files, which is not due to an image.
    """
    prepared, facts, failures = {}, {}, {}
    for number in numbers.tolist():
        fact = np.zeros((), FACTS)
        try:
            picture = images.load(number)
            prepared[number], box = network.prepare(picture)
        except ImageError as error:
            if getattr(error.__cause__, "errno", None) in {errno.EMFILE, errno.ENFILE}:
                raise RunError(f"{error}. Allow more open files (ulimit -n), and run the same command again") from error
            fact["status"], fact["predicted"] = 2, -1
            failures[number] = str(error)
        else:
            fact["status"], fact["predicted"] = 1, -1
            fact["width"], fact["height"], fact["box"] = picture.width, picture.height, tuple(box)
            fact["sha256"] = picture.sha256.encode()
        facts[number] = fact
    whole = torch.cat(list(prepared.values())) if prepared else torch.zeros(0)
    rows = {"pixels": thumbnail(whole).numpy()} if prepared else {}
    return Batch(index, np.array(list(prepared), np.int64), whole, facts, rows, failures)


class Fold:
    """The states of all accumulators at all layers.

    `read` changes nothing, so several threads may call it; `add` and `merge` want one thread at a time.

    Args:
        plan: which accumulators read which layers.
    """

    def __init__(self, plan: SurveyPlan) -> None:
        self.plan = plan
        self.pending: list[list[BatchStatistics]] = []
        self.inconsistent = False
        """Whether an update failed halfway: some states then hold images that others do not, and none may be saved."""
        self.states = {(layer.name, str(acc.name)): acc.start(layer) for layer, acc in plan.pairs()}

    def read(self, network: Network, batch: Batch, label_of: npt.NDArray[np.int64]) -> list[BatchStatistics]:
        """One pass over a batch: the statistics of each layer. Completes the facts and the rows of the batch.

        Args:
            network: or a replica of it.
            batch: as `decode` returns it.
            label_of: the label of every image of the survey, by number; -1 for none.
        """
        if not len(batch.numbers):
            return []
        numbers, statistics = torch.from_numpy(batch.numbers), dict[str, BatchStatistics]()

        def reduce(layer: str, maps: Tensor) -> None:
            statistics[layer] = BatchStatistics(self.plan.layers[layer], numbers, maps)
            for accumulator in self.plan.accumulators[layer]:
                rows = accumulator.image_rows(statistics[layer])
                if rows is not None:
                    batch.rows[str(accumulator.name)] = rows.numpy()

        with torch.inference_mode():
            network.stream(batch.images, self.plan.layers, reduce)
        labels = torch.from_numpy(label_of[batch.numbers])
        if "logits" in statistics:
            predicted = self._predict(batch, statistics["logits"])
            labels = labels if self.plan.labeled or predicted is None else predicted
        for of_layer in statistics.values():
            of_layer.labels = labels
        return list(statistics.values())

    @staticmethod
    def _predict(batch: Batch, statistics: BatchStatistics) -> Tensor | None:
        """The class of each image; None where the logits are maps."""
        if statistics.places > 1:
            return None
        logits = statistics.max
        best = logits.double().softmax(1).max(1)
        for row, number in enumerate(batch.numbers.tolist()):
            fact = batch.facts[number]
            fact["predicted"], fact["probability"] = best.indices[row].item(), best.values[row].item()
            fact["logit"] = logits[row, best.indices[row]].item()
        return best.indices

    def add(self, statistics: Iterable[BatchStatistics]) -> None:
        """Add a batch; a few are collected and added at once, which is faster and gives the same states."""
        self.pending.append([of_layer for of_layer in statistics if len(of_layer.numbers)])
        if len(self.pending) >= BATCHES_PER_UPDATE:
            self._flush()

    def _flush(self) -> None:
        with self._guarded():
            for parts in zip(*filter(None, self.pending), strict=True):
                joined = BatchStatistics.joined(parts)
                for accumulator in self.plan.accumulators[joined.layer.name]:
                    accumulator.update(self.states[joined.layer.name, str(accumulator.name)], joined)
            self.pending = []

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Mark the states as inconsistent where the block fails."""
        assert not self.inconsistent
        self.inconsistent = True
        yield
        self.inconsistent = False

    def compact(self) -> States:
        """Every state as it is saved and merged."""
        self._flush()
        return {
            (layer.name, str(acc.name)): acc.compact(self.states[layer.name, str(acc.name)])
            for layer, acc in self.plan.pairs()
        }

    def merge(self, states: Mapping[tuple[str, str], AccumulatorState]) -> None:
        """Add the compact states of a fold of other images."""
        with self._guarded():
            for layer, accumulator in self.plan.pairs():
                key = layer.name, str(accumulator.name)
                accumulator.merge(self.states[key], states.get(key, {}))

    def row_shapes(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """File → shape and type of the rows that are written for each image."""
        shapes: dict[str, tuple[tuple[int, ...], str]] = {"pixels": ((THUMB, THUMB, 3), "u1")}
        for layer, accumulator in self.plan.pairs():
            maps = torch.zeros(1, layer.channels, *layer.grid)
            rows = accumulator.image_rows(BatchStatistics(layer, torch.zeros(1, dtype=torch.long), maps))
            if rows is not None:
                shapes[str(accumulator.name)] = tuple(rows.shape[1:]), rows.numpy().dtype.str
        return shapes
