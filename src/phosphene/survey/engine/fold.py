"""Everything that a survey keeps while it runs: the states of its accumulators at its layers, and rows of images."""

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
from phosphene.survey.accumulators.accumulator import Accumulator, Seen, Site, State
from phosphene.survey.accumulators.embedding import THUMB, thumbnail
from phosphene.survey.sources.image_list import Roll

FACTS = np.dtype(
    [
        *(("seen", "u1"), ("width", "i4"), ("height", "i4"), ("box", "f8", 4), ("sha256", "S64")),
        *(("predicted", "i4"), ("probability", "f4"), ("logit", "f4")),
    ]
)
"""What is kept of each image besides what the network makes of it; seen: 0 not yet, 1 yes, 2 it could not be read."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a survey does, fixed before it starts by the data, the seed and the options.

    Args:
        sites: every layer that is listened to, in the order of the pass.
        listeners: which accumulators listen where, by layer.
        images: how many there are.
        labels: names of the labels of the images; of the classes of the network where they have none.
        named: whether the labels are those of the images.
        seed: of the order of the images.
        batch: images in a pass. Its size moves the last bits of activations, so it is part of the plan.
    """

    sites: Mapping[str, Site]
    listeners: Mapping[str, tuple[Accumulator, ...]]
    images: int
    labels: tuple[str, ...]
    named: bool
    seed: int
    batch: int

    def batches(self) -> tuple[npt.NDArray[np.int64], ...]:
        """The numbers of the images, in an order that the seed gives, cut into batches: any prefix is a fair sample."""
        # Raw numbers are what numpy promises to keep from version to version; its permutations are not.
        order = np.argsort(np.random.PCG64(self.seed).random_raw(self.images), kind="stable")
        return tuple(order[start : start + self.batch] for start in range(0, self.images, self.batch))

    def pairs(self) -> Iterator[tuple[Site, Accumulator]]:
        """Every accumulator at every layer where it listens."""
        for layer, accumulators in self.listeners.items():
            for each in accumulators:
                yield self.sites[layer], each


@dataclasses.dataclass
class Batch:
    """Images on their way through the network, and what is known of them afterwards.

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


def decode(network: Network, roll: Roll, index: int, numbers: npt.NDArray[np.int64]) -> Batch:
    """Read the images of a batch; those that cannot be read are named, and the rest goes on.

    Raises:
        RunError: the process may open no more files, which is no fault of an image.
    """
    found, facts, failures = [], {}, {}
    for number in numbers.tolist():
        fact = np.zeros((), FACTS)
        try:
            picture = roll.load(number)
            images, box = network.prepare(picture)
        except ImageError as error:
            if getattr(error.__cause__, "errno", None) in {errno.EMFILE, errno.ENFILE}:
                raise RunError(f"{error}. Allow more open files (ulimit -n), and run the same command again") from error
            fact["seen"], fact["predicted"] = 2, -1
            failures[number] = str(error)
        else:
            found.append((number, images))
            fact["seen"], fact["predicted"] = 1, -1
            fact["width"], fact["height"], fact["box"] = picture.width, picture.height, tuple(box)
            fact["sha256"] = picture.sha256.encode()
        facts[number] = fact
    images = torch.cat([each for _, each in found]) if found else torch.zeros(0)
    rows = {"pixels": thumbnail(images).numpy()} if found else {}
    return Batch(index, np.array([number for number, _ in found], np.int64), images, facts, rows, failures)


TOGETHER = 8
"""Batches that are folded at once."""


class Fold:
    """The states of all accumulators at all layers: what has been seen so far.

    `listen` reads and changes nothing, so that several threads may; `add` and `merge` want one thread at a time.

    Args:
        plan: which accumulators, where.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.pending: list[list[Seen]] = []
        self.torn = False
        """Whether folding failed halfway: some states then hold images that others do not, and none may be saved."""
        self.states = {(site.layer, str(each.name)): each.start(site) for site, each in plan.pairs()}

    def listen(self, network: Network, batch: Batch, label_of: npt.NDArray[np.int64]) -> list[Seen]:
        """One pass over a batch: what each layer made of it. Completes the facts and the rows of the batch.

        Args:
            network: or a twin of it.
            batch: as `decode` gives it.
            label_of: the label of every image of the survey, by number; -1 for none.
        """
        if not len(batch.numbers):
            return []
        numbers, heard = torch.from_numpy(batch.numbers), []

        def see(layer: str, maps: Tensor) -> None:
            seen = Seen(self.plan.sites[layer], numbers, maps)
            for each in self.plan.listeners[layer]:
                rows = each.rows(seen)
                if rows is not None:
                    batch.rows[str(each.name)] = rows.numpy()
            heard.append(seen)

        with torch.inference_mode():
            network.stream(batch.images, self.plan.sites, see)
        labels = torch.from_numpy(label_of[batch.numbers])
        if "logits" in self.plan.sites:
            predicted = self._predict(batch, next(seen for seen in heard if seen.site.layer == "logits"))
            labels = labels if self.plan.named or predicted is None else predicted
        for seen in heard:
            seen.labels = labels
        return heard

    @staticmethod
    def _predict(batch: Batch, seen: Seen) -> Tensor | None:
        """The class of each image; None where the logits are maps."""
        if seen.places > 1:
            return None
        logits = seen.max
        best = logits.double().softmax(1).max(1)
        for row, number in enumerate(batch.numbers.tolist()):
            fact = batch.facts[number]
            fact["predicted"], fact["probability"] = best.indices[row].item(), best.values[row].item()
            fact["logit"] = logits[row, best.indices[row]].item()
        return best.indices

    def add(self, heard: Iterable[Seen]) -> None:
        """Fold a batch in; a few wait and are folded together, which is faster and changes nothing."""
        self.pending.append([seen for seen in heard if len(seen.rows)])
        if len(self.pending) >= TOGETHER:
            self._flush()

    def _flush(self) -> None:
        with self._whole_or_torn():
            for parts in zip(*filter(None, self.pending), strict=True):
                seen = Seen.joined(parts)
                for each in self.plan.listeners[seen.site.layer]:
                    each.update(self.states[seen.site.layer, str(each.name)], seen)
            self.pending = []

    @contextmanager
    def _whole_or_torn(self) -> Iterator[None]:
        assert not self.torn
        self.torn = True
        yield
        self.torn = False

    def settled(self) -> dict[tuple[str, str], State]:
        """Every state as it is saved and merged."""
        self._flush()
        return {
            (site.layer, str(a.name)): a.settle(self.states[site.layer, str(a.name)]) for site, a in self.plan.pairs()
        }

    def merge(self, settled: Mapping[tuple[str, str], State]) -> None:
        """Fold in what another one has seen of other images."""
        with self._whole_or_torn():
            for site, each in self.plan.pairs():
                key = site.layer, str(each.name)
                each.merge(self.states[key], settled.get(key, {}))

    def arrays(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """File → shape and type of the rows that are kept for each image."""
        kept: dict[str, tuple[tuple[int, ...], str]] = {"pixels": ((THUMB, THUMB, 3), "u1")}
        for site, each in self.plan.pairs():
            example = each.rows(Seen(site, torch.zeros(1, dtype=torch.long), torch.zeros(1, site.channels, *site.grid)))
            if example is not None:
                kept[str(each.name)] = tuple(example.shape[1:]), example.numpy().dtype.str
        return kept
