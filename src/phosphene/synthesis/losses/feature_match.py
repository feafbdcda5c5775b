"""What an image is to share with a given one, and how far its colors may go: the objectives of feature inversion."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from phosphene.core.errors import LayerError, OptionError
from phosphene.core.networks.network import Activations, Images, Network
from phosphene.core.objectives.objective import Objective
from phosphene.synthesis.canvas.color import mean_color


@dataclasses.dataclass(frozen=True, eq=False)
class Match(Objective, name="match"):
    """Relative distance of the activations of a layer from given ones: ‖φ(x) - φ₀‖² / ‖φ₀‖². To be subtracted.

    0 where they are the same, 1 where nothing answers.

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
        """What a layer makes of one image. Cost: one truncated forward pass.

        Args:
            network: whose layer.
            image: (1, 3, H, W) in [0, 1].
            layer: its name.

        Raises:
            LayerError: no such layer, or one that has nothing to match on this image.
        """
        with torch.inference_mode(mode=False), torch.no_grad():
            features = network.tap(image, [layer])[layer]
        if features.ndim < 2 or len(features) != 1:
            raise LayerError(f"{layer} of {network.name} has no activations for each image; choose another layer")
        size = features.float().square().sum().item()
        if not 0 < size < float("inf"):
            found = "is zero everywhere on this picture" if size == 0 else "is not finite on this picture"
            raise LayerError(f"{layer} of {network.name} {found}: there is nothing to match; choose another layer")
        return cls(layer, features[0].clone())

    @property
    def reads(self) -> frozenset[str]:
        return frozenset({self.layer})

    def __call__(self, activations: Activations) -> Tensor:
        found, wanted = activations[self.layer].float(), self.features.float()
        if found.shape[1:] != wanted.shape:
            sizes = (" × ".join(map(str, each)) for each in (found.shape[1:], wanted.shape))
            raise LayerError(
                f"{self.layer} is {next(sizes)} on these images and {next(sizes)} on the one to match; "
                "give them the same size"
            )
        return (found - wanted).square().flatten(1).sum(1) / wanted.square().sum()

    def bind(self, network: Network) -> Objective:
        """The same, its layer known to exist."""
        network.shape(self.layer)
        return self

    def __str__(self) -> str:
        return f"match({self.layer})"


@dataclasses.dataclass(frozen=True)
class AlphaNorm(Objective, name="alpha-norm"):
    """Colors far from the mean color of the network, |(I - mean) / room|^alpha, averaged over pixels and colors.

    The room is how far from the mean a color can be: that of black or white counts 1, and what is half as far, with
    alpha 6, counts 1/64. A high power lets colors go as far as photographs do, and no farther.

    Args:
        alpha: the power.
        color: RGB in [0, 1] to measure from; that of the network, once bound to one, by default.

    Reference: Mahendran & Vedaldi, CVPR 2015, section 3, where alpha is 6.

    >>> AlphaNorm(alpha=2)({"input": torch.tensor([0.5, 0.75, 1.0]).view(3, 1, 1, 1).expand(3, 3, 2, 2)})
    tensor([0.0000, 0.2500, 1.0000])
    """

    alpha: float = 6.0
    color: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.alpha < 1:
            raise OptionError(f"alpha is {self.alpha}; alpha-norm wants at least 1")

    @property
    def reads(self) -> frozenset[str]:
        return frozenset({"input"})

    def bind(self, network: Network) -> Objective:
        """The same, measured from the mean color of a network."""
        return self if self.color else AlphaNorm(self.alpha, tuple(mean_color(network).flatten().tolist()))

    def __call__(self, activations: Activations) -> Tensor:
        images = activations["input"]
        color = images.new_tensor(self.color or (0.5,) * 3).view(1, 3, 1, 1)
        return ((images - color) / torch.maximum(color, 1 - color)).abs().pow(self.alpha).flatten(1).mean(1)

    def __str__(self) -> str:
        return "alpha-norm"
