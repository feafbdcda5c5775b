"""The several kinds of image that one unit fires for, each as a place to begin a synthesis from."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from phosphene.core.errors import ImageError, OptionError
from phosphene.core.images import drawing, image
from phosphene.core.images.image import Uint8Image
from phosphene.core.networks.anatomy import embedding_layer
from phosphene.core.networks.network import Images, Network
from phosphene.core.objectives.objective import Objective
from phosphene.studies.evidence.reference_levels import BATCH, Photographs, Source, greatest, unit_of
from phosphene.survey.store.run import Run
from phosphene.synthesis.transforms.pixel_regularizers import gaussian

AVERAGED = 15
"""Images whose mean is a start, at most: as many as in the paper."""

DIMENSIONS = 10
"""To which embeddings are brought before they are clustered."""


@dataclasses.dataclass(frozen=True, eq=False)
class Facet:
    """One kind of image that a unit fires for.

    Args:
        label: the commonest class of its images, or else the name of the most typical one.
        start: (3, H, W), the mean of its most typical images, blurred.
        images: how many it has.
        activation: of the unit in them, on average.
        sources: of the images in the mean, the most typical first.
    """

    label: str
    start: Tensor = dataclasses.field(repr=False)
    images: int
    activation: float
    sources: tuple[str, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Facets:
    """What a unit fires for, kind by kind, the strongest first.

    Args:
        objective: the unit, by its greatest value in an image.
        facets: the kinds.
        notes: how many images there were to tell them from, and what could not be had.
    """

    objective: Objective
    facets: tuple[Facet, ...]
    notes: tuple[str, ...]

    @property
    def starts(self) -> Images:
        """(N, 3, H, W), for `synthesize` or `visualize`."""
        return torch.stack([each.start for each in self.facets])

    def picture(self) -> Uint8Image:
        """The starts side by side, with what they are the mean of."""
        labels = [f"{each.label}: {each.images} images, {each.activation:.3g}" for each in self.facets]
        tiles = drawing.readable([image.levels(each.start) for each in self.facets], _LABELLED)
        return drawing.grid(tiles, len(self.facets), labels=labels)


def facets(
    source: Run | Source, network: Network, objective: Objective, n: int = 4, *, limit: int = 500, seed: int = 0
) -> Facets:
    """Cluster the images that a unit fires most for; the mean of each cluster is a start for a picture of that kind.

    Of the images, 15 n that reach the highest, and at least half of the highest, are clustered by k-means on what the
    network makes of them: its last layer before the classifier, of which the square roots, at length 1, are brought to
    10 dimensions by PCA, so that no image makes a cluster by one loud channel. The start is the mean of the 15 nearest
    to the center of a cluster, or of fewer where there are not so many. It is blurred, the more the fewer they are, so
    that of a photograph layout and color alone are left. Differs from the paper: that has 1,300 images of one class,
    clusters a map by t-SNE, and does not blur. Cost: none for what a survey knows, else a forward pass for each image.

    Args:
        source: a survey, or images: a folder, a pattern, or several; see `survey`.
        network: whose unit; the one of the survey.
        objective: the unit or class, bound to the network.
        n: how many kinds; fewer where there are not so many images.
        limit: so many images at most, drawn by the seed, where the survey does not know the unit.
        seed: of that draw and of k-means.

    Raises:
        ImageError: no image can be read, or the unit fires for none.
        RunError: the survey is of another network.
        OptionError: no facet is wanted, or from no image.

    Reference: Nguyen, Yosinski & Clune, ICML workshop 2016, "Multifaceted Feature Visualization", section 2.
    """
    if n < 1 or limit < 1:
        raise OptionError(f"{n} facets of {limit} images are none; give at least one of each")
    if isinstance(source, Run):
        source.check_network(network)
    wanted = greatest(objective)
    fired = (isinstance(source, Run) and _surveyed(source, wanted)) or _looked(
        Photographs.of(source, limit, seed), network, wanted
    )
    fired = fired.strongest(AVERAGED * n)
    if not len(fired.values):
        raise ImageError(f"{wanted} fires for none of {fired.of} images; give other images")
    found, lost = list[Facet](), list[str]()
    for members in _clusters(fired.rows, min(n, len(fired.values)), seed):
        if (each := _facet(fired, network, members, lost)) is not None:
            found.append(each)
    if not found:
        raise ImageError(f"no image that {wanted} fires for can be read: {lost[0]}")
    few = f", too few for {n} facets" if len(found) < n else ""
    note = f"{len(fired.values)} of {fired.of} images reach half of what the first does, or more{few}"
    found.sort(key=lambda each: -each.activation)
    return Facets(wanted, tuple(found), (note, *lost))


class _Fired(NamedTuple):
    """Images, how strongly a unit fires for them, and what the network makes of them.

    Args:
        photographs: where they can be read.
        numbers: their places there.
        values: (N,), the greatest value in each.
        rows: (N, D).
        of: how many were looked at.
    """

    photographs: Photographs
    numbers: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]
    rows: npt.NDArray[np.float64]
    of: int

    def strongest(self, most: int) -> _Fired:
        """At most so many, and those alone that reach half of the first: the strongest first."""
        order = np.argsort(-self.values, kind="stable")[:most]
        order = order[(self.values[order] > 0) & (self.values[order] >= self.values[order[0]] / 2)]
        return self._replace(numbers=self.numbers[order], values=self.values[order], rows=self.rows[order])


def _surveyed(run: Run, objective: Objective) -> _Fired | None:
    """The strongest patches of a unit and their embeddings; None where a survey has no such thing."""
    layer, channel = unit_of(objective)
    kept = {Path(each["path"]).stem for each in run.manifest["files"]}
    if layer not in run.layers or not {"patches", "embeddings"} <= kept:
        return None
    top = run.patches(layer, channel)
    numbers, values = np.array([each.image for each in top]), np.array([each.activation for each in top])
    photographs = Photographs.of(run, len(run.images["ok"]))
    places = np.cumsum(run.images["ok"])[numbers] - 1
    rows = np.asarray(run.embeddings[numbers], np.float64)
    return _Fired(photographs, places, values, rows, len(photographs.sources))


@torch.no_grad()
def _looked(photographs: Photographs, network: Network, objective: Objective) -> _Fired:
    """The same from a pass over images; those that cannot be read are left out."""
    layer = embedding_layer(network)
    numbers, values, rows = list[int](), list[Tensor](), list[Tensor]()
    for start in range(0, len(photographs.sources), BATCH):
        there = {}
        for number in range(start, min(start + BATCH, len(photographs.sources))):
            try:
                there[number] = network.prepare(photographs.load(number)).images
            except ImageError:
                continue
        if there:
            found = network.tap(torch.cat(list(there.values())), objective.reads | {layer})
            numbers += there
            values.append(objective(found).cpu())
            rows.append(
                found[layer].reshape(*found[layer].shape[:2], -1).mean(2).half().cpu()
            )  # as a survey keeps them
    if not numbers:
        raise ImageError(f"none of {len(photographs.sources)} images can be read; give another folder")
    return _Fired(
        photographs,
        np.array(numbers),
        torch.cat(values).double().numpy(),
        torch.cat(rows).double().numpy(),
        len(numbers),
    )


def _clusters(rows: npt.NDArray[np.float64], n: int, seed: int) -> list[npt.NDArray[np.int64]]:
    """The members of each cluster, nearest to its center first."""
    from sklearn.cluster import KMeans  # noqa: PLC0415  a second, and few need it
    from sklearn.decomposition import PCA  # noqa: PLC0415

    rows = np.sign(rows) * np.sqrt(np.abs(rows))
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.finfo(float).tiny)
    distinct = len(np.unique(rows, axis=0))
    with threadpool_limits(1):  # several threads would round otherwise
        if distinct > 1:
            rows = PCA(min(DIMENSIONS, *rows.shape), svd_solver="full").fit_transform(rows)
        found: Any = KMeans(min(n, distinct), n_init=10, random_state=seed).fit(rows)
    apart = np.linalg.norm(rows - found.cluster_centers_[found.labels_], axis=1)
    members = (np.flatnonzero(found.labels_ == each) for each in range(len(found.cluster_centers_)))
    return [each[np.argsort(apart[each], kind="stable")] for each in members]


def _facet(fired: _Fired, network: Network, members: Sequence[int] | Any, lost: list[str]) -> Facet | None:
    """The facet of some images; None where none of them can be read."""
    sources, photographs, seen = list[str](), list[Tensor](), fired.photographs
    for number in fired.numbers[members].tolist():
        if len(photographs) == AVERAGED:
            break
        try:
            photographs.append(network.prepare(seen.load(number)).images)
        except ImageError as error:
            lost.append(str(error))
            continue
        sources.append(seen.sources[number])
    if not photographs:
        return None
    side = min(network.preprocess.size)
    start = gaussian(torch.cat(photographs).mean(0, keepdim=True), side / 64 * math.sqrt(AVERAGED / len(photographs)))
    names = Counter(each for number in fired.numbers[members].tolist() if (each := seen.labels[number]))
    label = names.most_common(1)[0][0] if names else Path(sources[0]).stem
    return Facet(label, start[0].cpu(), len(members), float(fired.values[members].mean()), tuple(sources))


_LABELLED = 200  # pixels, for the longest of the labels
