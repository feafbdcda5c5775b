"""What is asked of the network at each step: the scores of the images, and which way they grow."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from itertools import groupby
from typing import Literal

import torch
from torch import Tensor

from phosphene.core.errors import NetworkError
from phosphene.core.networks import rules
from phosphene.core.networks.network import Images, Network
from phosphene.core.objectives.objective import Objective
from phosphene.synthesis.transforms.transforms import Transform

Precision = Literal["float32", "bfloat16"]


class Question:
    """The score of each image and its gradient, under another transformation each time it is asked.

    Args:
        network: is asked.
        objectives: one for each image; neighbors that share one are shown to it together.
        transforms: are done to the images before the network sees them.
        batch: most images in one pass; all of them where it is None.
        precision: of the network's multiplications.
        generator: of the transformations.
    """

    def __init__(
        self,
        network: Network,
        objectives: Sequence[Objective],
        *,
        transforms: Sequence[Transform],
        batch: int | None,
        precision: Precision,
        generator: torch.Generator,
    ) -> None:
        self.network, self.transforms, self.batch, self.generator = network, transforms, batch, generator
        self.half = precision == "bfloat16"
        self.reads = frozenset().union(*(each.reads for each in objectives)) - {"input"}
        self.groups: list[tuple[Objective, int, int]] = []
        for _, members in groupby(objectives, key=id):
            alike = list(members)
            first = self.groups[-1][2] if self.groups else 0
            self.groups.append((alike[0], first, first + len(alike)))
        self.passes = 0

    def __call__(self, images: Images, parameters: Sequence[Tensor], rule: rules.Rule | None) -> _Answer:
        """The scores (N,), and the gradient of their sum for each parameter that the images were made of."""
        seen = images
        for each in self.transforms:
            seen = each(seen, self.generator)
        self.passes += len(seen)
        scores = images.new_zeros(len(images))
        slopes, own = torch.zeros_like(seen), torch.zeros_like(images)
        with rules.backward_rule(rule) if rule else nullcontext():
            for first in range(0, len(seen), self.batch or len(seen)):
                # The graphs of the canvas and of the network meet in a leaf: one chunk's graph is gone before the next.
                piece = seen[first : first + (self.batch or len(seen))].detach().requires_grad_()
                plain = images.detach().requires_grad_()
                value = self._scores(piece, plain, first, len(seen) // len(images))
                down, beside = torch.autograd.grad(value.sum(), (piece, plain), materialize_grads=True)
                slopes[first : first + len(piece)] = down
                own += beside
                scores += value.detach()
        sound = (scores + own.sum((1, 2, 3)) + slopes.sum((1, 2, 3)).view(len(images), -1).sum(1)).isfinite()
        if not sound.all():  # an image that follows such a slope never is one again
            lost = dict.fromkeys(str(each) for each, begin, end in self.groups if not sound[begin:end].all())
            raise NetworkError(f"{', '.join(lost)} is no number any more; take smaller steps (lr), or float32")
        return scores, torch.autograd.grad((seen, images), parameters, (slopes, own))

    def _scores(self, piece: Images, images: Images, first: int, many: int) -> Tensor:
        """The share of a chunk in the scores (N,): it begins at place `first` of all the views, `many` an image."""
        with torch.autocast(piece.device.type, torch.bfloat16, enabled=self.half):
            found = self.network.tap(piece, self.reads) if self.reads else {}
        if found and not any(each.requires_grad for each in found.values()):
            raise NetworkError(
                f"no gradient of {self.network.name} reaches the image; take no_grad and detach out of its forward"
            )
        scores = [piece.new_zeros(())] * len(images)
        for objective, begin, end in self.groups:
            for view in range(many):  # of all images of the objective at once
                places = [place for place in range(begin, end) if 0 <= place * many + view - first < len(piece)]
                if not places:
                    continue
                rows = slice(places[0] * many + view - first, places[-1] * many + view - first + 1, many)
                mine = {name: each[rows].float() for name, each in found.items()}
                values = objective({**mine, "input": images[places[0] : places[-1] + 1]})
                for place, value in zip(places, values / many, strict=True):
                    scores[place] = scores[place] + value
        return torch.stack(scores)


_Answer = tuple[Tensor, tuple[Tensor, ...]]
