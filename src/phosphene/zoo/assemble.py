"""From a bare module to a Network: weights loaded, frozen, labeled."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from phosphene.core.checkpoints import checkpoint
from phosphene.core.checkpoints.checkpoint import Checkpoint
from phosphene.core.errors import NetworkError
from phosphene.core.networks.network import Network, Preprocess

RANDOM = "random"
"""Given instead of a file: random weights, for tests and benchmarks."""


def read_weights(weights: str | Path) -> Checkpoint:
    """The weights in a file, or none for "random".

    >>> read_weights("random").notes
    ('random weights: nothing was learned',)
    """
    if weights == RANDOM:
        return Checkpoint({}, "", "", "", (f"{RANDOM} weights: nothing was learned",))
    return checkpoint.load(weights)


def assemble(module: nn.Module, weights: Checkpoint, preprocess: Preprocess, labels: tuple[str, ...]) -> Network:
    """The module with these weights, in evaluation mode and frozen.

    Args:
        module: just built.
        weights: as `given` returns them.
        preprocess: of its input.
        labels: names of its classes.
    """
    if weights.state:
        checkpoint.install(weights, module)
    return Network(module.eval().requires_grad_(False), preprocess, labels, sha256=weights.sha256, notes=weights.notes)


def check_classes(name: str, classes: int | None, own: int = 1000) -> None:
    """Refuse another number of classes than a network's own weights have.

    Raises:
        NetworkError: another number than its own.
    """
    if classes not in (None, own):
        raise NetworkError(
            f"{name} tells {own} classes apart with its own weights, not {classes}; "
            f"pass weights with a file for {classes} classes, or weights={RANDOM!r}"
        )
