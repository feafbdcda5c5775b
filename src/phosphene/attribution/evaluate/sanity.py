"""The sanity check by weight randomization: randomize the weights layer by layer, and compare the maps."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from phosphene.attribution.attribution import Attribution, MethodLike, bind_method
from phosphene.attribution.heatmap import Heatmap, attribute_all
from phosphene.core.errors import OptionError
from phosphene.core.inputs import bind_target
from phosphene.core.networks.network import Images, Network
from phosphene.core.objectives.objective import Objective
from phosphene.core.result import Cost

UPPER_HALF = 0.5
"""The stage to report where one number must do. With all weights random, even maps that show edges alone change; with
few, maps that hardly depend on the upper layers do not change at all."""


@dataclasses.dataclass(frozen=True, eq=False)
class Sanity:
    """Rank correlations between the maps of a network and of its randomized copies.

    Args:
        method: with all its options.
        target: as text.
        stages: share of the modules with weights that were randomized, counted from the head, (S,).
        reached: the lowest randomized module at each stage, (S,).
        signed: rank correlation of the raw values with those of the intact network, in [-1, 1], (S, N).
        absolute: the same of the absolute values, in [-1, 1], (S, N).
        cost: passes.
        notes: which maps were blank.
    """

    method: Attribution
    target: str
    stages: tuple[float, ...]
    reached: tuple[str, ...]
    signed: Tensor
    absolute: Tensor
    cost: Cost
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "method": dict(self.method.manifest()),
            "target": self.target,
            "stages": list(self.stages),
            "reached": list(self.reached),
            "signed": self.signed.tolist(),
            "absolute": self.absolute.tolist(),
            "cost": dataclasses.asdict(self.cost),
            "notes": list(self.notes),
        }


def sanity(
    network: Network,
    images: Images,
    method: MethodLike,
    target: str | int | Objective = "top",
    *,
    stages: Sequence[float] = (0.02, 0.25, 0.5, 0.75, 1.0),
    seed: int = 0,
) -> Sanity:
    """Whether a map depends on the learned weights: compared with maps of copies randomized from the head down.

    At each stage the weights of a share of the modules, the last first, are permuted within each tensor, which keeps
    their distribution. The map of a method that explains the network must change; a correlation near 1 means that the
    map shows the image, such as its edges. The network itself is not changed. Cost: for each stage, and once more,
    1 forward pass and what the method takes.

    Differs from the paper: weights are permuted, not drawn anew; all parameters are, also those that belong to no
    layer; running statistics stay.

    Args:
        network: whose decision is explained.
        images: (N, 3, H, W), RGB in [0, 1].
        method: a registered name, or a method with its options.
        target: what is explained; "top" is the best class of the network before randomization.
        stages: shares of the modules with weights, increasing, in (0, 1].
        seed: of the permutations.

    Raises:
        OptionError: shares in another order, or no method of that name.

    Reference: Adebayo et al., NeurIPS 2018, section 3.

    >>> sanity(tiny, images, "gradient", "goldfish", stages=(0.5, 1)).signed.shape
    torch.Size([2, 2])
    """
    chosen = bind_method(network, method)
    return sanity_all(network, images, [chosen], target, stages=stages, seed=seed)[0]


def sanity_all(
    network: Network,
    images: Images,
    methods: Sequence[Attribution],
    target: str | int | Objective = "top",
    *,
    stages: Sequence[float] = (0.02, 0.25, 0.5, 0.75, 1.0),
    seed: int = 0,
) -> list[Sanity]:
    """`sanity` of several methods, in their order, on the same randomized copies and from the same passes.

    Args:
        network: whose decision is explained.
        images: (N, 3, H, W), RGB in [0, 1].
        methods: whose maps.
        target: what is explained; "top" is the best class of the network before randomization.
        stages: shares of the modules with weights, increasing, in (0, 1].
        seed: of the permutations.

    Raises:
        OptionError: shares in another order.
    """
    if not stages or any(not 0 < share <= 1 for share in stages) or list(stages) != sorted(stages):
        raise OptionError(f"stages are {tuple(stages)}; want increasing shares of the modules, in (0, 1]")
    images = network.check(images)
    target = bind_target(network, target, images)
    reached, heatmaps = [], [attribute_all(network, images, [target], methods)]
    for name, randomized in _randomized_copies(network, stages, seed):
        reached.append(name)
        heatmaps.append(attribute_all(randomized, images, [target], methods))
    return [_compared(of_method, tuple(stages), tuple(reached)) for of_method in zip(*heatmaps, strict=True)]


def _compared(heatmaps: tuple[Heatmap, ...], stages: tuple[float, ...], reached: tuple[str, ...]) -> Sanity:
    """The heatmaps of one method compared: that of the intact network, then one for each stage."""
    intact, *randomized = heatmaps
    values, copies = intact.values, [heatmap.values for heatmap in randomized]
    signed = torch.stack([rank_correlation(values, other) for other in copies])
    absolute = torch.stack([rank_correlation(values.abs(), other.abs()) for other in copies])
    cost = sum((heatmap.cost + Cost(forwards=len(heatmap.images)) for heatmap in heatmaps), start=Cost())
    notes = []
    for share, other in zip(stages, copies, strict=True):
        blank = [str(i) for i, values in enumerate(other) if values.min() == values.max()]
        if blank:
            notes.append(f"at {share:g} the map of image {', '.join(blank)} is blank: its correlation counts as 0")
    return Sanity(intact.method, str(intact.target), stages, reached, signed, absolute, cost, tuple(notes))


def rank_correlation(one: Tensor, other: Tensor) -> Tensor:
    """Spearman's rank correlation of maps, image by image, (N,); equal values share their mean rank.

    Where a map is the same everywhere, the correlation counts as 0.

    >>> rank_correlation(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[1.0, 4.0, 9.0]]))
    tensor([1.], dtype=torch.float64)
    """
    pairs = zip(one.flatten(1), other.flatten(1), strict=True)
    ranked = [torch.stack([_ranks(first), _ranks(second)]) for first, second in pairs]
    return torch.stack([torch.corrcoef(pair)[0, 1].nan_to_num(0.0) for pair in ranked])


def _ranks(values: Tensor) -> Tensor:
    _, index, counts = torch.unique(values.cpu(), return_inverse=True, return_counts=True)
    means: Tensor = (counts.cumsum(0) - (counts - 1) / 2).double()
    return means[index]


def _randomized_copies(network: Network, stages: Sequence[float], seed: int) -> Iterator[tuple[str, Network]]:
    """The lowest randomized module, and the copy, at each stage; it is one copy, randomized further at each stage."""
    with torch.inference_mode(mode=False):  # the caller may have turned it on; weights copied then take no gradient
        module = copy.deepcopy(network.module)
    shuffled = dataclasses.replace(network, module=module)
    vars(shuffled)["layers"] = network.layers  # the same modules: no need to trace them again
    random, names, done = torch.Generator().manual_seed(seed), _from_the_head(network), set[int]()
    start = 0
    for share in stages:
        end = max(1, round(share * len(names)))
        for name in names[start:end]:
            _permute(module.get_submodule(name), random, done)
        start = end
        yield names[end - 1], shuffled


@torch.inference_mode(mode=False)
def _permute(module: nn.Module, random: torch.Generator, done: set[int]) -> None:
    """Permute the module's own parameters; those that are shared with another module only once."""
    for parameter in module.parameters(recurse=False):
        if id(parameter) not in done:
            done.add(id(parameter))
            indices = torch.randperm(parameter.numel(), generator=random).to(parameter.device)
            parameter.data = parameter.data.flatten()[indices].view_as(parameter)


def _from_the_head(network: Network) -> list[str]:
    """Modules that hold parameters of their own, the last to run first.

    A module that is never called, such as the projection inside an attention, counts with the module that it is in;
    parameters of the network itself, such as a class token, come last.
    """
    position = {name.partition("#")[0]: i for i, name in enumerate(network.layers)}

    def order(name: str) -> int:
        while name and name not in position:
            name = name.rpartition(".")[0]
        return position.get(name, -1)

    names = [
        name
        for name, module in network.module.named_modules()
        if next(module.parameters(recurse=False), None) is not None
    ]
    return sorted(names, key=order, reverse=True)
