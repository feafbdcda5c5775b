"""The main job: what a network makes of one picture, by every map, and how far to believe each."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence

import torch

from phosphene.attribution import Attribution, Heatmap
from phosphene.attribution.attribution import forward_pass
from phosphene.attribution.evaluate.deletion import Curves, deletion, insertion
from phosphene.attribution.evaluate.sanity import UPPER_HALF, Sanity, sanity_all
from phosphene.attribution.heatmap import heatmap
from phosphene.attribution.localize.boxes import box_in_photograph, boxes
from phosphene.attribution.localize.cutout import Cutout, cutout
from phosphene.attribution.perturbation.engine import Engines
from phosphene.core.errors import OptionError, PhospheneError
from phosphene.core.images.image import Picture
from phosphene.core.inputs import OnePicture, Target, bind_target, check_network, one_input, prepare_inputs
from phosphene.core.networks.anatomy import spread_layers
from phosphene.core.networks.network import Box, Images, Network, Prediction
from phosphene.core.objectives.objective import Objective
from phosphene.core.result import Cost
from phosphene.weights.activations import ActivationMaps, activations_all

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
"""Methods that `explain` runs unless told otherwise: all that take seconds on a laptop."""

RANDOM = "pixels at random"
"""Name of the order that is scored beside the maps."""

CHEAP = 4
"""Passes per map up to which the weight randomization is worth its time in a report."""

Watch = Callable[[int, int, str], None]
"""(passes done, passes in all, what runs now)"""


@dataclasses.dataclass(frozen=True, eq=False)
class Explanation:
    """What a network makes of one picture.

    Args:
        picture: the photograph.
        images: (1, 3, H, W), what the network saw of it.
        shown: the box of the photograph that it saw.
        network: which network.
        target: what was explained.
        predictions: the best classes.
        heatmaps: one for each method that works here.
        activations: one for each layer that was asked for.
        cutout: the thing, cut out by its saliency.
        boxes: method → box in the photograph, at 20 % of the map's maximum; of maps of regions, not of single pixels.
        curves: method → deletion and insertion.
        sanity: method → what is left of the map when the upper half of the weights is random.
        cost: all of it.
        notes: methods left out, and why.
    """

    picture: Picture
    images: Images
    shown: Box
    network: Network
    target: Objective
    predictions: tuple[Prediction, ...]
    heatmaps: tuple[Heatmap, ...]
    activations: tuple[ActivationMaps, ...]
    cutout: Cutout | None
    boxes: Mapping[str, Box]
    curves: Mapping[str, tuple[Curves, Curves]]
    sanity: Mapping[str, Sanity]
    cost: Cost
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Plan:
    """What `explain` will do, so that its cost can be told before it starts.

    Args:
        methods: which maps.
        layers: whose activations; three spread over the network by default.
        scores: whether maps are scored: deletion, insertion, weight randomization.
        steps: of the deletion and insertion curves.
        seed: of the random weights.
    """

    methods: tuple[Attribution, ...] = ()
    layers: tuple[str, ...] = ()
    scores: bool = True
    steps: int = 20
    seed: int = 0

    @classmethod
    def of(cls, network: Network, methods: Sequence[str | Attribution] = DEFAULT, **options: object) -> Plan:
        """A plan with methods found by name and layers chosen."""
        if not methods:
            raise OptionError(f"no method was given; there are {', '.join(sorted(Attribution.table))}")
        found = tuple(Attribution.find(each)() if isinstance(each, str) else each for each in methods)
        plan = cls(found, **options)  # type: ignore[arg-type]  # the fields of a plan
        return plan if plan.layers else dataclasses.replace(plan, layers=spread_layers(network))

    def cost(self, network: Network, images: Images) -> Cost:
        """Passes for one picture: the predictions, the shared pass, the maps, their scores."""
        total = Cost(forwards=2 + bool(self.layers) + 2 * (self.steps + 1) * self.scores)
        for method in self.methods:
            try:
                own = method.cost(network, images)
            except PhospheneError:
                continue
            total += own
            if self.scores:
                total += Cost(forwards=2 * (self.steps + 1))
                total += own + Cost(forwards=1) if _cheap(own) else Cost()
        return total


def explain(
    network: Network,
    picture: OnePicture,
    target: Target = "top",
    *,
    plan: Plan | None = None,
    watch: Watch | None = None,
) -> Explanation:
    """Predictions, maps, activation maps, cut-out, boxes and scores of one picture.

    All maps that one forward pass can give come from one. A method that cannot work on the network is left out with
    its reason among the notes; the rest goes on.

    Args:
        network: whose decision is explained.
        picture: a path, a Picture, a Pillow image or an array of any size, or an image (1, 3, H, W), as it is.
        target: what to explain; the best class by default.
        plan: which maps and scores; `Plan.of(network)` by default.
        watch: told of progress.

    Raises:
        TargetError: no such target.
        OptionError: no method of that name.
    """
    start, plan = time.perf_counter(), plan or Plan.of(check_network(network))
    inputs = one_input(prepare_inputs(network, picture), "explain")
    images, (shown,) = inputs.images, inputs.boxes
    predictions = network.predict(images)[0]
    chosen = bind_target(network, predictions[0].index if target == "top" else target, images)
    job = _Job(network, images, chosen, plan, watch)
    heatmaps, notes = job.maps()
    names = {each.name: each for each in heatmaps}
    found = {name: boxes(each.values)[0] for name, each in names.items() if each.values.shape[1] == 1}
    return Explanation(
        inputs.pictures[0],
        images,
        shown,
        network,
        chosen,
        predictions,
        heatmaps,
        tuple(activations_all(network, images, plan.layers, top=32)) if plan.layers else (),
        cutout(images, _region(heatmaps).values) if heatmaps else None,
        {name: box_in_photograph(box, images.shape[-2:], shown) for name, box in found.items() if box is not None},
        job.curves(names) if plan.scores else {},
        job.sanities(names) if plan.scores else {},
        dataclasses.replace(plan.cost(network, images), seconds=time.perf_counter() - start),
        notes,
    )


class _Job:
    """The steps of one explanation, which add their passes up and tell a watcher how far they are."""

    def __init__(self, network: Network, images: Images, target: Objective, plan: Plan, watch: Watch | None) -> None:  # noqa: PLR0917
        self.network, self.images, self.target, self.plan, self.watch = network, images, target, plan, watch
        self.total, self.done = plan.cost(network, images), Cost()

    def notify(self, what: str, cost: Cost = Cost()) -> None:
        self.done += cost
        if self.watch is not None:
            done, total = (each.forwards + each.backwards for each in (self.done, self.total))
            self.watch(min(done, total), total, what)

    def maps(self) -> tuple[tuple[Heatmap, ...], tuple[str, ...]]:
        """The maps of the methods that work here, and why the others do not."""
        usable, found, notes = [], [], []
        for method in self.plan.methods:
            try:
                method.reads(self.network, self.target)
                usable.append(method)
            except PhospheneError as error:
                notes.append(f"{method.name} is left out: {error}")
        run = forward_pass(self.network, self.images, [self.target], usable)
        for method in usable:
            self.notify(str(method.name))
            try:
                found.append(heatmap(run, method, self.target))
                self.notify(str(method.name), found[-1].cost)
            except PhospheneError as error:
                notes.append(f"{method.name} is left out: {error}")
        return tuple(found), tuple(notes)

    def curves(self, maps: Mapping[str, Heatmap]) -> dict[str, tuple[Curves, Curves]]:
        """Deletion and insertion of each map, and of pixels in random order, which any map must beat."""
        engines, found = Engines(self.network), {}
        noise = torch.rand(self.images[:, :1].shape, generator=torch.Generator().manual_seed(self.plan.seed))
        for name, values in {**{name: each.values for name, each in maps.items()}, RANDOM: noise}.items():
            self.notify(f"scoring {name}")
            falls, rises = (
                way(self.network, self.images, values, self.target, steps=self.plan.steps, engines=engines)
                for way in (deletion, insertion)
            )
            found[name] = falls, rises
            self.notify(f"scoring {name}", falls.cost + rises.cost)
        return found

    def sanities(self, maps: Mapping[str, Heatmap]) -> dict[str, Sanity]:
        """What is left of each cheap map when the upper half of the weights is random."""
        cheap = {name: each.method for name, each in maps.items() if _cheap(each.cost)}
        self.notify("randomizing the weights")
        found = sanity_all(
            self.network, self.images, list(cheap.values()), self.target, stages=(UPPER_HALF,), seed=self.plan.seed
        )
        return dict(zip(cheap, found, strict=True))


def _cheap(cost: Cost) -> bool:
    return cost.forwards + cost.backwards <= CHEAP


def _region(heatmaps: Sequence[Heatmap]) -> Heatmap:
    """The map to cut out by: Grad-CAM, whose region is whole where a gradient is grains, or else the first."""
    return next((each for each in heatmaps if each.name == "grad-cam"), heatmaps[0])
