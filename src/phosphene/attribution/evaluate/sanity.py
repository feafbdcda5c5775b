"""How far to believe a method: destroy what the network has learned, layer by layer, and its maps must notice."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from phosphene.attribution.attribution import Attribution
from phosphene.attribution.heatmap import Heatmap, attribute_all
from phosphene.core.errors import OptionError
from phosphene.core.networks.network import Images, Network
from phosphene.core.objectives.grammar import resolve
from phosphene.core.objectives.objective import Objective
from phosphene.core.result import Cost

UPPER_HALF = 0.5
"""The stage to quote where one number must do: with all weights random even an edge detector of the network is gone,
and with a few the maps of methods that look at the pixels alone are the same to the last digit."""


@dataclasses.dataclass(frozen=True, eq=False)
class Sanity:
    """How alike the maps of a network and of its randomized copies are.

    Args:
        method: with all its options.
        target: as text.
        stages: share of the modules with weights that were randomized, counted from the head, (S,).
        reached: the lowest module randomized at each stage, (S,).
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
    method: str | Attribution,
    target: str | int | Objective = "top",
    *,
    stages: Sequence[float] = (0.02, 0.25, 0.5, 0.75, 1.0),
    seed: int = 0,
) -> Sanity:
    """Whether a map depends on what the network has learned: maps of copies randomized from the head down, compared.

    At each stage the weights of so many modules, the last first, are permuted within each tensor: their scale stays,
    what they say goes. A method that explains the network must change; one that stays near 1 draws edges of the image.
    The network itself is not touched. Cost: for each stage, and once more, 1 forward pass and what the method takes.

    Differs from the paper: weights are permuted, not drawn anew; every tensor of parameters counts, also those that
    belong to no layer, and running statistics stay.

    Args:
        network: whose decision is explained.
        images: (N, 3, H, W), RGB in [0, 1].
        method: a registered name, or a method with its options.
        target: what is explained, as the intact network sees it.
        stages: shares of the modules with weights, rising, in (0, 1].
        seed: of the permutations.

    Raises:
        OptionError: shares in another order, or no method of that name.

    Reference: Adebayo et al., NeurIPS 2018, section 3.

    >>> sanity(tiny, images, "gradient", "goldfish", stages=(0.5, 1)).signed.shape
    torch.Size([2, 2])
    """
    chosen = Attribution.find(method)() if isinstance(method, str) else method
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
        target: what is explained, as the intact network sees it.
        stages: shares of the modules with weights, rising, in (0, 1].
        seed: of the permutations.

    Raises:
        OptionError: shares in another order.
    """
    if not stages or any(not 0 < share <= 1 for share in stages) or list(stages) != sorted(stages):
        raise OptionError(f"stages are {tuple(stages)}; want rising shares of the modules, in (0, 1]")
    images = network.check(images)
    target = resolve(target, network, images)
    reached, found = [], [attribute_all(network, images, [target], methods)]
    for name, randomized in _cascade(network, stages, seed):
        reached.append(name)
        found.append(attribute_all(randomized, images, [target], methods))
    return [_compared(maps, tuple(stages), tuple(reached)) for maps in zip(*found, strict=True)]


def _compared(maps: tuple[Heatmap, ...], stages: tuple[float, ...], reached: tuple[str, ...]) -> Sanity:
    """The maps of one method: that of the intact network, then one for each stage."""
    intact, *randomized = maps
    signed = torch.stack([rank_correlation(intact.values, each.values) for each in randomized])
    absolute = torch.stack([rank_correlation(intact.values.abs(), each.values.abs()) for each in randomized])
    cost = sum((each.cost + Cost(forwards=len(each.images)) for each in maps), start=Cost())
    notes = []
    for share, each in zip(stages, randomized, strict=True):
        blank = [str(i) for i, values in enumerate(each.values) if values.min() == values.max()]
        if blank:
            notes.append(f"at {share:g} the map of image {', '.join(blank)} is blank: its correlation counts as 0")
    return Sanity(intact.method, str(intact.target), stages, reached, signed, absolute, cost, tuple(notes))


def rank_correlation(one: Tensor, other: Tensor) -> Tensor:
    """Spearman's rank correlation of maps, each image by itself, (N,); equal values share their mean rank.

    A map that is the same everywhere has no ranks: its correlation counts as 0.

    >>> rank_correlation(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[1.0, 4.0, 9.0]]))
    tensor([1.], dtype=torch.float64)
    """
    pairs = zip(one.flatten(1), other.flatten(1), strict=True)
    ranked = [torch.stack([_ranks(each), _ranks(beside)]) for each, beside in pairs]
    return torch.stack([torch.corrcoef(pair)[0, 1].nan_to_num(0.0) for pair in ranked])


def _ranks(values: Tensor) -> Tensor:
    _, place, counts = torch.unique(values.cpu(), return_inverse=True, return_counts=True)
    means: Tensor = (counts.cumsum(0) - (counts - 1) / 2).double()
    return means[place]


def _cascade(network: Network, stages: Sequence[float], seed: int) -> Iterator[tuple[str, Network]]:
    """The lowest module randomized, and the copy, at each stage; one copy goes through all of them."""
    with torch.inference_mode(mode=False):  # the caller may be in it, and weights made there take no gradient
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
    """Shuffle the module's own parameters, those that are shared with a module above it once only."""
    for parameter in module.parameters(recurse=False):
        if id(parameter) not in done:
            done.add(id(parameter))
            places = torch.randperm(parameter.numel(), generator=random).to(parameter.device)
            parameter.data = parameter.data.flatten()[places].view_as(parameter)


def _from_the_head(network: Network) -> list[str]:
    """Modules that hold parameters of their own, the last to run first.

    A module that is never called, such as the projection inside an attention, goes with the one it is in; parameters
    of the network itself, such as a class token, enter at the bottom.
    """
    finished = {name.partition("#")[0]: place for place, name in enumerate(network.layers)}

    def place(name: str) -> int:
        while name and name not in finished:
            name = name.rpartition(".")[0]
        return finished.get(name, -1)

    holders = [
        name for name, each in network.module.named_modules() if next(each.parameters(recurse=False), None) is not None
    ]
    return sorted(holders, key=place, reverse=True)
