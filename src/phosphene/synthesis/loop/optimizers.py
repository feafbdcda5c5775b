"""How a canvas moves along the gradient of an objective."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from phosphene.core.errors import OptionError
from phosphene.core.registry import Named


@dataclasses.dataclass(frozen=True)
class Optimizer(Named):
    """A rule of steps, chosen before there is anything to step."""

    lr: float = 0.05

    def __post_init__(self) -> None:
        if self.lr <= 0:
            raise OptionError(f"lr is {self.lr}; {self.name} wants more than 0")

    def begin(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """The optimizer of some parameters."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Adam(Optimizer, name="adam"):
    """Steps of about `lr` in each parameter, whatever the size of the gradient.

    Args:
        lr: size of a step.

    Reference: Kingma & Ba, ICLR 2015.
    """

    lr: float = 0.05

    def begin(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Torch's own."""
        return torch.optim.Adam(parameters, lr=self.lr, fused=True)


@dataclasses.dataclass(frozen=True)
class Ascent(Optimizer, name="ascent"):
    """Gradient ascent whose step has the same size for every image and objective: lr · g / rms(g).

    Networks give logits and channels of very different slope; divided by its root mean square, the gradient leaves only
    its direction, and one `lr`, in [0, 1] of pixels, serves all.

    Args:
        lr: root mean square of a step, over all values of an image.
        sign: lr · sign(g) instead.
    """

    lr: float = 0.01
    sign: bool = False

    def begin(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Steps along the normalized gradient."""
        return _Ascent(parameters, self.lr, sign=self.sign)


@dataclasses.dataclass(frozen=True)
class LBFGS(Optimizer, name="lbfgs"):
    """Limited-memory BFGS with a line search: few, dear steps, for objectives that do not change from step to step.

    Args:
        lr: of a step, before the line search.
        history: steps remembered.

    Reference: Liu & Nocedal, Mathematical Programming 1989.
    """

    lr: float = 1.0
    history: int = 10

    def begin(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Torch's own, one iteration a step.

        Raises:
            OptionError: several pictures, which would share one curvature.
        """
        parameters = list(parameters)
        if len(parameters[0]) > 1:
            raise OptionError(
                f"lbfgs makes one picture at a time; found {len(parameters[0])}. Call it for each, or adam"
            )
        return torch.optim.LBFGS(
            parameters, lr=self.lr, max_iter=1, max_eval=20, history_size=self.history, line_search_fn="strong_wolfe"
        )


class _Ascent(torch.optim.Optimizer):
    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, *, sign: bool) -> None:
        super().__init__(parameters, {"lr": lr, "sign": sign})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Tensor | None:  # type: ignore[override]
        with torch.enable_grad():
            loss: Tensor | None = closure() if closure else None
        for group in self.param_groups:
            for each in group["params"]:
                rms = each.grad.flatten(1).square().mean(1).sqrt().clamp(min=1e-20)
                step = each.grad.sign() if group["sign"] else each.grad / rms.view(-1, *(1,) * (each.ndim - 1))
                each.sub_(step, alpha=group["lr"])
        return loss
