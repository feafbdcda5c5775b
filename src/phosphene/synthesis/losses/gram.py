"""Gram matrices: which features of a layer occur together, wherever they are."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from phosphene.core.errors import LayerError
from phosphene.core.networks.network import Activations, Images, Network
from phosphene.core.objectives.objective import Objective


def gram_matrix(maps: Tensor) -> Tensor:
    """Products of the channels of a layer with one another, summed over places: (N, C, C).

    Args:
        maps: (N, C, H, W).

    Reference: Gatys, Ecker & Bethge, CVPR 2016, equation 3.

    >>> gram_matrix(torch.tensor([[[[1.0, 2.0]], [[0.0, 1.0]]]]))
    tensor([[[5., 2.],
             [2., 1.]]])
    """
    rows = maps.flatten(2)
    return rows @ rows.transpose(1, 2)


@dataclasses.dataclass(frozen=True, eq=False)
class Gram(Objective, name="gram"):
    """Relative distance of the Gram matrix of a layer from a given one: ‖G(x) - G₀‖² / ‖G₀‖². To be subtracted.

    G is divided by the number of channels and places, so that images of other sizes can be compared. 0 where the style
    is the same, 1 where nothing is active. Differs from the paper: there the distance is not relative.

    Args:
        layer: name of the layer.
        matrix: G₀, (C, C).

    Reference: Gatys, Ecker & Bethge, CVPR 2016, equation 4.

    >>> Gram("conv", torch.ones(2, 2) / 2)({"conv": torch.ones(1, 2, 3, 3)})
    tensor([0.])
    """

    layer: str
    matrix: Tensor = dataclasses.field(repr=False)

    @classmethod
    def of(cls, network: Network, image: Images, layer: str) -> Gram:
        """The distance from the Gram matrix of an image. Cost: one truncated forward pass.

        Args:
            network: whose layer.
            image: (1, 3, H, W) in [0, 1].
            layer: its name.

        Raises:
            LayerError: no such layer, one without maps, or one that is zero everywhere on this image.
        """
        with torch.inference_mode(mode=False), torch.no_grad():
            maps = network.tap(image, [layer])[layer].float()
        if maps.ndim != 4 or not maps.any():
            reason = "has no maps" if maps.ndim != 4 else "is zero everywhere on this picture"
            raise LayerError(f"{layer} of {network.name} {reason}, so it has no Gram matrix; choose another layer")
        return cls(layer, _mean(maps)[0].clone())

    @property
    def reads(self) -> frozenset[str]:
        return frozenset({self.layer})

    def __call__(self, activations: Activations) -> Tensor:
        apart = _mean(activations[self.layer].float()) - self.matrix
        return apart.square().flatten(1).sum(1) / self.matrix.square().sum()

    def bind(self, network: Network) -> Objective:
        """The same, its layer known to exist."""
        network.shape(self.layer)
        return self

    def __str__(self) -> str:
        return f"gram({self.layer})"


def _mean(maps: Tensor) -> Tensor:
    return gram_matrix(maps) / maps[0].numel()
