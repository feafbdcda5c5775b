"""The several kinds of image that activate one unit, each as a start for a synthesis."""

from __future__ import annotations

import dataclasses
import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
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
from phosphene.core.result import Cost, File, Result
from phosphene.studies.evidence.photographs import Photographs, PhotographSource, read_batches
from phosphene.studies.evidence.reference_levels import spatial_maximum, surveyed_unit
from phosphene.survey.store.run import Run

AVERAGED = 15
"""Images whose mean is a start, at most: as many as in the paper."""

DIMENSIONS = 10
"""Of the embeddings that are clustered, after PCA."""


@dataclasses.dataclass(frozen=True, eq=False)
class Facet:
    """One kind of image that activates a unit.

    Args:
        label: the most frequent class of its images, or else the name of the image nearest to the center.
        start: (3, H, W), the mean of the images nearest to the center, blurred.
        images: how many it has.
        activation: of the unit in them, on average.
        sources: of the images in the mean, the nearest to the center first.
    """

    label: str
    start: Tensor = dataclasses.field(repr=False)
    images: int
    activation: float
    sources: tuple[str, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Facets(Result):
    """The kinds of image that activate a unit, the strongest first; the notes say how many images there were.

    Args:
        target: the unit, by its largest value in an image.
        facets: the kinds.
    """

    verb: str = dataclasses.field(default="facets", kw_only=True)
    target: Objective
    facets: tuple[Facet, ...]

    @property
    def starts(self) -> Images:
        """(N, 3, H, W), for `synthesize` or `visualize`."""
        return torch.stack([facet.start for facet in self.facets])

    def picture(self) -> Uint8Image:
        """The starts side by side, each with its label, number of images and activation."""
        labels = [f"{facet.label}: {facet.images} images, {facet.activation:.3g}" for facet in self.facets]
        tiles = drawing.enlarged([image.levels(facet.start) for facet in self.facets], _LABELED)
        return drawing.grid(tiles, len(self.facets), labels=labels)

    def files(self) -> Iterator[File]:
        yield File.picture("facets.png", self.picture(), target=str(self.target))

    def facts(self) -> Mapping[str, Any]:
        return {
            "facets": [
                {
                    "label": facet.label,
                    "images": facet.images,
                    "activation": facet.activation,
                    "sources": list(facet.sources),
                }
                for facet in self.facets
            ]
        }

    def pictures(self) -> Sequence[Uint8Image]:
        return (self.picture(),)

    def lines(self) -> tuple[str, ...]:
        return tuple(
            f"{self.target}: {facet.label}, {facet.images} images, {facet.activation:.3g} on average"
            for facet in self.facets
        )


def facets(
    source: Run | PhotographSource,
    network: Network,
    objective: Objective,
    n: int = 4,
    *,
    limit: int = 500,
    seed: int = 0,
) -> Facets:
    """Cluster the images that activate a unit most; the mean of each cluster is a start for a picture of that kind.

    The 15 n images with the largest activations, of those that reach at least half of the largest, are clustered by
    k-means on their embeddings: the last layer before the classifier, of which the square roots, normalized to length
    1, are reduced to 10 dimensions by PCA, so that no single strong channel makes a cluster. The start is the mean of
    the 15 images nearest to the center of a cluster, or of fewer where it has fewer. It is blurred, more strongly
    where there are fewer, so that only layout and color of the photographs remain. Differs from the paper: that has
    1,300 images of one class, clusters a map by t-SNE, and does not blur. Cost: none for a unit of a survey, else a
    forward pass for each image.

    Args:
        source: a survey, or images: a folder, a pattern, or several; see `survey`.
        network: whose unit; the one of the survey.
        objective: the unit or class, bound to the network.
        n: how many kinds; fewer where there are not enough images.
        limit: how many images are measured at most, drawn by the seed, where the survey does not have the unit.
        seed: of that draw and of k-means.

    Raises:
        ImageError: no image can be read, or none activates the unit.
        RunError: the survey is of another network.
        OptionError: n or limit is below 1.

    Reference: Nguyen, Yosinski & Clune, ICML workshop 2016, "Multifaceted Feature Visualization", section 2.
    """
    if n < 1 or limit < 1:
        raise OptionError(f"{n} facets of {limit} images are none; give at least one of each")
    if isinstance(source, Run):
        source.check_network(network)
    start, target = time.perf_counter(), spatial_maximum(objective)
    activated = _surveyed(source, target) if isinstance(source, Run) else None
    passes = 0
    if activated is None:
        activated = _measured(Photographs.of(source, limit, seed), network, target)
        passes = activated.of
    activated = activated.strongest(AVERAGED * n)
    if not len(activated.values):
        raise ImageError(f"{target} fires for none of {activated.of} images; give other images")
    made, errors = list[Facet](), list[str]()
    for members in _clusters(activated.embeddings, min(n, len(activated.values)), seed):
        if (facet := _facet(activated, network, members, errors)) is not None:
            made.append(facet)
    if not made:
        raise ImageError(f"no image that {target} fires for can be read: {errors[0]}")
    few = f", too few for {n} facets" if len(made) < n else ""
    note = f"{len(activated.values)} of {activated.of} images reach half of what the first does, or more{few}"
    return Facets(
        target,
        tuple(sorted(made, key=lambda facet: -facet.activation)),
        network=network,
        options={"n": n, "limit": limit},
        seed=seed,
        cost=Cost(forwards=passes, seconds=time.perf_counter() - start),
        notes=(note, *errors),
    )


class _Activated(NamedTuple):
    """Images with the activation of a unit and their embeddings.

    Args:
        photographs: to read them from.
        indices: of the images there.
        values: (N,), the largest activation in each.
        embeddings: (N, D).
        of: how many were measured.
    """

    photographs: Photographs
    indices: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]
    embeddings: npt.NDArray[np.float64]
    of: int

    def strongest(self, most: int) -> _Activated:
        """At most so many, and only those that reach half of the largest: the strongest first."""
        order = np.argsort(-self.values, kind="stable")[:most]
        order = order[(self.values[order] > 0) & (self.values[order] >= self.values[order[0]] / 2)]
        return self._replace(indices=self.indices[order], values=self.values[order], embeddings=self.embeddings[order])


