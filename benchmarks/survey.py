"""What a survey costs on top of the pass, and against peers: python benchmarks/survey.py FOLDER [NETWORK …] [--peers].

Decoded batches are kept in memory, so that only the network and the accumulators are timed. One thread.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from interleave import compare
from occlusion import build
from phosphene.cli.memory import keep_memory
from phosphene.core.networks.network import Network
from phosphene.survey.accumulators import default_accumulators
from phosphene.survey.engine.fold import Batch, Fold
from phosphene.survey.engine.plan import BATCH, SurveyPlan
from phosphene.survey.engine.threads import label_places
from phosphene.survey.sources.image_list import ImageList, list_images

LAYERS = {"lite0": (), "resnet50": ("conv1", "**.conv?", "**.downsample.0"), "vgg16": ()}
"""The default layers, every block output and the logits; on resnet50 every convolution."""


class Bench:
    """Some photographs, decoded once; each round shows them shifted and mirrored another way, so none comes twice."""

    def __init__(self, name: str, folder: str, count: int) -> None:
        self.network: Network = build(name)
        self.list: ImageList = list_images(folder, limit=count)
        accumulators = default_accumulators(self.network)
        self.plan = SurveyPlan.of(self.network, self.list, accumulators, layers=LAYERS[name])
        prepared = [self.network.prepare(self.list.load(number)).images for number in range(len(self.list))]
        self.images = torch.cat(prepared)
        self.labels, self.fold, self.round = label_places(self.list), Fold(self.plan), 0

    def batches(self) -> Iterator[Batch]:
        """The photographs of another round, under new numbers."""
        self.round += 1
        images = self.images.roll((7 * self.round, 13 * self.round), (2, 3))
        images = images.flip(3) if self.round % 2 else images
        count = len(images)
        for start in range(0, count, BATCH):
            part = images[start : start + BATCH]
            numbers = np.arange(start, start + len(part)) + count * self.round
            facts = {
                number: np.zeros((), [("predicted", "i4"), ("probability", "f4"), ("logit", "f4")])
                for number in numbers.tolist()
            }
            yield Batch(0, numbers, part, facts, {}, {})

    def bare(self) -> None:
        """The module alone."""
        with torch.inference_mode():
            for batch in self.batches():
                self.network.module(self.network.preprocess.normalize(batch.images))

    def survey(self) -> None:
        """The pass with all accumulators."""
        labels = np.tile(self.labels, self.round + 2)
        for batch in self.batches():
            self.fold.add(self.fold.read(self.network, batch, labels))


def cost(bench: Bench, repeats: int, before: int) -> None:
    """The survey against the bare pass, from its first image on, and after many."""
    ways: dict[str, Callable[[], object]] = {"bare forward": bench.bare, "survey": bench.survey}
    units = sum(layer.channels for layer in bench.plan.layers.values())
    print(f"{len(bench.plan.layers)} layers, {units:,} units, k = 64")
    print(compare(ways, repeats))
    for _ in range(before):
        bench.survey()
    print(f"after {bench.round * len(bench.images) // 2:,} images and more")
    print(compare(ways, repeats))


class Pictures(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """What zennit-crp reads: normalized tensors and targets."""

    def __init__(self, images: Tensor) -> None:
        self.images = images

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.images[index], 0

    def __len__(self) -> int:
        return len(self.images)


def peers(bench: Bench, repeats: int, folder: Path) -> None:
    """zennit-crp as it ships, its activation maximization alone, and a pass for each layer as lucid's atlas has it."""
    from crp.attribution import CondAttribution
    from crp.concepts import ChannelConcept
    from crp.maximization import Maximization
    from crp.visualization import FeatureVisualization
    from zennit.composites import EpsilonPlusFlat

    module, count = bench.network.module, len(bench.images)
    layers = [name for name in bench.plan.layers if name in bench.network.layers]
    normal = bench.network.preprocess.normalize(bench.images)
    concept = ChannelConcept()

    def shipped() -> None:
        visualization = FeatureVisualization(
            CondAttribution(module),
            Pictures(normal),
            dict.fromkeys(layers, concept),
            max_target="max",
            path=str(folder),
        )
        visualization.run(EpsilonPlusFlat(), 0, count, BATCH, count + 1)

    def alone() -> None:
        best = Maximization("activation", "max", path=str(folder))
        with torch.inference_mode():
            for start in range(0, count, BATCH):
                by_layer: dict[str, Tensor] = {}
                bench.network.stream(bench.images[start : start + BATCH], layers, by_layer.__setitem__)
                numbers = np.arange(start, min(start + BATCH, count))
                for layer, maps in by_layer.items():
                    flat = maps if maps.ndim == 4 else maps[:, :, None, None]
                    best.analyze_layer(flat, concept, layer, numbers, np.zeros(len(numbers)))

    def pass_for_each_layer() -> None:
        for layer in bench.plan.layers:
            for image in bench.images.split(1):
                with torch.no_grad():
                    bench.network.tap(image, [layer])[layer].clone()

    ways = {"phosphene": bench.survey, "its maximization alone": alone, "a pass for each layer": pass_for_each_layer}
    print(compare({**ways, "zennit-crp, as it ships": shipped}, repeats))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("networks", nargs="*", default=["lite0", "resnet50"])
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--before", type=int, default=0, help="rounds to survey before the second measurement")
    parser.add_argument("--peers", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_memory()  # as the command line does
    for name in options.networks:
        print(f"\n{name}")
        bench = Bench(name, options.folder, options.images)
        if options.peers:
            with tempfile.TemporaryDirectory() as folder:
                peers(bench, options.repeats, Path(folder))
        else:
            cost(bench, options.repeats, options.before)


if __name__ == "__main__":
    main()
