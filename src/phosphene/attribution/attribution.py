"""The base class of attribution methods, which compute the pixels that a target depends on."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phosphene.attribution.forward_pass import ForwardPass
from phosphene.core.errors import OptionError
from phosphene.core.inputs import Pictures, Target, bind_target, layer_name, prepare_inputs
from phosphene.core.networks import rules
from phosphene.core.networks.network import Images, Network
from phosphene.core.objectives.objective import Objective
from phosphene.core.registry import Named
from phosphene.core.result import Cost

Display = Literal["heat", "magnitude", "color", "classes"]
"""How a map is drawn: the sum of its channels, their greatest magnitude, as colors around grey, or as classes."""


@dataclasses.dataclass(frozen=True)
class Attribution(Named):
    """A method that computes which pixels a target depends on. Subclasses write `map`, and say what they read.

    `attribute` runs one method; `attribute_all` runs several from one forward pass.
    """

    unit: ClassVar[str] = "target per unit of input"
    reading: ClassVar[str] = ""
    """One sentence on how to read the map."""
    weakness: ClassVar[str] = ""
    """One sentence on what the map is known not to show."""
    display: ClassVar[Display] = "heat"
    """How the map is drawn."""

    def __new__(cls, *values: Any, **options: Any) -> Self:
        """Refuse a network among the options: methods are made first and called with the network then."""
        if any(isinstance(value, Network) for value in (*values, *options.values())):
            raise OptionError(
                f"{cls.__name__} takes options here, and the network when it is called: "
                f"{cls.__name__}(…)(network, images, target), or attribute(network, images, method={cls.__name__}(…))"
            )
        return super().__new__(cls, *values, **options)

    @property
    def rule(self) -> rules.Rule | None:
        """The backward rule of the ReLUs; None for the plain gradient."""
        return None

    def gradient_layers(self, network: Network, target: Objective) -> frozenset[str]:  # noqa: ARG002  for subclasses
        """Layers at which the method reads the plain gradient; "input" for the pixels."""
        return frozenset()

    def reads(self, network: Network, target: Objective) -> frozenset[str]:
        """Layers whose activations the method reads, besides those that the target reads."""
        return self.gradient_layers(network, target) - {"input"}

    def layer_for(self, network: Network, target: Objective) -> tuple[str, str]:  # noqa: ARG002
        """The layer at which the map is computed, and why that layer; ("", "") for maps computed at the pixels."""
        return "", ""

    def cost(self, network: Network, images: Images) -> Cost:  # noqa: ARG002
        """Passes for these images, besides the shared forward pass."""
        return Cost()

    def map(self, run: ForwardPass, target: Objective) -> Tensor:
        """Raw, signed map of each image, (N, 1 or 3, H, W)."""
        raise NotImplementedError

    def notes(self, run: ForwardPass, target: Objective, values: Tensor) -> tuple[str, ...]:  # noqa: ARG002
        """Remarks on the map, such as why it is blank."""
        return () if values.any() else ("the map is zero everywhere: the target does not depend on the input here",)

    def __call__(self, network: Network, pictures: Pictures, target: Target | Sequence[Target] = "top") -> Tensor:
        """Raw map of each image, (N, 1 or 3, H, W); `attribute` returns the same with its provenance."""
        with torch.inference_mode(mode=False):  # the caller may have turned it on, and gradients need it off
            images = prepare_inputs(network, pictures).images
            bound, method = bind_target(network, target, images), bind_method(network, self)
            return method.map(forward_pass(network, images, [bound], [method]), bound)


MethodLike = str | type[Attribution] | Attribution
"""The name of a method, its class for the default options, or a method with its options."""


def bind_method(network: Network, method: MethodLike) -> Attribution:
    """A method whose layers are given by name, also where they were given as modules of the network.

    Raises:
        OptionError: no such method.
        LayerError: a module of another network.
    """
    chosen = Attribution.make(method)
    values = {option.name: getattr(chosen, option.name) for option in chosen.options()}
    layers = {name: layer_name(network, value) for name, value in values.items() if isinstance(value, nn.Module)}
    return dataclasses.replace(chosen, **layers) if layers else chosen


def forward_pass(
    network: Network,
    images: Images,
    targets: Sequence[Objective],
    methods: Sequence[Attribution],
    *,
    also: Iterable[str] = (),
) -> ForwardPass:
    """The one forward pass from which all methods compute their maps of all targets; `also` records more layers."""
    pairs = [(method, target) for method in methods for target in targets]
    return ForwardPass(
        network,
        images,
        frozenset().union(*(method.reads(network, target) | target.reads for method, target in pairs)),
        gradient_layers=frozenset().union(*(method.gradient_layers(network, target) for method, target in pairs)),
        with_rules=any(method.rule is not None for method in methods),
        backwards=_backwards(network, images, pairs),
        also=also,
    )


def _backwards(network: Network, images: Images, pairs: Sequence[tuple[Attribution, Objective]]) -> int:
    """Backward passes from one shared forward pass: one for each target by the plain rule, the rest by other rules."""
    plain = {target for method, target in pairs if method.gradient_layers(network, target)}
    by_rules = [
        method.cost(network, images).backwards // len(images) - bool(method.gradient_layers(network, target))
        for method, target in pairs
        if method.rule is not None
    ]
    return len(plain) + sum(by_rules)


def upsample(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Maps of a layer at the size of the images: bilinear, pixel centers aligned (align_corners=False)."""
    return F.interpolate(maps, tuple(size), mode="bilinear", align_corners=False)
