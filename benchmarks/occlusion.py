"""Occlusion against captum, and the best batch: python benchmarks/occlusion.py [NETWORK …] [--batches].

Patches of 32 × 32 on an image of 224 × 224, 169 of them at the default stride.
"""

from __future__ import annotations

import argparse
import functools

import captum.attr
import torch
from torch import Tensor, nn

from interleave import compare
from phosphene.attribution.perturbation.copies import Patches
from phosphene.attribution.perturbation.engine import Engine
from phosphene.attribution.perturbation.occlusion import Occlusion
from phosphene.cli.memory import keep_memory
from phosphene.core.networks.network import Network
from phosphene.core.objectives.classes import Logit
from phosphene.zoo import load

NETWORKS = {"lite0": "efficientnet-lite0", "resnet50": "torchvision:resnet50", "vgg16": "torchvision:vgg16"}
CLASS, BATCHES = Logit(282), (1, 2, 4, 8, 16)


def build(name: str) -> Network:
    """The embedded network with its weights, or one with random weights and statistics."""
    network = load(NETWORKS[name], weights=None if name == "lite0" else "random")
    for module in network.module.modules():
        if isinstance(module, nn.BatchNorm2d) and name != "lite0":
            nn.init.normal_(module.running_mean, 0, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return network


def theirs(network: Network, batch: Tensor, stride: int, size: int) -> Tensor:
    """Captum's map, with the mean color as patch."""
    method = captum.attr.Occlusion(network.module)
    windows, strides = (3, 32, 32), (3, stride, stride)
    with torch.no_grad():
        return method.attribute(batch, windows, strides, 0, CLASS.index, perturbations_per_eval=size)[:, :1]


def against_captum(network: Network, image: Tensor, repeats: int, stride: int) -> None:
    batch = network.preprocess.normalize(image)
    ours = functools.partial(Occlusion(patch=32, stride=stride, fill="mean"), network, image, CLASS)
    peers = {f"captum, batch {size}": functools.partial(theirs, network, batch, stride, size) for size in (1, 4, 8, 16)}
    print(compare({"phosphene": ours, **peers}, repeats))
    values, truth = ours(), peers["captum, batch 4"]()
    print(f"largest difference {(values - truth).abs().max():.1e} of {truth.abs().max():.1e}")


def batches(network: Network, image: Tensor, repeats: int, count: int = 48) -> None:
    corners = torch.randint(0, 192, (count, 2))
    patches = Patches(corners, (32, 32), torch.full_like(image, 0.5))
    engines = {size: Engine(network, batch=size) for size in BATCHES}
    runs = {
        f"batch {size}": functools.partial(engine.run, image, patches, {"logits"}, CLASS)
        for size, engine in engines.items()
    }
    first = runs.pop("batch 4")
    print(compare({"batch 4": first, **runs}, repeats))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="*", default=list(NETWORKS))
    parser.add_argument("--batches", action="store_true", help="time the engine at several batch sizes instead")
    parser.add_argument("--keep-memory", action="store_true", help="as the command line does")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--stride", type=int, default=16)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.keep_memory:
        keep_memory()
    torch.manual_seed(0)
    for name in options.networks:
        network, image = build(name), torch.rand(1, 3, 224, 224)
        print(f"\n{name}, {torch.get_num_threads()} threads")
        if options.batches:
            batches(network, image, options.repeats)
        else:
            against_captum(network, image, options.repeats, options.stride)


if __name__ == "__main__":
    main()
