"""Optimizers of the parameters of a canvas."""

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
    """An optimizer by its options, before its parameters are known."""

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
        """`torch.optim.Adam`."""
        return torch.optim.Adam(parameters, lr=self.lr, fused=True)


@dataclasses.dataclass(frozen=True)
class Ascent(Optimizer, name="ascent"):
    """Gradient ascent whose step has the same size for every image and objective: lr · g / rms(g).

    Gradients of logits and channels differ in size by orders of magnitude; divided by its root mean square, only the
    direction of the gradient counts, and one `lr`, in [0, 1] of pixels, serves all.

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
    """Limited-memory BFGS with a line search: few, expensive steps, for objectives that do not change between steps.

    Args:
        lr: of a step, before the line search.
        history: past steps that approximate the curvature.

    Reference: Liu & Nocedal, Mathematical Programming 1989.
    """

    lr: float = 1.0
    history: int = 10

    def begin(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """`torch.optim.LBFGS`, one iteration a step.

        Raises:
            OptionError: several pictures, which would share one curvature.
        """
        parameters = list(parameters)
        if len(parameters[0]) > 1:
            raise OptionError(
                f"lbfgs makes one picture at a time; found {len(parameters[0])}. Call it for each, or use adam"
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
            for parameter in group["params"]:
                gradient = parameter.grad
                rms = gradient.flatten(1).square().mean(1).sqrt().clamp(min=1e-20)
                step = gradient.sign() if group["sign"] else gradient / rms.view(-1, *(1,) * (parameter.ndim - 1))
                parameter.sub_(step, alpha=group["lr"])
        return loss
