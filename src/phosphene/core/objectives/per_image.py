"""An objective of its own for each image of a batch."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from phosphene.core.errors import TargetError
from phosphene.core.networks.network import Activations, Network
from phosphene.core.objectives.objective import Objective


@dataclasses.dataclass(frozen=True)
class PerImage(Objective, name="per-image"):
    """The first objective for the first image, the second for the second, and so on: one pass serves them all.

    value[i] = the value of objectives[i] for image i. Its gradient with respect to image i is that of objective i,
    since images do not depend on one another.

    Args:
        objectives: (N,), one for each image of the batch.

    >>> PerImage((Logit(3), Logit(0)))({"logits": torch.arange(10).view(2, 5)}).tolist()
    [3, 5]
    """

    objectives: tuple[Objective, ...]

    @property
    def unit(self) -> str:  # type: ignore[override]  # that of the objectives
        """The unit of the objectives, where they share one."""
        units = {objective.unit for objective in self.objectives}
        return units.pop() if len(units) == 1 else "mixed units"

    @property
    def reads(self) -> frozenset[str]:
        return frozenset().union(*(objective.reads for objective in self.objectives))

    def __call__(self, activations: Activations) -> Tensor:
        count = len(next(iter(activations.values())))
        if count != len(self.objectives):
            raise TargetError(f"{len(self.objectives)} targets for {count} images; give one for each, or one for all")
        values: list[Tensor] = [torch.empty(0)] * count
        for objective in dict.fromkeys(self.objectives):  # equal ones are evaluated together
            images = [i for i, own in enumerate(self.objectives) if own == objective]
            own = objective({name: activation[images] for name, activation in activations.items()})
            for i, value in zip(images, own, strict=True):
                values[i] = value
        return torch.stack(values)

    def bind(self, network: Network) -> Objective:
        return PerImage(tuple(objective.bind(network) for objective in self.objectives))

    def of_image(self, index: int) -> Objective:
        return self.objectives[index]

    def __str__(self) -> str:
        return ", ".join(map(str, self.objectives))
