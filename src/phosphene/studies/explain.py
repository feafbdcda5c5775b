"""The main study: predictions, every map, scores of the maps, cut-out, boxes and activations of one picture."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from phosphene.attribution import Attribution, Heatmap, MethodLike
from phosphene.attribution.attribution import bind_method, forward_pass
from phosphene.attribution.evaluate.deletion import Curves, deletion, insertion
from phosphene.attribution.evaluate.sanity import UPPER_HALF, Sanity, sanity_all
from phosphene.attribution.forward_pass import ForwardPass
from phosphene.attribution.heatmap import heatmap
from phosphene.attribution.localize.boxes import box_in_photograph, boxes
from phosphene.attribution.localize.cutout import cutout
from phosphene.attribution.perturbation.engine import Engines
from phosphene.core.errors import OptionError, PhospheneError
from phosphene.core.inputs import (
    OnePicture,
    Target,
    bind_target,
    check_network,
    layer_name,
    one_input,
    prepare_inputs,
)
from phosphene.core.networks.anatomy import spread_layers
from phosphene.core.networks.network import Box, Images, Network
from phosphene.core.objectives.objective import Objective
from phosphene.core.progress import Progress, Watch
from phosphene.core.result import Cost
from phosphene.studies.explanation import Explanation, unique_names
from phosphene.weights.activation_maps import ActivationMaps
from phosphene.weights.activations import activations_all

DEFAULT = (
    "grad-cam",
    "grad-cam++",
    "layer-cam",
    "cam",
    "occlusion",
    "gradient",
    "smoothgrad",
    "input-x-gradient",
    "integrated-gradients",
    "guided-backprop",
    "guided-grad-cam",
    "deconvnet",
)
"""Methods that `explain` runs by default: all that take seconds on a laptop."""

RANDOM = "pixels at random"
"""Name of the random order of pixels that is scored beside the maps."""

CHEAP = 4
"""Passes per map up to which it is scored by weight randomization."""

CHANNELS = 32
"""Channels of a layer that are drawn, the strongest first."""


def explain(
    network: Network,
    picture: OnePicture,
    target: Target = "top",
    *,
    methods: Sequence[MethodLike] = DEFAULT,
    layers: Sequence[str] | None = None,
    scores: bool = True,
    steps: int = 20,
    seed: int = 0,
    watch: Watch | None = None,
) -> Explanation:
    """Predictions, maps, activation maps, cut-out, boxes and scores of one picture.

    Predictions, activations and all maps that one forward pass can give come from one; see `explanation_cost`. A method
    that cannot work on the network is left out with its reason among the notes.

    Args:
        network: that is explained.
        picture: a path, a Picture, a Pillow image or an array of any size, or an image (1, 3, H, W), as it is.
        target: what to explain; the best class by default.
        methods: names, classes, or methods with options.
        layers: whose activations to show; by default three, spread over the network.
        scores: whether maps are scored: deletion, insertion, weight randomization.
        steps: of the deletion and insertion curves.
        seed: of the random weights, and of the random order of pixels.
        watch: is told of progress; true leaves out the maps and scores that are not done yet.

    Raises:
        TargetError: no such target.
        OptionError: no method of that name.
    """
    start, plan = time.perf_counter(), _plan(network, methods, layers, scores=scores, steps=steps, seed=seed)
    inputs = one_input(prepare_inputs(network, picture), "explain")
    images, (seen,) = inputs.images, inputs.boxes
    top = isinstance(target, str) and target == "top"  # known after the pass; until then any class stands for it
    chosen = bind_target(network, 0 if top else target, images)
    work = _Work(network, images, plan, watch)
    usable = work.usable(chosen)
    with torch.inference_mode(mode=False):
        run = forward_pass(network, images, [chosen], usable, also={"logits", *plan.layers})
    predictions = network.top_classes(run.activations["logits"].detach())[0]
    if top:
        chosen = bind_target(network, predictions[0].index, images)
    heatmaps = work.heatmaps(run, usable, chosen)
    maps = unique_names(heatmaps)
    return Explanation(
        network=network, inputs=inputs.pictures, target=chosen, images=images, seen=seen, predictions=predictions,
        heatmaps=tuple(heatmaps),
        activations=_activations(run, plan.layers),
        cutout=cutout(images, _map_of_region(maps).values) if maps else None,
        boxes=_boxes(maps, seen),
        curves=work.curves(maps, chosen) if scores else {},
        sanity=work.sanities(maps, chosen) if scores else {},
        options=plan.options(heatmaps),
        seed=seed,
        cost=dataclasses.replace(work.total, seconds=time.perf_counter() - start),
        notes=tuple(work.notes),
    )  # fmt: skip


def explanation_cost(
    network: Network,
    *,
    methods: Sequence[MethodLike] = DEFAULT,
    scores: bool = True,
    steps: int = 20,
) -> Cost:
    """The passes that `explain` will run for one picture: the shared one, those of the maps, and those of their scores.

    Args:
        network: that is explained.
        methods: see `explain`.
        scores: see `explain`.
        steps: see `explain`.

    >>> print(explanation_cost(tiny, methods=["grad-cam", "gradient"], scores=False))
    1 forward, 2 backwards
    """
    return _plan(network, methods, (), scores=scores, steps=steps, seed=0).cost(network)


@dataclasses.dataclass(frozen=True)
class _Plan:
    """The options of one explanation."""

    methods: tuple[Attribution, ...]
    layers: tuple[str, ...]
    scores: bool
    steps: int
    seed: int

    def options(self, heatmaps: Sequence[Heatmap]) -> dict[str, Any]:
        """What was chosen, as plain values; of the methods, those that gave a map."""
        methods = [dict(made.method.manifest()) for made in heatmaps]
        return {"methods": methods, "layers": list(self.layers), "scores": self.scores, "steps": self.steps}

    def cost(self, network: Network) -> Cost:
        """Passes for one picture; a method that cannot work costs none."""
        image = torch.zeros(1, 3, *network.preprocess.size)
        curves = Cost(forwards=2 * (self.steps + 1) * self.scores)
        total = Cost(forwards=1) + curves
        for method in self.methods:
            try:
                own = method.cost(network, image)
            except PhospheneError:
                continue
            total += own + curves
            total += own + Cost(forwards=1) if self.scores and _cheap(own) else Cost()
        return total


def _plan(
    network: Network,
    methods: Sequence[MethodLike],
    layers: Sequence[str] | None,
    *,
    scores: bool,
    steps: int,
    seed: int,
) -> _Plan:
    """The options with methods looked up by name, and default layers."""
    if not methods:
        raise OptionError(f"no method was given; there are {', '.join(sorted(Attribution.table))}")
    network = check_network(network)
    chosen = tuple(bind_method(network, method) for method in methods)
    names = spread_layers(network) if layers is None else tuple(layer_name(network, layer) for layer in layers)
    return _Plan(chosen, names, scores, steps, seed)


class _Work:
    """The steps of one explanation; counts their passes, tells a watcher, and skips what it no longer wants."""

    def __init__(self, network: Network, images: Images, plan: _Plan, watch: Watch | None) -> None:
        self.network, self.images, self.plan, self.watch = network, images, plan, watch
        self.total, self.done, self.stopped = plan.cost(network), Cost(forwards=1), False
        self.notes: list[str] = []

    def begin(self, what: str) -> bool:
        """Whether to go on with a step, after telling the watcher."""
        if not self.stopped and self.watch is not None:
            done, total = (cost.forwards + cost.backwards for cost in (self.done, self.total))
            self.stopped = bool(self.watch(Progress(min(done, total), total, what)))
            if self.stopped:
                self.notes.append(f"stopped before {what}; everything from there on is left out")
        return not self.stopped

    def usable(self, target: Objective) -> list[Attribution]:
        """The methods that work on this network; the others are named in the notes."""
        methods = []
        for method in self.plan.methods:
            try:
                method.reads(self.network, target)
                methods.append(method)
            except PhospheneError as error:
                self.notes.append(f"{method.name} is left out: {error}")
        return methods

    def heatmaps(self, run: ForwardPass, methods: Sequence[Attribution], target: Objective) -> list[Heatmap]:
        """The maps of the methods; those that fail are named in the notes."""
        heatmaps = []
        for method in methods:
            if not self.begin(str(method.name)):
                break
            try:
                made = heatmap(run, method, target)
            except PhospheneError as error:
                self.notes.append(f"{method.name} is left out: {error}")
                continue
            heatmaps.append(made)
            self.done += made.cost
        return heatmaps

    def curves(self, maps: Mapping[str, Heatmap], target: Objective) -> dict[str, tuple[Curves, Curves]]:
        """Deletion and insertion of each map, and of pixels in random order, which every map should beat."""
        engines, curves = Engines(self.network), dict[str, tuple[Curves, Curves]]()
        noise = torch.rand(self.images[:, :1].shape, generator=torch.Generator().manual_seed(self.plan.seed))
        for name, values in {**{name: made.values for name, made in maps.items()}, RANDOM: noise}.items():
            if not self.begin(f"scoring {name}"):
                break
            fall, rise = (
                measure(self.network, self.images, values, target, steps=self.plan.steps, engines=engines)
                for measure in (deletion, insertion)
            )
            curves[name] = fall, rise
            self.done += fall.cost + rise.cost
        return curves

    def sanities(self, maps: Mapping[str, Heatmap], target: Objective) -> dict[str, Sanity]:
        """How the cheap maps change when the upper half of the weights is random."""
        cheap = {name: made.method for name, made in maps.items() if _cheap(made.cost)}
        if not self.begin("randomizing the weights"):
            return {}
        measured = sanity_all(
            self.network, self.images, list(cheap.values()), target, stages=(UPPER_HALF,), seed=self.plan.seed
        )
        return dict(zip(cheap, measured, strict=True))


def _activations(run: ForwardPass, layers: Sequence[str]) -> tuple[ActivationMaps, ...]:
    """The activations of some layers, as the shared pass recorded them."""
    if not layers:
        return ()
    recorded = {layer: run.activations[layer].detach() for layer in layers}
    return activations_all(run.network, run.images, layers, top=CHANNELS, recorded=recorded).layers


def _boxes(maps: Mapping[str, Heatmap], seen: Box) -> dict[str, Box]:
    """Boxes in the photograph, of the maps of regions that have one."""
    located = {name: boxes(made.values)[0] for name, made in maps.items() if made.values.shape[1] == 1}
    return {
        name: box_in_photograph(box, maps[name].images.shape[-2:], seen)
        for name, box in located.items()
        if box is not None
    }


def _cheap(cost: Cost) -> bool:
    return cost.forwards + cost.backwards <= CHEAP


def _map_of_region(maps: Mapping[str, Heatmap]) -> Heatmap:
    """The map for the cut-out: Grad-CAM, whose region is connected where a gradient is scattered, or else the first."""
    return maps.get("grad-cam") or next(iter(maps.values()))