def _surveyed(run: Run, objective: Objective) -> _Activated | None:
    """The strongest patches of a unit and their embeddings; None where the survey lacks the unit or a table."""
    layer, channel = surveyed_unit(objective)
    if layer not in run.layers or not {"patches", "embeddings"} <= {*run.tables, *run.arrays}:
        return None
    patches = run.patches(layer, channel)
    numbers, values = np.array([patch.image for patch in patches]), np.array([patch.activation for patch in patches])
    photographs = Photographs.of(run, len(run.images["ok"]))
    indices = np.cumsum(run.images["ok"])[numbers] - 1
    embeddings = np.asarray(run.embeddings[numbers], np.float64)
    return _Activated(photographs, indices, values, embeddings, len(photographs.sources))


@torch.no_grad()
def _measured(photographs: Photographs, network: Network, objective: Objective) -> _Activated:
    """The same from a pass over images; those that cannot be read are left out."""
    layer, total = embedding_layer(network), len(photographs.sources)
    indices, values, embeddings = list[int](), list[Tensor](), list[Tensor]()
    for batch in read_batches(network, photographs.load, range(total), on_error=lambda _: None):
        activations = network.tap(batch.images, objective.reads | {layer})
        maps = activations[layer]
        indices += batch.indices
        values.append(objective(activations).cpu())
        embeddings.append(maps.reshape(*maps.shape[:2], -1).mean(2).half().cpu())  # half, as in a survey
    if not indices:
        raise ImageError(f"none of {total} images can be read; give another folder")
    return _Activated(
        photographs,
        np.array(indices),
        torch.cat(values).double().numpy(),
        torch.cat(embeddings).double().numpy(),
        len(indices),
    )


def _clusters(embeddings: npt.NDArray[np.float64], n: int, seed: int) -> list[npt.NDArray[np.int64]]:
    """The members of each cluster, the nearest to its center first."""
    from sklearn.cluster import KMeans  # noqa: PLC0415  takes a second to import
    from sklearn.decomposition import PCA  # noqa: PLC0415

    rows = np.sign(embeddings) * np.sqrt(np.abs(embeddings))
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.finfo(float).tiny)
    distinct = len(np.unique(rows, axis=0))
    with threadpool_limits(1):  # sums of several threads are rounded differently from run to run
        if distinct > 1:
            rows = PCA(min(DIMENSIONS, *rows.shape), svd_solver="full").fit_transform(rows)
        fitted: Any = KMeans(min(n, distinct), n_init=10, random_state=seed).fit(rows)
    distances = np.linalg.norm(rows - fitted.cluster_centers_[fitted.labels_], axis=1)
    clusters = (np.flatnonzero(fitted.labels_ == number) for number in range(len(fitted.cluster_centers_)))
    return [members[np.argsort(distances[members], kind="stable")] for members in clusters]


def _facet(activated: _Activated, network: Network, members: Sequence[int] | Any, errors: list[str]) -> Facet | None:
    """The facet of some images; None where none of them can be read."""
    sources, images, photographs = list[str](), list[Tensor](), activated.photographs
    for index in activated.indices[members].tolist():
        if len(images) == AVERAGED:
            break
        try:
            images.append(network.prepare(photographs.load(index)).images)
        except ImageError as error:
            errors.append(str(error))
            continue
        sources.append(photographs.sources[index])
    if not images:
        return None
    side = min(network.preprocess.size)
    start = image.blurred(torch.cat(images).mean(0, keepdim=True), side / 64 * math.sqrt(AVERAGED / len(images)))
    labels = Counter(label for index in activated.indices[members].tolist() if (label := photographs.labels[index]))
    label = labels.most_common(1)[0][0] if labels else Path(sources[0]).stem
    return Facet(label, start[0].cpu(), len(members), float(activated.values[members].mean()), tuple(sources))


_LABELED = 200  # pixels, for the longest of the labels
