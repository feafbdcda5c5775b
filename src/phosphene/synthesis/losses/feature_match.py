"""Distance of the activations of a layer from given ones: the objective of feature inversion, and of content."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from phosphene.core.errors import LayerError
from phosphene.core.networks.network import Activations, Images, Network
from phosphene.core.objectives.objective import Objective


@dataclasses.dataclass(frozen=True, eq=False)
class Match(Objective, name="match"):
    """Relative distance of the activations of a layer from given ones: ‖φ(x) - φ₀‖² / ‖φ₀‖². To be subtracted.

    0 where they are the same, 1 where nothing is active.

    Args:
        layer: name of the layer.
        features: φ₀, (C, H, W) or (C,).

    Reference: Mahendran & Vedaldi, CVPR 2015, equation 1, with its normalization.

    >>> Match("conv", torch.ones(2))({"conv": torch.tensor([[1.0, 1.0], [0.0, 0.0], [2.0, 1.0]])})
    tensor([0.0000, 1.0000, 0.5000])
    """

    layer: str
    features: Tensor = dataclasses.field(repr=False)

    @classmethod
    def of(cls, network: Network, image: Images, layer: str) -> Match:
        """The distance from the activations of an image. Cost: one truncated forward pass.

        Args:
            network: whose layer.
            image: (1, 3, H, W) in [0, 1].
            layer: its name.

        Raises:
            LayerError: no such layer, or one that is zero everywhere on this image.
        """
        with torch.inference_mode(mode=False), torch.no_grad():
            features = network.tap(image, [layer])[layer]
        if features.ndim < 2 or len(features) != 1:
            raise LayerError(f"{layer} of {network.name} has no activations for each image; choose another layer")
        size = features.float().square().sum().item()
        if not 0 < size < float("inf"):
            reason = "is zero everywhere on this picture" if size == 0 else "is not finite on this picture"
            raise LayerError(f"{layer} of {network.name} {reason}: there is nothing to match; choose another layer")
        return cls(layer, features[0].clone())

    @property
    def reads(self) -> frozenset[str]:
        return frozenset({self.layer})

    def __call__(self, activations: Activations) -> Tensor:
        features, given = activations[self.layer].float(), self.features.float()
        if features.shape[1:] != given.shape:
            sizes = (" × ".join(map(str, shape)) for shape in (features.shape[1:], given.shape))
            raise LayerError(
                f"{self.layer} is {next(sizes)} on these images and {next(sizes)} on the one to match; "
                "give them the same size"
            )
        return (features - given).square().flatten(1).sum(1) / given.square().sum()

    def bind(self, network: Network) -> Objective:
        """The same, its layer known to exist."""
        network.shape(self.layer)
        return self

    def __str__(self) -> str:
        return f"match({self.layer})"
