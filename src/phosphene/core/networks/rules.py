"""Backward rules of the ReLU: the only difference between backprop, guided backprop and the deconvnet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

Rule = Callable[[Tensor, Tensor], Tensor]
"""(input of the ReLU, gradient above it) → gradient below it; all of one shape."""


def gradient(x: Tensor, g: Tensor) -> Tensor:
    """The derivative: pass the gradient where the input is positive.

    >>> x, g = torch.tensor([-1.0, 2.0, 3.0]), torch.tensor([1.0, -1.0, 1.0])
    >>> gradient(x, g).tolist()
    [0.0, -1.0, 1.0]
    """
    return torch.ops.aten.threshold_backward(g, x, 0)  # type: ignore[no-any-return]  # the backward function of torch's ReLU


def deconvnet(x: Tensor, g: Tensor) -> Tensor:  # noqa: ARG001  a rule takes both
    """Pass positive gradients, independent of the input.

    Reference: Zeiler & Fergus, ECCV 2014, section 2.1.

    >>> x, g = torch.tensor([-1.0, 2.0, 3.0]), torch.tensor([1.0, -1.0, 1.0])
    >>> deconvnet(x, g).tolist()
    [1.0, 0.0, 1.0]
    """
    return g.clamp(min=0)


def guided(x: Tensor, g: Tensor) -> Tensor:
    """Pass positive gradients where the input is positive.

    Reference: Springenberg et al., ICLR 2015 workshop, section 3.4.

    >>> x, g = torch.tensor([-1.0, 2.0, 3.0]), torch.tensor([1.0, -1.0, 1.0])
    >>> guided(x, g).tolist()
    [0.0, 0.0, 1.0]
    """
    return gradient(x, g.clamp(min=0))


def redirected(x: Tensor, g: Tensor) -> Tensor:
    """The derivative; for an image whose derivative is zero everywhere, positive gradients also pass inactive units.

    g is the gradient of the maximized objective: at an inactive unit with positive g, ascent raises the input.

    Reference: the redirected ReLU gradient of Olah, Mordvintsev & Schubert, Distill 2017.

    >>> x, g = torch.tensor([[-1.0, -2.0], [-1.0, 3.0]]), torch.tensor([[1.0, -1.0], [1.0, 1.0]])
    >>> redirected(x, g).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    plain = gradient(x, g)
    stopped = (plain == 0).flatten(1).all(1).view(-1, *(1,) * (g.ndim - 1))
    return torch.where(stopped & (x <= 0), g.clamp(min=0), plain)


class backward_rule(TorchFunctionMode):  # noqa: N801  reads as a verb: with backward_rule(guided)
    """Within it, every ReLU and ReLU6 takes its gradient by a rule.

    It acts on the operation, not on a module: nn.ReLU, F.relu, x.relu(), in-place, shared, clamp(min=0), ReLU6 and
    Hardtanh from 0 alike. The upper limit of ReLU6 zeroes the derivative only: the other rules ignore it, or the
    strongest activations, which are those at the limit, could not be traced back.
    The rule is read in the backward pass, so one forward pass serves several rules, one after the other.
    `met` counts activations by kind in the forward pass, `passed` the ReLUs that a gradient has passed.

    Args:
        rule: the first rule.

    >>> x = torch.tensor([-1.0, 2.0], requires_grad=True)
    >>> with backward_rule(deconvnet) as mode:
    ...     y = x.relu()
    >>> torch.autograd.grad(y.sum(), x)[0].tolist(), mode.met["relu"]
    ([1.0, 1.0], 1)
    """

    def __init__(self, rule: Rule = gradient) -> None:
        super().__init__()
        self.rule = rule
        self.met: Counter[str] = Counter()
        self.passed = 0

    def __torch_function__(
        self, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        read = _READER_OF.get(func)
        cap = None if read is None else read(*args, **kwargs)
        if cap is not None:
            self.met["relu"] += 1
            x = args[0] if args else kwargs["input"]
            inplace = kwargs.get("inplace") or func.__name__.endswith("_")
            return _Rectify.apply(x, cap, self, inplace)
        if func in _SMOOTH:
            self.met[_SMOOTH[func]] += 1
        return func(*args, **kwargs)


class _Rectify(torch.autograd.Function):
    """min(max(x, 0), cap), with the gradient by the rule of the mode at the time of the backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cap: float, mode: backward_rule, inplace: bool) -> Tensor:  # noqa: PLR0917
        ctx.cap, ctx.mode = cap, mode
        upper = None if cap == _NO_CAP else cap
        if not inplace:
            ctx.save_for_backward(x)
            return x.clamp(0, upper)
        # In x itself: the network may use x instead of the returned tensor.
        ctx.save_for_backward(x.clone())
        ctx.mark_dirty(x)
        return x.clamp_(0, upper)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, None, None, None]:
        (x,), (g,) = ctx.saved_tensors, gradients
        ctx.mode.passed += 1
        if ctx.mode.rule is gradient and ctx.cap != _NO_CAP:
            g = torch.where(x < ctx.cap, g, 0.0)
        return ctx.mode.rule(x, g), None, None, None


_NO_CAP = float("inf")


# A reader takes the arguments of a function and returns the upper limit, or None where the call is no ReLU.
def _plain(*_: Any, **__: Any) -> float | None:
    return _NO_CAP


def _relu6(*_: Any, **__: Any) -> float | None:
    return 6.0


def _hardtanh(_x: Any, min_val: float = -1.0, max_val: float = 1.0, *_: Any, **__: Any) -> float | None:
    return max_val if min_val == 0 else None


def _clamp(_x: Any, min: Any = None, max: Any = None, **__: Any) -> float | None:
    if isinstance(min, Tensor) or isinstance(max, Tensor) or min is None or min != 0:
        return None
    return _NO_CAP if max is None else float(max)


def _threshold(_x: Any, threshold: float = 0.0, value: float = 0.0, *_: Any, **__: Any) -> float | None:
    return _NO_CAP if threshold == 0 and value == 0 else None


_READERS: list[tuple[Callable[..., float | None], tuple[Any, ...]]] = [
    (_plain, (F.relu, F.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_)),
    (_relu6, (F.relu6,)),
    (_hardtanh, (F.hardtanh, F.hardtanh_)),
    (_clamp, (torch.clamp, torch.clamp_, Tensor.clamp, Tensor.clamp_, torch.clip, torch.clip_)),
    (_clamp, (Tensor.clip, Tensor.clip_)),
    (_clamp, (torch.clamp_min, torch.clamp_min_, Tensor.clamp_min, Tensor.clamp_min_)),
    (_threshold, (F.threshold, F.threshold_, torch.threshold)),  # type: ignore[attr-defined]
]
_READER_OF: dict[Any, Callable[..., float | None]] = {func: read for read, funcs in _READERS for func in funcs}
_SMOOTH: dict[Any, str] = {
    F.gelu: "GELU",
    F.silu: "SiLU",
    F.mish: "Mish",
    F.hardswish: "Hardswish",
    F.elu: "ELU",
    F.celu: "CELU",
    F.selu: "SELU",
    F.leaky_relu: "LeakyReLU",
    F.softplus: "Softplus",
    F.tanh: "Tanh",
    torch.tanh: "Tanh",
    Tensor.tanh: "Tanh",
    F.sigmoid: "Sigmoid",
    torch.sigmoid: "Sigmoid",
    Tensor.sigmoid: "Sigmoid",
}
