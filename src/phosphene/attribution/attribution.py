"""Which pixels? One recorded pass, many questions, and the map that answers each."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from phosphene.core.errors import LayerError, RuleError
from phosphene.core.networks import rules
from phosphene.core.networks.network import Activations, Images, Network
from phosphene.core.objectives.objective import Objective
from phosphene.core.registry import Named
from phosphene.core.result import Cost

Shown = Literal["heat", "magnitude", "color", "classes"]
"""How a map is drawn: what its channels sum to, their greatest magnitude, as colors around grey, or as classes."""


class Pass:
    """One forward pass, recorded, that answers any number of questions.

    Gradients by the plain rule are taken at all the places asked for at once and kept; gradients by another rule
    follow from the same forward pass.

    Args:
        network: what ran.
        images: (N, 3, H, W), RGB in [0, 1].
        reads: layers whose activations are wanted.
        gradients: those whose gradient by the plain rule is wanted, "input" among them if need be.
        ruled: whether another rule will be asked for; only then is every ReLU caught.
        asks: how many times it will go back; after the last time the graph is freed, layer by layer as it goes.
    """

    def __init__(
        self,
        network: Network,
        images: Images,
        reads: Iterable[str],
        *,
        gradients: Iterable[str] = (),
        ruled: bool = False,
        asks: int = 1,
    ) -> None:
        # Tensors made in inference mode can never take part in a gradient; a copy of them can.
        self.network, self.images = network, images.clone() if images.is_inference() else images.detach()
        self.places, self.asks = tuple(sorted(gradients)), asks
        self.mode = rules.backward_rule() if ruled else None
        starts = {*self.places, "input"} if ruled else self.places
        with torch.set_grad_enabled(bool(starts)), self.mode or nullcontext():
            self.activations = network.tap(self.images, {*reads, *starts}, gradients=starts)
        self._kept: dict[Objective, Mapping[str, Tensor | None]] = {}

    def score(self, target: Objective) -> Tensor:
        """Value of a target for each image, (N,)."""
        return target(self.activations).detach()

    def gradient(self, target: Objective, at: str = "input") -> Tensor:
        """Derivative of a target by an activation, of the shape of that activation.

        Raises:
            LayerError: the target does not depend on it.
        """
        assert at in self.places, f"the pass was not told that the gradient at {at} would be wanted"
        if target not in self._kept:
            where = [self.activations[place] for place in self.places]
            self._kept[target] = dict(zip(self.places, self._backward(target, where), strict=True))
        gradient = self._kept[target][at]
        if gradient is None:
            raise LayerError(f"the target {target} does not depend on {at}; choose a layer that comes before it")
        return gradient

    def ruled_gradient(self, target: Callable[[Activations], Tensor], rule: rules.Rule, asked: str | None) -> Tensor:
        """What arrives at the pixels, (N, 3, H, W), when every ReLU goes back by a rule that a method asked for.

        Raises:
            RuleError: the gradient met no ReLU on its way, so the rule would change nothing.
            LayerError: the target does not depend on the pixels.
        """
        assert self.mode is not None, "the pass was not told that a rule would be asked for"
        passed, self.mode.rule = self.mode.passed, rule
        try:
            (gradient,) = self._backward(target, [self.activations["input"]])
        finally:
            self.mode.rule = rules.gradient
        if gradient is None:
            raise LayerError(f"the target {target} does not depend on the pixels; choose another target")
        if self.mode.passed == passed:
            raise RuleError(
                f"{asked} met no ReLU {self._where(target)}: the map would be the plain gradient. "
                "Use the method gradient."
            )
        return gradient

    def _where(self, target: object) -> str:
        """Where no ReLU was met: in the whole network, with what it has in their stead, or only behind the target."""
        assert self.mode is not None
        if self.mode.met["relu"] or "logits" not in self.activations:
            return f"between {target} and the pixels of {self.network.name}"
        smooth = ", ".join(f"{count} {name}" for name, count in self.mode.met.items() if count)
        return f"in {self.network.name}{f' ({smooth})' if smooth else ''}"

    def _backward(self, target: Callable[[Activations], Tensor], where: list[Tensor]) -> tuple[Tensor | None, ...]:
        with torch.enable_grad():
            total = target(self.activations).sum()
        if not total.requires_grad:
            return tuple(None for _ in where)
        self.asks -= 1
        return torch.autograd.grad(total, where, retain_graph=self.asks > 0, allow_unused=True)


@dataclasses.dataclass(frozen=True)
class Attribution(Named):
    """A way to say which pixels matter to a target. Subclasses write `map`, and say what they need of the pass.

    `attribute` runs one method; `attribute_all` lets many share a pass.
    """

    unit: ClassVar[str] = "target per unit of input"
    reading: ClassVar[str] = ""
    """One sentence on how to read the map."""
    weakness: ClassVar[str] = ""
    """One sentence on what the map is known not to show."""
    shown: ClassVar[Shown] = "heat"
    """How it is drawn."""

    @property
    def rule(self) -> rules.Rule | None:
        """The backward rule it asks of the ReLUs; None for the plain gradient."""
        return None

    def places(self, network: Network, target: Objective) -> frozenset[str]:  # noqa: ARG002  for those that choose
        """Where it wants the plain gradient."""
        return frozenset()

    def reads(self, network: Network, target: Objective) -> frozenset[str]:
        """Activations that it wants besides those that the target reads."""
        return self.places(network, target) - {"input"}

    def layer_for(self, network: Network, target: Objective) -> tuple[str, str]:  # noqa: ARG002
        """The layer that the map is computed at, and why that one; ("", "") where the map is one of pixels."""
        return "", ""

    def cost(self, network: Network, images: Images) -> Cost:  # noqa: ARG002
        """Passes for these images, on top of the shared forward pass."""
        return Cost()

    def map(self, run: Pass, target: Objective) -> Tensor:
        """Raw map of each image, (N, 1 or 3, H, W)."""
        raise NotImplementedError

    def explain(self, run: Pass, target: Objective, values: Tensor) -> tuple[str, ...]:  # noqa: ARG002
        """What to say beside the map, such as why it is blank."""
        return () if values.any() else ("the map is zero everywhere: the target does not react to the input here",)

    def __call__(self, network: Network, images: Images, target: Objective) -> Tensor:
        """Raw map of each image, (N, 1 or 3, H, W); `attribute` returns the same with its provenance."""
        with torch.inference_mode(mode=False):  # the caller may be in it, and gradients are none of its business
            target = target.bind(network)
            return self.map(record(network, images, [target], [self]), target)


def record(network: Network, images: Images, targets: Sequence[Objective], methods: Sequence[Attribution]) -> Pass:
    """The one pass that some methods need for some targets."""
    pairs = [(method, target) for method in methods for target in targets]
    return Pass(
        network,
        images,
        frozenset().union(*(method.reads(network, target) | target.reads for method, target in pairs)),
        gradients=frozenset().union(*(method.places(network, target) for method, target in pairs)),
        ruled=any(method.rule is not None for method in methods),
        asks=_asks(network, images, pairs),
    )


def _asks(network: Network, images: Images, pairs: Sequence[tuple[Attribution, Objective]]) -> int:
    """How many times a shared pass goes back: once for each target by the plain rule, and for each seed by another."""
    plain = {target for method, target in pairs if method.places(network, target)}
    ruled = [
        method.cost(network, images).backwards // len(images) - bool(method.places(network, target))
        for method, target in pairs
        if method.rule is not None
    ]
    return len(plain) + sum(ruled)


def upsample(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Maps of a layer at the size of the images: bilinear, pixel centers kept in place (align_corners=False)."""
    return F.interpolate(maps, tuple(size), mode="bilinear", align_corners=False)


Baseline = Literal["mean", "black", "white", "grey"]


def baseline(color: Baseline, network: Network, images: Images) -> Images:
    """A picture of one color, the shape of the images; "mean" is the color that the network sees as zero."""
    levels = {"black": (0.0,), "white": (1.0,), "grey": (0.5,), "mean": network.preprocess.mean}[color]
    if color == "mean" and network.preprocess.order == "bgr":
        levels = levels[::-1]
    return images.new_tensor(levels).view(1, -1, 1, 1).expand_as(images)
