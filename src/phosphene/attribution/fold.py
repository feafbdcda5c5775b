"""Batch norms folded into the convolutions before them: the same function in fewer steps."""

from __future__ import annotations

import dataclasses
from collections import Counter, OrderedDict
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn

from phosphene.core.layers import watch


@dataclasses.dataclass(frozen=True)
class Pair:
    """A convolution whose output, as it is, a batch norm receives.

    Args:
        conv: dotted name of the convolution.
        norm: dotted name of the batch norm.
        shown: every name under which the output of the convolution can be read; folding changes what they show.
    """

    conv: str
    norm: str
    shown: frozenset[str]


def pairs(module: nn.Module, batch: Tensor) -> tuple[Pair, ...]:
    """The pairs that one forward pass meets, each module of a pair being called once and the norm using its statistics.

    Args:
        module: in evaluation mode.
        batch: a normalized batch.

    >>> pairs(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)).eval(), torch.zeros(1, 3, 8, 8))
    (Pair(conv='0', norm='1', shown=frozenset({'0'})),)
    """
    search = _Search()
    norms = [(name, each) for name, each in module.named_modules() if isinstance(each, nn.BatchNorm2d)]
    handles = [each.register_forward_pre_hook(search.norm(name)) for name, each in norms]
    try:
        with torch.no_grad(), watch(module, search.see):
            module(batch)
    finally:
        for handle in handles:
            handle.remove()
    return search.pairs


def fold(module: nn.Module, batch: Tensor, keep: Collection[str] = ()) -> tuple[Pair, ...]:
    """Fold, in place, every pair whose convolution nobody reads; return the pairs folded.

    W ← W · γ / √(σ² + ε) and b ← (b - μ) · γ / √(σ² + ε) + β, channel by channel; the norm gives way to its children
    (the activation of timm's BatchNormAct2d), most often none. What follows is left to the caller: whether
    the module still says the same, which it does not where something else takes the output of a folded convolution.

    Args:
        module: a copy of one's own, in evaluation mode.
        batch: a normalized batch.
        keep: names of layers whose output must stay what it is.
    """
    modules = dict(module.named_modules())
    folded = tuple(pair for pair in pairs(module, batch) if not pair.shown & set(keep))
    for pair in folded:
        conv, norm = modules[pair.conv], modules[pair.norm]
        assert isinstance(conv, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        conv.weight, conv.bias = _folded(conv, norm)
        parent, _, child = pair.norm.rpartition(".")
        setattr(module.get_submodule(parent), child, nn.Sequential(OrderedDict(norm.named_children())))
    return folded


def _folded(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[nn.Parameter, nn.Parameter]:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    mean, var = norm.running_mean.double(), norm.running_var.double()
    gain = torch.rsqrt(var + norm.eps) * (1.0 if norm.weight is None else norm.weight.detach().double())
    shift = 0.0 if norm.bias is None else norm.bias.detach().double()
    bias = 0.0 if conv.bias is None else conv.bias.detach().double()
    weight = conv.weight.detach().double() * gain.view(-1, 1, 1, 1)
    new = weight.to(conv.weight), ((bias - mean) * gain + shift).to(conv.weight)
    return nn.Parameter(new[0], requires_grad=False), nn.Parameter(new[1], requires_grad=False)


def _version(tensor: Tensor) -> int:
    """How often it was written to; not known of tensors made in inference mode."""
    return 0 if tensor.is_inference() else tensor._version


class _Search:
    """Sees the outputs of convolutions, and what the batch norms receive."""

    def __init__(self) -> None:
        self.outputs: dict[int, tuple[str, Tensor, int]] = {}
        self.shown: dict[str, set[str]] = {}
        self.found: dict[str, str] = {}
        self.calls: Counter[str] = Counter()

    def see(self, name: str, called: nn.Module, output: Tensor) -> None:
        self.calls[name.partition("#")[0]] += 1
        if isinstance(called, nn.Conv2d) and "weight" in called._parameters:
            # The tensor is kept, so that no other takes its id.
            self.outputs[id(output)] = name, output, _version(output)
            self.shown[name] = set()
        if id(output) in self.outputs:
            self.shown[self.outputs[id(output)][0]].add(name)

    def norm(self, name: str) -> Any:
        def receive(norm: nn.BatchNorm2d, args: tuple[Tensor, ...]) -> None:
            conv, _, version = self.outputs.get(id(args[0]) if args else 0, ("", None, -1))
            if conv and _version(args[0]) == version and norm.running_var is not None:
                self.found[name] = conv

        return receive

    @property
    def pairs(self) -> tuple[Pair, ...]:
        receivers = Counter(self.found.values())
        return tuple(
            Pair(conv, norm, frozenset(self.shown[conv]))
            for norm, conv in self.found.items()
            if self.calls[norm] == self.calls[conv] == receivers[conv] == 1
        )
