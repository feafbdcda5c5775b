"""What a dream is about: all that a layer sees, or what it sees in another picture."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from phosphene.core.network import Activations, Images, Network
from phosphene.core.objective import Objective


@dataclasses.dataclass(frozen=True)
class Energy(Objective, name="energy"):
    """Half the mean square of a layer: whatever it sees in an image, more of it.

    Args:
        layer: name of the layer.

    Reference: Mordvintsev, Olah & Tyka, "Inceptionism", Google Research Blog 2015.

    >>> Energy("conv")({"conv": torch.full((2, 3, 4, 4), 2.0)})
    tensor([2., 2.])
    """

    layer: str

    @property
    def reads(self) -> frozenset[str]:
        return frozenset({self.layer})

    def __call__(self, activations: Activations) -> Tensor:
        return activations[self.layer].flatten(1).square().mean(1) / 2

    def bind(self, network: Network) -> Objective:
        """The same layer, known to exist."""
        network.shape(self.layer)
        return self

    def __str__(self) -> str:
        return f"all of {self.layer}"


@dataclasses.dataclass(frozen=True, eq=False)
class Likeness(Objective, name="likeness"):
    """Each place of a layer is to grow more like that place of a guide that it resembles most.

    score = mean over places p of a(p) · g(q), q = argmax a(p) · g(q). Products are taken in chunks, so that memory does
    not grow with the product of both sizes.

    Args:
        layer: name of the layer.
        features: (C, Q) of the layer, at every place of the guide.
        guide: what to call it.

    Reference: Mordvintsev, Olah & Tyka, notebook of "Inceptionism", 2015.
    """

    layer: str
    features: Tensor = dataclasses.field(repr=False)
    guide: str = "guide"

    @property
    def reads(self) -> frozenset[str]:
        return frozenset({self.layer})

    def __call__(self, activations: Activations) -> Tensor:
        found = _places(activations[self.layer])
        most = max(1, _PRODUCTS // (len(found) * self.features.shape[1]))
        with torch.no_grad():
            nearest = torch.cat([(self.features.T @ each).argmax(1) for each in torch.split(found, most, 2)], 1)
        return (found * self.features[:, nearest].transpose(0, 1)).sum(1).mean(1)

    def __str__(self) -> str:
        return f"{self.layer} like {self.guide}"


def likeness(network: Network, layer: str, guide: Images, name: str = "guide") -> Likeness:
    """The wish to look like a guide to some layer. Cost: one truncated pass.

    Args:
        network: whose layer.
        layer: its name.
        guide: (1, 3, H, W), of a size that the network takes.
        name: what to call the guide.

    Raises:
        LayerError: no such layer.
    """
    with torch.no_grad():
        return Likeness(layer, _places(network.tap(guide, [layer])[layer])[0].clone(), name)


def _places(activations: Tensor) -> Tensor:
    """(N, C, places)."""
    return activations.flatten(2) if activations.ndim > 2 else activations[..., None]


_PRODUCTS = 1 << 22
