"""How each channel of a layer answers one image, in four numbers."""

from __future__ import annotations

import dataclasses

from torch import Tensor


@dataclasses.dataclass(frozen=True)
class Response:
    """How one channel answers one image.

    Args:
        channel: its index.
        max: strongest activation, wherever it is.
        mean: over all places.
        active: share of places above zero, in [0, 1].
        silent: whether no place is above zero. One image cannot show that a channel is dead; many can.
    """

    channel: int
    max: float
    mean: float
    active: float
    silent: bool


def measure(maps: Tensor) -> tuple[Response, ...]:
    """The responses of all channels, in their order.

    Args:
        maps: (C, H, W), the activations of one image.

    >>> import torch
    >>> measure(torch.tensor([[[0.0, 2.0]], [[-1.0, 0.0]]]))[0]
    Response(channel=0, max=2.0, mean=1.0, active=0.5, silent=False)
    """
    flat = maps.flatten(1).cpu().double()
    highs, means, active = flat.amax(1).tolist(), flat.mean(1).tolist(), (flat > 0).double().mean(1).tolist()
    return tuple(
        Response(channel, high, mean, share, high <= 0)
        for channel, (high, mean, share) in enumerate(zip(highs, means, active, strict=True))
    )
