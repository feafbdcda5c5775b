"""Scores of images and their gradients, as each step of the optimization needs them."""

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


class ScoreEvaluation:
    """The score of each image and its gradient, under another random transformation at each call.

    Args:
        network: that is run.
        objectives: one for each image; neighbors that share one are evaluated together.
        transforms: change the images before the network sees them.
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
        self.reads = frozenset().union(*(objective.reads for objective in objectives)) - {"input"}
        self.groups: list[tuple[Objective, int, int]] = []
        for _, members in groupby(objectives, key=id):
            same = list(members)
            first = self.groups[-1][2] if self.groups else 0
            self.groups.append((same[0], first, first + len(same)))
        self.passes = 0

    def __call__(self, images: Images, parameters: Sequence[Tensor], rule: rules.Rule | None) -> _Answer:
        """The scores (N,), and the gradient of their sum for each parameter of the canvas.

        Args:
            images: (N, 3, H, W), computed from the parameters.
            parameters: of the canvas.
            rule: of the backward pass through ReLUs; the plain gradient by default.
        """
        views = images
        for transform in self.transforms:
            views = transform(views, self.generator)
        self.passes += len(views)
        scores = images.new_zeros(len(images))
        view_gradients, image_gradients = torch.zeros_like(views), torch.zeros_like(images)
        with rules.backward_rule(rule) if rule else nullcontext():
            for first in range(0, len(views), self.batch or len(views)):
                # The graphs of the canvas and of the network meet in a leaf: one chunk's graph is gone before the next.
                chunk = views[first : first + (self.batch or len(views))].detach().requires_grad_()
                plain = images.detach().requires_grad_()
                values = self._scores(chunk, plain, first, len(views) // len(images))
                by_view, by_image = torch.autograd.grad(values.sum(), (chunk, plain), materialize_grads=True)
                view_gradients[first : first + len(chunk)] = by_view
                image_gradients += by_image
                scores += values.detach()
        self._check(
            scores + image_gradients.sum((1, 2, 3)) + view_gradients.sum((1, 2, 3)).view(len(images), -1).sum(1)
        )
        return scores, torch.autograd.grad((views, images), parameters, (view_gradients, image_gradients))

    def _check(self, sums: Tensor) -> None:
        """Refuse scores and gradients that are not finite: the image would not be finite from then on."""
        if not (finite := sums.isfinite()).all():
            lost = dict.fromkeys(str(objective) for objective, begin, end in self.groups if not finite[begin:end].all())
            raise NetworkError(f"{', '.join(lost)} is no number any more; take smaller steps (lr), or float32")

    def _scores(self, chunk: Images, images: Images, first: int, many: int) -> Tensor:
        """The part of a chunk of views in the scores (N,).

        Args:
            chunk: some of the views.
            images: of which they are.
            first: place of the first view of the chunk among all.
            many: views of each image; its score is their mean.
        """
        with torch.autocast(chunk.device.type, torch.bfloat16, enabled=self.half):
            activations = self.network.tap(chunk, self.reads) if self.reads else {}
        if activations and not any(values.requires_grad for values in activations.values()):
            raise NetworkError(
                f"no gradient of {self.network.name} reaches the image; take no_grad and detach out of its forward"
            )
        scores = [chunk.new_zeros(())] * len(images)
        for objective, begin, end in self.groups:
            for view in range(many):  # of all images of the objective at once
                places = [place for place in range(begin, end) if 0 <= place * many + view - first < len(chunk)]
                if not places:
                    continue
                rows = slice(places[0] * many + view - first, places[-1] * many + view - first + 1, many)
                read = {name: values[rows].float() for name, values in activations.items()}
                values = objective({**read, "input": images[places[0] : places[-1] + 1]})
                for place, value in zip(places, values / many, strict=True):
                    scores[place] = scores[place] + value
        return torch.stack(scores)


_Answer = tuple[Tensor, tuple[Tensor, ...]]
