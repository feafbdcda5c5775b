"""What a survey will do, fixed before it starts by the images, the seed and the options."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from phosphene.core.errors import LayerError, OptionError
from phosphene.core.networks.layer_patterns import match_layers
from phosphene.core.networks.network import Network
from phosphene.survey.accumulators.accumulator import Accumulator, SurveyLayer
from phosphene.survey.sources.image_list import ImageList

BATCH = 4
"""Images in a pass: measured to be the fastest on a CPU, and fixed, since it moves the last bits of activations."""

BATCHES_PER_UPDATE = 8
"""Batches that accumulators are given at once, since small operations cost the same for many images."""

MAX_BATCH = 2**15 // BATCHES_PER_UPDATE - 1
"""Images in a pass at most, so that sums fit their integers; see `phosphene.survey.accumulators.sums`."""


@dataclasses.dataclass(frozen=True)
class SurveyPlan:
    """What a survey will do, fixed before it starts by the images, the seed and the options.

    Args:
        layers: every layer that is read, by name, in the order of the pass.
        accumulators: those that read a layer, by its name.
        images: how many there are.
        labels: names of the labels of the images; of the classes of the network where they have none.
        labeled: whether the labels are those of the images.
        seed: of the order of the images.
        batch: images in a pass. It moves the last bits of activations, so it is part of the plan.
    """

    layers: Mapping[str, SurveyLayer]
    accumulators: Mapping[str, tuple[Accumulator, ...]]
    images: int
    labels: tuple[str, ...]
    labeled: bool
    seed: int
    batch: int

    @classmethod
    def of(
        cls,
        network: Network,
        images: ImageList,
        accumulators: Sequence[Accumulator],
        *,
        layers: str | Iterable[str] = (),
        seed: int = 0,
        batch: int = BATCH,
    ) -> SurveyPlan:
        """The plan of a survey.

        Args:
            network: to be surveyed.
            images: to show to it.
            accumulators: what to compute.
            layers: names or patterns, see `phosphene.core.networks.layer_patterns.match_layers`.
            seed: of the order of the images.
            batch: images in a pass.

        Raises:
            OptionError: an accumulator twice, two that write the same table, or a batch of no image.
            LayerError: no such layer, or one that gives neither vectors nor maps.
        """
        if not 1 <= batch <= MAX_BATCH:
            raise OptionError(f"batch is {batch}; give 1 … {MAX_BATCH}")
        chosen = match_layers(network, [layers] if isinstance(layers, str) else layers)
        read = {accumulator: accumulator.layers(network, chosen) for accumulator in accumulators}
        _check_tables(accumulators, read)
        # The chosen layers first, in the order of the pass, then those of single accumulators.
        names = dict.fromkeys((*chosen, *(name for own in read.values() for name in own)))
        by_layer = {name: tuple(accumulator for accumulator, own in read.items() if name in own) for name in names}
        by_layer = {name: readers for name, readers in by_layer.items() if readers}
        labels = images.labels
        if not labels and "logits" in by_layer:
            labels = tuple(map(network.label, range(network.classes)))
        shapes = {name: _shape(network, name) for name in by_layer}
        planned = {name: SurveyLayer(name, channels, grid, labels) for name, (channels, grid) in shapes.items()}
        return cls(planned, by_layer, len(images), labels, bool(images.labels), seed, batch)

    def batches(self) -> tuple[npt.NDArray[np.int64], ...]:
        """The numbers of the images, in an order drawn with the seed, in batches: any prefix is a random sample."""
        # Raw numbers are what numpy promises to keep from version to version; its permutations are not.
        order = np.argsort(np.random.PCG64(self.seed).random_raw(self.images), kind="stable")
        return tuple(order[start : start + self.batch] for start in range(0, self.images, self.batch))

    def pairs(self) -> Iterator[tuple[SurveyLayer, Accumulator]]:
        """Every accumulator with every layer that it reads."""
        for name, accumulators in self.accumulators.items():
            for accumulator in accumulators:
                yield self.layers[name], accumulator

    def distinct(self) -> tuple[Accumulator, ...]:
        """Every accumulator once."""
        return tuple(dict.fromkeys(accumulator for _, accumulator in self.pairs()))

    def describe(self, network: Network, images: ImageList) -> dict[str, Any]:
        """The plan as plain values: a folder holds one plan, and the survey is resumed only with the same."""
        return {
            "images": self.images,
            "digest": images.digest,
            "model": {"name": network.name, "sha256": network.sha256 or _hash_weights(network)},
            "preprocess": str(network.preprocess),
            "layers": list(self.layers),
            "accumulators": [dict(accumulator.manifest()) for accumulator in self.distinct()],
            "labels": len(images.labels),
            "seed": self.seed,
            "batch": self.batch,
            "torch": torch.__version__,
            "device": network.device.type,
        }


def _check_tables(accumulators: Sequence[Accumulator], read: Mapping[Accumulator, tuple[str, ...]]) -> None:
    """Refuse, before the pass, accumulators that write the same table, or one that they do not declare."""
    names = [str(accumulator.name) for accumulator in accumulators]
    if len(set(names)) < len(names):
        raise OptionError(f"the accumulators are {', '.join(names)}; give each once")
    writers: dict[str, str] = {"the array pixels": "the survey"}
    with_units: dict[tuple[str, ...], str] = {}
    for accumulator in accumulators:
        for output in _outputs(accumulator):
            writer = writers.setdefault(output, str(accumulator.name))
            if writer != accumulator.name:
                raise OptionError(f"{output} is written by {writer} and by {accumulator.name}; leave one of them out")
        if "units" in accumulator.tables:
            with_units.setdefault(tuple(sorted(read[accumulator])), str(accumulator.name))
    if len(with_units) > 1:
        raise OptionError(f"{' and '.join(with_units.values())} write to units and must read the same layers")


def _outputs(accumulator: Accumulator) -> Iterator[str]:
    """The tables, columns of "units" and arrays that an accumulator writes, tried on a layer of two channels."""
    layer = SurveyLayer("a layer", 2, (1, 1), ("a label",))
    state = accumulator.compact(accumulator.start(layer))
    for kind, declared, returned in (
        ("table", accumulator.tables, accumulator.result(state, layer)),
        ("array", accumulator.arrays, accumulator.layer_arrays(state, layer)),
    ):
        if undeclared := sorted(set(returned) - set(declared)):
            raise OptionError(f"{accumulator.name} returns the {kind} {undeclared[0]} and does not declare it")
        yield from (f"the {kind} {name}" for name in declared if name != "units")
    yield from (f"the column {column} of units" for column in accumulator.result(state, layer).get("units", {}))
    if accumulator.image_array:
        yield f"the array {accumulator.name}"


def _shape(network: Network, layer: str) -> tuple[int, tuple[int, int]]:
    """Channels and grid."""
    match network.shape(layer):
        case (channels,):
            return channels, (1, 1)
        case (channels, rows, columns):
            return channels, (rows, columns)
        case shape:
            raise LayerError(
                f"{layer} of {network.name} gives {shape} for an image; a survey wants (C,) or (C, H, W). Choose other "
                "layers, or wrap the network"
            )


def _hash_weights(network: Network) -> str:
    """SHA-256 of the weights of a network that come from no file: after more training it is another network."""
    digest = hashlib.sha256()
    for name, tensor in (*network.module.named_parameters(), *network.module.named_buffers()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
