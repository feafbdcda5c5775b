"""The grid pointing game: whether the map of a class lies on the picture of that class in a mosaic."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from phosphene.attribution.attribution import Attribution, MethodLike, bind_method
from phosphene.attribution.heatmap import attribute_all
from phosphene.attribution.localize.boxes import saliency
from phosphene.core.errors import ImageError, NetworkError, OptionError
from phosphene.core.images.image import resize
from phosphene.core.networks.network import Images, Network
from phosphene.core.objectives.classes import Logit
from phosphene.core.result import Cost


@dataclasses.dataclass(frozen=True, eq=False)
class PointingGame:
    """The share of each map that lies in the cell that shows its class.

    Args:
        method: with all its options.
        cells: per side of a mosaic.
        mosaics: input of the network, (M, 3, H, W).
        members: index of the image in each cell, row by row, (M, cells²).
        classes: its most probable class, (M, cells²).
        shares: share of the positive attribution of that class that lies in the cell, in [0, 1], (M, cells²).
        cost: passes.
        notes: choices, and images that are in no mosaic.
    """

    method: Attribution
    cells: int
    mosaics: Images
    members: Tensor
    classes: Tensor
    shares: Tensor
    cost: Cost
    notes: tuple[str, ...] = ()

    @property
    def mean(self) -> float:
        """Mean share over all cells, in [0, 1]."""
        return self.shares.mean().item()

    @property
    def chance(self) -> float:
        """The share of a map that is the same everywhere."""
        return 1 / self.cells**2

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "method": dict(self.method.manifest()),
            "cells": self.cells,
            "mean": self.mean,
            "chance": self.chance,
            "members": self.members.tolist(),
            "classes": self.classes.tolist(),
            "shares": self.shares.tolist(),
            "cost": dataclasses.asdict(self.cost),
            "notes": list(self.notes),
        }


def pointing_game(
    network: Network,
    images: Images,
    method: MethodLike,
    *,
    cells: int = 2,
    confidence: float = 0.0,
    seed: int = 0,
) -> PointingGame:
    """The grid pointing game: mosaics of pictures of different classes, and a map for each class.

    Share = Σ of the saliency of a class over the cell that shows it / Σ over the mosaic. Each cell has the input size
    of the network, so that a mosaic is cells times as high and wide; where the network does not take that size, the
    mosaic is shrunk to the input size. A blank map counts as 0. Each image is in one mosaic at most.
    Cost: 1 forward pass for each image, and for each mosaic 1 and what the method takes for cells² classes.

    Differs from the paper: pixels count by the saliency of the map, not by its positive sum over channels.

    Args:
        network: whose classes.
        images: (N, 3, H, W), RGB in [0, 1], of cells² classes at least.
        method: a registered name, or a method with its options.
        cells: per side of a mosaic.
        confidence: minimum probability of the best class of a picture that is used, in [0, 1].
        seed: of the order of the pictures.

    Raises:
        ImageError: too few pictures, or classes, for one mosaic.
        OptionError: fewer than 2 cells, or no method of that name.

    Reference: Böhle, Fritz & Schiele, CVPR 2021, section 4; Rao, Böhle & Schiele, CVPR 2022.

    >>> pointing_game(tiny, images, "grad-cam")
    Traceback (most recent call last):
    phosphene.core.errors.ImageError: a mosaic wants 4 pictures of different classes; the network sees 1 of them here
    """
    if cells < 2:
        raise OptionError(f"cells is {cells}; a mosaic has at least 2 per side")
    chosen = bind_method(network, method)
    images = network.check(images)
    best = [ranked[0] for ranked in network.predict(images, 1)]
    confident = [top.index if top.probability >= confidence else None for top in best]
    members = _groups(confident, cells**2, seed)
    if not members:
        count = len({*confident} - {None})
        raise ImageError(
            f"a mosaic wants {cells**2} pictures of different classes; the network sees {count} of them here"
        )
    wide, notes = _larger(network, cells)
    mosaics = resize(_mosaics(images, members, cells), wide.preprocess.size)
    classes = [[best[i].index for i in group] for group in members]
    rows = [_cell_shares(wide, mosaic[None], group, chosen) for mosaic, group in zip(mosaics, classes, strict=True)]
    left = len(images) - sum(map(len, members))
    return PointingGame(
        method=chosen,
        cells=cells,
        mosaics=mosaics,
        members=torch.tensor(members),
        classes=torch.tensor(classes),
        shares=torch.stack([shares for shares, _ in rows]),
        cost=sum((cost for _, cost in rows), start=Cost(forwards=len(images))),
        notes=(*notes, *((f"{left} of {len(images)} pictures are in no mosaic",) if left else ())),
    )


def _groups(classes: list[int | None], size: int, seed: int) -> list[list[int]]:
    """Full groups of images of different classes, in a shuffled order; images of class None are left out."""
    groups: list[list[int]] = []
    for i in torch.randperm(len(classes), generator=torch.Generator().manual_seed(seed)).tolist():
        if classes[i] is None:
            continue
        fitting = (group for group in groups if len(group) < size and classes[i] not in {classes[j] for j in group})
        group = next(fitting, None)
        if group is None:
            groups.append([i])
        else:
            group.append(i)
    return [group for group in groups if len(group) == size]


def _mosaics(images: Images, members: list[list[int]], cells: int) -> Images:
    """(M, 3, cells * H, cells * W)."""
    height, width = images.shape[2:]
    grid = images[torch.tensor(members)].view(-1, cells, cells, 3, height, width)
    return grid.permute(0, 3, 1, 4, 2, 5).reshape(-1, 3, cells * height, cells * width)


def _larger(network: Network, cells: int) -> tuple[Network, tuple[str, ...]]:
    """The network with an input size of a whole mosaic; the network itself where it takes no other size."""
    height, width = network.preprocess.size
    larger = dataclasses.replace(network.preprocess, size=(cells * height, cells * width))
    wide = dataclasses.replace(network, preprocess=larger)
    try:
        fits = bool(wide.layers) and wide.classes == network.classes
    except (NetworkError, RuntimeError, AssertionError, ValueError):  # as position embeddings and linear layers do
        fits = False
    if fits:
        return wide, ()
    return network, (f"{network.name} takes images of {height}×{width} only, so cells are shrunk to 1/{cells}",)


def _cell_shares(network: Network, mosaic: Images, classes: list[int], method: Attribution) -> tuple[Tensor, Cost]:
    """The share of each cell, (cells²,), and the cost."""
    heatmaps = attribute_all(network, mosaic, [Logit(index) for index in classes], [method])
    cells = round(len(classes) ** 0.5)
    shares = []
    for cell, heatmap in enumerate(heatmaps):
        values = saliency(heatmap.values)[0].cpu().double()
        row = values.tensor_split(cells, 0)[cell // cells]
        inside = row.tensor_split(cells, 1)[cell % cells].sum()
        shares.append(inside / values.sum().clamp(min=torch.finfo(values.dtype).tiny))
    return torch.stack(shares), sum((heatmap.cost for heatmap in heatmaps), start=Cost(forwards=1))
