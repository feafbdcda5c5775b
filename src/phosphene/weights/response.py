"""Statistics of each channel of a layer for one image."""

from __future__ import annotations

import dataclasses

from torch import Tensor


@dataclasses.dataclass(frozen=True)
class Response:
    """Statistics of one channel for one image.

    Args:
        channel: its index.
        max: strongest activation at any position.
        mean: over all positions.
        active: share of positions above zero, in [0, 1].
        inactive: whether no position is above zero. One image cannot show that a channel is dead; many can.
    """

    channel: int
    max: float
    mean: float
    active: float
    inactive: bool


def channel_responses(maps: Tensor) -> tuple[Response, ...]:
    """The responses of all channels, in their order.

    Args:
        maps: (C, H, W), the activations of one image.

    >>> import torch
    >>> channel_responses(torch.tensor([[[0.0, 2.0]], [[-1.0, 0.0]]]))[0]
    Response(channel=0, max=2.0, mean=1.0, active=0.5, inactive=False)
    """
    flat = maps.flatten(1).cpu().double()
    highs, means, active = flat.amax(1).tolist(), flat.mean(1).tolist(), (flat > 0).double().mean(1).tolist()
    return tuple(
        Response(channel, high, mean, share, high <= 0)
        for channel, (high, mean, share) in enumerate(zip(highs, means, active, strict=True))
    )
