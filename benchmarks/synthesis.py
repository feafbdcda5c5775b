"""What a step of synthesize costs on top of the pass: python benchmarks/synthesis.py [NETWORK …] [--what …].

A step is measured from one call of `watch` to the next, in rounds of some steps, each round beginning with another way;
the first line of a table is what the others are compared with. Seconds of the processor are told beside those of the
clock, because the machine may be shared. One thread; no transforms.

step: against a truncated forward and backward pass written out by hand. lucent: against a whole forward pass with
gradients of the weights, every module hooked. passes: with batch norms folded, channels last in memory, bfloat16.
gradient: what bfloat16 does to the gradient, and to the activation of a finished picture.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn

from interleave import Times
from occlusion import build
from phosphene.cli.memory import keep_memory
from phosphene.core.networks.fuse import fused
from phosphene.core.networks.network import Images, Network
from phosphene.core.objectives.classes import Logit
from phosphene.core.objectives.objective import Objective
from phosphene.core.objectives.units import Channel
from phosphene.synthesis.canvas.canvas import Canvas, Fourier, Pixels
from phosphene.synthesis.loop.loop import synthesize

Clock = tuple[float, float]
Way = Callable[[int], list[Clock]]
"""Number of steps → the clocks at the end of each."""

HALF = {"lite0": "blocks.3", "resnet50": "layer2", "vgg16": "features.15"}
UNIT = 5


class Half(Network):
    """A network whose passes run in bfloat16, as far as autocast does; what is read is float32 again."""

    def tap(self, images: Images, layers: Iterable[str], *, gradients: Iterable[str] = ()) -> dict[str, Tensor]:
        with torch.autocast(images.device.type, torch.bfloat16):
            result = super().tap(images, layers, gradients=gradients)
        return {name: value.float() for name, value in result.items()}


def half(network: Network) -> Network:
    return Half(*(getattr(network, value.name) for value in dataclasses.fields(network) if value.init))


def cast(network: Network) -> Network:
    """A copy with weights in bfloat16."""
    return dataclasses.replace(network, module=copy.deepcopy(network.module).bfloat16())


def sliced(name: str, module: nn.Module, layer: str) -> nn.Sequential:
    """The modules up to a layer, one after the other."""
    if name == "vgg16":
        if layer != "logits":
            return nn.Sequential(*module.features[: int(layer.rpartition(".")[2]) + 1])
        return nn.Sequential(module.features, module.avgpool, nn.Flatten(), module.classifier)
    if name == "lite0":
        if layer != "logits":
            return nn.Sequential(module.conv_stem, module.bn1, *module.blocks[: int(layer.rpartition(".")[2]) + 1])
        head = (module.blocks, module.conv_head, module.bn2, module.global_pool, module.classifier)
        return nn.Sequential(module.conv_stem, module.bn1, *head)
    stem = (module.conv1, module.bn1, module.relu, module.maxpool, module.layer1, module.layer2)
    if layer == "layer2":
        return nn.Sequential(*stem)
    return nn.Sequential(*stem, module.layer3, module.layer4, module.avgpool, nn.Flatten(), module.fc)


def wanted(layer: str) -> Objective:
    return Logit(UNIT) if layer == "logits" else Channel(layer, UNIT)


def now() -> Clock:
    return time.perf_counter(), time.thread_time()


def ours(network: Network, layer: str, count: int, canvas: Canvas) -> Way:
    """`synthesize` itself."""

    def way(steps: int) -> list[Clock]:
        ticks: list[Clock] = []

        def watch(*_: object) -> bool:
            ticks.append(now())
            return len(ticks) == steps

        # Long, for a long run is prepared as a short one is not; that comes before the first tick.
        synthesize(network, [wanted(layer)] * count, canvas, steps=256, watch=watch)
        return ticks

    return way


def passes(network: Network, layer: str, count: int) -> Way:
    """What `synthesize` asks of a network at each step, without the canvas."""
    images = network.check(torch.rand(count, 3, *network.preprocess.size))
    objective = wanted(layer)

    def way(steps: int) -> list[Clock]:
        ticks = []
        for _ in range(steps):
            leaf = images.clone().requires_grad_()
            torch.autograd.grad(objective(network.tap(leaf, objective.reads)).sum(), leaf)
            ticks.append(now())
        return ticks

    return way


def bare(name: str, network: Network, layer: str, count: int) -> Way:
    """The pass and its gradient, and nothing else."""
    module = sliced(name, network.module.eval().requires_grad_(False), layer)
    batch = network.preprocess.normalize(torch.rand(count, 3, *network.preprocess.size))

    def way(steps: int) -> list[Clock]:
        ticks = []
        for _ in range(steps):
            leaf = batch.clone().requires_grad_()
            torch.autograd.grad(module(leaf)[:, UNIT].flatten(1).mean(1).sum() if layer != "logits"
                                else module(leaf)[:, UNIT].sum(), leaf)  # fmt: skip
            ticks.append(now())
        return ticks

    return way


def lucent(network: Network, layer: str, count: int) -> Way:
    """A whole pass with gradients of all weights, as lucent makes it; its canvas and its optimizer are ours."""
    module = network.replicate().module.eval()

    def way(steps: int) -> list[Clock]:
        ticks, kept = [], {}
        for parameter in module.parameters():
            parameter.requires_grad_(True)
        handles = [
            value.register_forward_hook(lambda _, __, output, key=key: kept.__setitem__(key, output))
            for key, value in module.named_modules()
        ]
        painting = Fourier().begin(network, count, network.preprocess.size, generator=torch.Generator().manual_seed(0))
        mover = torch.optim.Adam(painting.parameters(), lr=0.05)
        for _ in range(steps):
            mover.zero_grad()
            module(network.preprocess.normalize(painting()))
            (-kept[layer][:, UNIT].mean((-2, -1)).sum()).backward()
            mover.step()
            ticks.append(now())
        for handle in handles:
            handle.remove()
        for parameter in module.parameters():  # they are those of the network
            parameter.grad = None
            parameter.requires_grad_(False)
        return ticks

    return way


def compare(ways: Mapping[str, Way], rounds: int, steps: int) -> str:
    """Seconds of a step, by the clock and of the processor: the median of each round."""
    result: list[dict[str, list[float]]] = [{name: [] for name in ways} for _ in range(2)]
    names = list(ways)
    for number in range(rounds + 1):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            ticks = ways[name](steps + 1)
            for clock, times in enumerate(result):
                took = [after[clock] - before[clock] for before, after in pairwise(ticks)]
                times[name] += [statistics.median(took)] if number else []
    return "\n".join(f"{title}\n{Times(times)}" for title, times in zip(("clock", "processor"), result, strict=True))


def tables(what: str, name: str, network: Network) -> Iterable[tuple[str, dict[str, Way]]]:
    """Titles, and what is compared."""
    quick = fused(network)
    for layer in (HALF[name], "logits"):
        for count in (1, 4):
            title = f"{name} {layer}, batch of {count}"
            plain = ours(network, layer, count, Fourier())
            if what == "step":
                ways = {"bare pass": bare(name, network, layer, count), "pixels": ours(network, layer, count, Pixels())}
                yield title, {**ways, "fourier": plain}
            elif what == "lucent" and layer != "logits":
                yield title, {"phosphene": plain, "as lucent": lucent(network, layer, count)}
            elif what == "passes":
                variants = {
                    "as it is": network,
                    "folded": fused(network, channels_last=False),
                    "channels last, too": quick,
                }
                variants |= {
                    "autocast": half(network),
                    "autocast, folded": half(quick),
                    "bfloat16, folded": cast(quick),
                }
                yield title, {key: passes(value, layer, count) for key, value in variants.items()}


def gradients(name: str, network: Network) -> None:
    """Cosine of the gradients, and what pictures made in bfloat16 reach, judged in float32."""
    for layer in (HALF[name], "logits"):
        images = torch.rand(4, 3, *network.preprocess.size, generator=torch.Generator().manual_seed(1))
        result = []
        for one_network in (network, half(network)):
            leaf = images.clone().requires_grad_()
            total = wanted(layer)(one_network.tap(leaf, wanted(layer).reads)).sum()
            result.append(torch.autograd.grad(total, leaf)[0].flatten(1))
        cosine = torch.cosine_similarity(*result).mean().item()
        reached = []
        for precision in ("float32", "bfloat16"):
            made = synthesize(network, [wanted(layer)] * 4, Fourier(), steps=64, precision=precision)
            with torch.no_grad():
                reached.append(wanted(layer)(network.tap(made.images, wanted(layer).reads)).mean().item())
        print(f"{name} {layer}: cosine {cosine:.4f}; 64 steps reach {reached[0]:.4g}, in bfloat16 {reached[1]:.4g}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=list(HALF))
    parser.add_argument("--what", nargs="+", default=["step", "lucent", "passes", "gradient"])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_memory()  # as the command line does
    for name in options.networks:
        network = build(name)
        for what in options.what:
            if what == "gradient":
                gradients(name, network)
            for title, ways in tables(what, name, network):
                print(f"\n{what}: {title}")
                print(compare(ways, options.rounds, options.steps), flush=True)


if __name__ == "__main__":
    main()
