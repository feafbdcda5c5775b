"""One recorded forward pass, from which several methods and targets read activations, scores and gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext

import torch
from torch import Tensor

from phosphene.attribution.perturbation.engine import Engine, Engines
from phosphene.core.errors import LayerError, RuleError
from phosphene.core.networks import rules
from phosphene.core.networks.network import Activations, Images, Network
from phosphene.core.objectives.objective import Objective


class ForwardPass:
    """One forward pass, recorded, from which any number of targets and methods are computed.

    Plain gradients of a target are computed at all requested layers at once and saved; gradients by another backward
    rule come from the same forward pass.

    Args:
        network: that is run.
        images: (N, 3, H, W), RGB in [0, 1].
        reads: layers whose activations are read.
        gradient_layers: layers at which plain gradients are read, "input" among them where needed.
        with_rules: whether another backward rule will be used; only then is every ReLU intercepted.
        backwards: how many backward passes will follow; the last one frees the graph, layer by layer.
        also: layers recorded for other purposes, which the engine of perturbed copies does not read.
    """

    def __init__(
        self,
        network: Network,
        images: Images,
        reads: Iterable[str],
        *,
        gradient_layers: Iterable[str] = (),
        with_rules: bool = False,
        backwards: int = 1,
        also: Iterable[str] = (),
    ) -> None:
        # Tensors made in inference mode can never take part in a gradient; a copy of them can.
        self.network, self.images = network, images.clone() if images.is_inference() else images.detach()
        self.gradient_layers, self.backwards = tuple(sorted(gradient_layers)), backwards
        self.mode = rules.backward_rule() if with_rules else None
        starts = {*self.gradient_layers, "input"} if with_rules else self.gradient_layers
        with torch.set_grad_enabled(bool(starts)), self.mode or nullcontext():
            self._read = frozenset({*reads, *starts})
            self.activations = network.tap(self.images, {*self._read, *also}, gradients=starts)
        self._engines = Engines(network)
        self._gradients: dict[Objective, Mapping[str, Tensor | None]] = {}

    @property
    def engine(self) -> Engine:
        """Runs perturbed copies, and reads what this pass reads: one engine for all methods and targets."""
        engine, _ = self._engines.get(self._read)
        return engine

    def score(self, target: Objective) -> Tensor:
        """Value of a target for each image, (N,)."""
        return target(self.activations).detach()

    def gradient(self, target: Objective, layer: str = "input") -> Tensor:
        """Derivative of a target by the activation of a layer, of the shape of that activation.

        Raises:
            LayerError: the target does not depend on the layer.
        """
        assert layer in self.gradient_layers, f"{layer} is not among the gradient_layers of this pass"
        if target not in self._gradients:
            inputs = [self.activations[name] for name in self.gradient_layers]
            gradients = self._backward(target, inputs)
            self._gradients[target] = dict(zip(self.gradient_layers, gradients, strict=True))
        gradient = self._gradients[target][layer]
        if gradient is None:
            raise LayerError(
                f"the target {target} does not depend on {layer}; choose a layer that comes before the target"
            )
        return gradient

    def rule_gradient(self, target: Callable[[Activations], Tensor], rule: rules.Rule, method: str | None) -> Tensor:
        """Gradient at the pixels, (N, 3, H, W), where every ReLU passes gradients by a rule.

        Args:
            target: activations → (N,).
            rule: of the ReLUs.
            method: name for messages.

        Raises:
            RuleError: the gradient passed no ReLU, so that the rule changes nothing.
            LayerError: the target does not depend on the pixels.
        """
        assert self.mode is not None, "this pass was made without with_rules"
        before, self.mode.rule = self.mode.passed, rule
        try:
            (gradient,) = self._backward(target, [self.activations["input"]])
        finally:
            self.mode.rule = rules.gradient
        if gradient is None:
            raise LayerError(f"the target {target} does not depend on the pixels; choose another target")
        if self.mode.passed == before:
            raise RuleError(
                f"{method} met no ReLU {self._without_relu(target)}: the map would be the plain gradient. "
                "Use the method gradient."
            )
        return gradient

    def _without_relu(self, target: object) -> str:
        """Where there is no ReLU: in the whole network, with the activations it has instead, or below the target."""
        assert self.mode is not None
        if self.mode.met["relu"] or "logits" not in self.activations:
            return f"between {target} and the pixels of {self.network.name}"
        smooth = ", ".join(f"{count} {name}" for name, count in self.mode.met.items() if count)
        return f"in {self.network.name}{f' ({smooth})' if smooth else ''}"

    def _backward(self, target: Callable[[Activations], Tensor], inputs: list[Tensor]) -> tuple[Tensor | None, ...]:
        with torch.enable_grad():
            total = target(self.activations).sum()
        if not total.requires_grad:
            return tuple(None for _ in inputs)
        self.backwards -= 1
        return torch.autograd.grad(total, inputs, retain_graph=self.backwards > 0, allow_unused=True)
