"""All that a method could leave behind in a network or in torch, compared before and after."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phosphene.core.networks.network import Network


def digest(tensors: dict[str, Tensor]) -> dict[str, str]:
    return {name: hashlib.sha256(tensor.detach().numpy().tobytes()).hexdigest() for name, tensor in tensors.items()}


def hooks(module: nn.Module) -> dict[str, int]:
    """How many hooks of each kind each module has."""
    kinds = [name for name in vars(module) if name.endswith("hooks")]
    assert "_forward_hooks" in kinds
    return {f"{path}.{kind}": len(vars(child)[kind]) for path, child in module.named_modules() for kind in kinds}


TORCH = {
    f"{place.__name__}.{name}": (place, name)
    for place in (torch, F, Tensor)
    for name in ("relu", "relu_", "clamp", "clamp_", "threshold", "hardtanh", "conv2d", "max_pool2d", "__add__")
    if hasattr(place, name)
}


def state(network: Network) -> dict[str, Any]:
    """All that a method could leave behind."""
    module = network.module
    return {
        "weights": digest(dict(module.state_dict())),
        "identity": {name: id(parameter) for name, parameter in module.named_parameters()},
        "training": {name: child.training for name, child in module.named_modules()},
        "requires_grad": {name: parameter.requires_grad for name, parameter in module.named_parameters()},
        "grad": {name: parameter.grad is None for name, parameter in module.named_parameters()},
        "hooks": hooks(module),
        "random": hashlib.sha256(torch.get_rng_state().numpy().tobytes()).hexdigest(),
        "grad mode": torch.is_grad_enabled(),
        "threads": torch.get_num_threads(),
        "type": torch.get_default_dtype(),
        "torch": {name: id(getattr(*where)) for name, where in TORCH.items()},
        "modes": torch._C._len_torch_function_stack(),
    }


@contextmanager
def nothing_left(network: Network) -> Iterator[None]:
    before = state(network)
    yield
    assert state(network) == before
