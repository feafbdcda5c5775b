"""Reduction of vectors to two or three dimensions; every method is one class, here or in a file of its own."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import openTSNE
import torch
from openTSNE.affinity import PerplexityBasedNN, PrecomputedAffinities, joint_probabilities_nn
from scipy.sparse import csr_matrix
from sklearn import decomposition

from phosphene.core.errors import OptionError
from phosphene.core.registry import Named
from phosphene.survey.maps.nearest import nearest_rows

Floats = npt.NDArray[np.float64]
Scaling = Literal["center", "z-score", "unit-length"]


class ReducedVectors(NamedTuple):
    """The result of a reduction.

    Args:
        coordinates: (N, dims) float64.
        axes: a name for each dimension.
        notes: choices that were made, to be shown beside the map.
    """

    coordinates: Floats
    axes: tuple[str, ...]
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Reduction(Named):
    """Images as points in two or three dimensions; the same vectors and seed give the same bytes.

    It must run with one thread for linear algebra, since more would sum in another order; see `embedding_map`.

    Args:
        scaling: of the features before the reduction: "center" subtracts the mean; "z-score" also divides by the
            standard deviation, so that all features count alike; "unit-length" divides each image by its norm, so that
            distances follow the cosine.
    """

    title: ClassVar[str] = ""  # the name as papers write it
    scaling: Scaling = "center"

    def __call__(self, vectors: Floats, dims: int, seed: int) -> ReducedVectors:
        """Coordinates of images.

        Args:
            vectors: (N, D), finite.
            dims: 2 or 3.
            seed: of every random choice.
        """
        raise NotImplementedError

    def place(self, vectors: Floats, coordinates: Floats, new: Floats, seed: int) -> Floats:
        """Coordinates of new images on a map that does not change, each computed independently: (M, dims).

        Args:
            vectors: (N, D), of the images that the map was made from.
            coordinates: (N, dims), their places.
            new: (M, D), finite.
            seed: of the map.
        """
        raise NotImplementedError

    def scaled(self, vectors: Floats, by: Floats) -> Floats:
        """Vectors after the scaling, with mean and deviation of a table.

        Args:
            vectors: (M, D).
            by: (N, D), the table.
        """
        if self.scaling == "unit-length":
            return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1)[:, None], np.finfo(float).tiny))
        spread = by.std(0) if self.scaling == "z-score" else np.ones(1)
        return np.asarray((vectors - by.mean(0)) / np.where(spread, spread, 1))


@dataclasses.dataclass(frozen=True)
class PCA(Reduction, name="pca"):
    """The directions in which the features vary most; linear: no distance on the map is greater than that of vectors.

    Exact, by scikit-learn. The sign of a direction, which is free, is chosen so that its largest weight is positive.
    """

    title = "PCA"

    def __call__(self, vectors: Floats, dims: int, seed: int) -> ReducedVectors:  # noqa: ARG002  nothing is random
        components, scaled = self._fit(vectors, dims)
        shares = components.explained_variance_ratio_
        axes = tuple(f"PC {axis + 1}, {share:.1%} of the variance" for axis, share in enumerate(shares))
        return ReducedVectors(components.transform(scaled), axes, (f"{shares.sum():.1%} of the variance is shown",))

    def place(self, vectors: Floats, coordinates: Floats, new: Floats, seed: int) -> Floats:  # noqa: ARG002
        """See `Reduction.place`."""
        components, _ = self._fit(vectors, coordinates.shape[1])
        return np.asarray(components.transform(self.scaled(new, vectors)))

    def _fit(self, vectors: Floats, dims: int) -> tuple[Any, Floats]:
        scaled = self.scaled(vectors, vectors)
        return _components(scaled, dims), scaled


@dataclasses.dataclass(frozen=True)
class TSNE(Reduction, name="t-sne"):
    """Neighbors stay neighbors; distances between groups, their sizes and their densities mean nothing.

    By openTSNE, from the first 50 principal components and started at the first ones, with exact neighbors. Two
    dimensions by Barnes-Hut up to 10,000 images and by FFT beyond, three by Barnes-Hut always. A new image starts at
    its nearest neighbor and is drawn by five, while nothing else moves.
    Cost: seconds for a thousand images; minutes for 100,000.

    Args:
        perplexity: effective number of neighbors of an image; at most a third of the other images.
        iterations: after 250 of early exaggeration.

    Reference: van der Maaten & Hinton, JMLR 2008; Poličar, Stražar & Zupan, Machine Learning 2021.
    """

    title = "t-SNE"
    perplexity: float = 30.0
    iterations: int = 500

    def __post_init__(self) -> None:
        if not self.perplexity >= 1 or self.iterations < 1:
            raise OptionError(f"perplexity is {self.perplexity}, iterations {self.iterations}; give at least 1 of each")

    def __call__(self, vectors: Floats, dims: int, seed: int) -> ReducedVectors:
        scaled = self.scaled(vectors, vectors)
        reduced = _components(scaled, _PRINCIPAL).transform(scaled)
        perplexity, notes = self._perplexity(len(vectors))
        start = reduced[:, :dims] * (1e-4 / reduced[:, 0].std())
        # Images that are the same must not start at the same place, where the gradient cannot part them.
        start += np.random.default_rng(seed).normal(0, 1e-6, start.shape)
        embedding = openTSNE.TSNEEmbedding(
            start,
            PerplexityBasedNN(reduced, perplexity, method="exact"),
            negative_gradient_method="fft" if dims == 2 and len(vectors) > _BARNES_HUT else "bh",
            n_jobs=torch.get_num_threads(),
            random_state=seed,
        )
        embedding.optimize(250, exaggeration=12, momentum=0.8, inplace=True)
        embedding.optimize(self.iterations, momentum=0.8, inplace=True)
        if reduced.shape[1] < vectors.shape[1]:
            notes = (f"from the first {reduced.shape[1]} of {vectors.shape[1]:,} principal components", *notes)
        axes = tuple(f"{self.title} {axis + 1}" for axis in range(dims))
        return ReducedVectors(np.array(embedding), axes, (f"perplexity {perplexity:g}, seed {seed}", *notes))

    def place(self, vectors: Floats, coordinates: Floats, new: Floats, seed: int) -> Floats:  # noqa: ARG002
        """See `Reduction.place`."""
        scaled = self.scaled(vectors, vectors)
        components, few = _components(scaled, _PRINCIPAL), min(5.0, (len(vectors) - 1) / 3)
        known, asked = components.transform(scaled), components.transform(self.scaled(new, vectors))
        around = nearest_rows(known, asked, int(3 * few))
        pull = joint_probabilities_nn(
            *around, [few], symmetrize=False, normalization="point-wise", n_reference_samples=len(vectors)
        )
        nothing = PrecomputedAffinities(csr_matrix((len(vectors), len(vectors))), normalize=False)
        placed = openTSNE.PartialTSNEEmbedding(
            coordinates[around.indices[:, 0]],
            openTSNE.TSNEEmbedding(coordinates.copy(), nothing),
            pull,
            negative_gradient_method="bh",
            n_jobs=1,
        )
        placed.optimize(250, inplace=True, exaggeration=1.5, learning_rate=0.1, momentum=0.8, max_grad_norm=0.25)
        return np.array(placed)

    def _perplexity(self, count: int) -> tuple[float, tuple[str, ...]]:
        """The perplexity that so many images allow, with a note where it is less than asked for."""
        limit = (count - 1) / 3
        if self.perplexity <= limit:
            return self.perplexity, ()
        return limit, (
            f"perplexity {self.perplexity:g} needs {3 * self.perplexity + 1:g} images: {limit:.3g} was taken",
        )


@dataclasses.dataclass(frozen=True)
class UMAP(Reduction, name="umap"):
    """Neighbors stay neighbors, by a fuzzy graph of them; clusters are tighter than with t-SNE.

    By umap-learn, on one thread, which a seed needs; other versions of it and of numba may give another map.

    Args:
        n_neighbors: of an image in the graph; at most all other images.
        min_dist: least distance between points on the map: small for tight clusters, in [0, 1].

    Reference: McInnes, Healy & Melville, 2018, arXiv:1802.03426.
    """

    title = "UMAP"
    n_neighbors: int = 15
    min_dist: float = 0.1

    def __post_init__(self) -> None:
        if self.n_neighbors < 2 or not 0 <= self.min_dist <= 1:
            values = f"n_neighbors is {self.n_neighbors}, min_dist {self.min_dist}"
            raise OptionError(f"{values}; give at least 2 neighbors, and a min_dist in [0, 1]")

    def __call__(self, vectors: Floats, dims: int, seed: int) -> ReducedVectors:
        learner = self._learner(len(vectors), dims, seed)
        fitted = learner.fit_transform(self.scaled(vectors, vectors))
        notes = (f"{learner.n_neighbors} neighbors, min_dist {self.min_dist:g}, seed {seed}",)
        axes = tuple(f"{self.title} {axis + 1}" for axis in range(dims))
        return ReducedVectors(fitted.astype(np.float64), axes, notes)

    def place(self, vectors: Floats, coordinates: Floats, new: Floats, seed: int) -> Floats:
        """See `Reduction.place`."""
        known = coordinates.astype(np.float32)
        learner = self._learner(len(vectors), coordinates.shape[1], seed, n_epochs=0, init=known)
        learner.fit(self.scaled(vectors, vectors))  # computes only the graph
        learner.embedding_, learner.n_epochs = known, None
        places = [learner.transform(row[None]) for row in self.scaled(new, vectors)]
        return np.concatenate(places).astype(np.float64)

    def _learner(self, count: int, dims: int, seed: int, **options: Any) -> Any:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ImportWarning)  # its variant on TensorFlow is not installed
                import umap  # noqa: PLC0415  an extra, and slow to import
        except ImportError as error:
            raise OptionError("umap needs umap-learn: pip install 'phosphene[umap]', or choose t-sne") from error
        return umap.UMAP(
            n_neighbors=min(self.n_neighbors, count - 1),
            min_dist=self.min_dist,
            n_components=dims,
            random_state=seed,
            transform_seed=seed,
            n_jobs=1,
            **options,
        )


def _components(vectors: Floats, count: int) -> Any:
    """The first principal components, or as many as there are; computed exactly, not by a randomized method."""
    wide = vectors.shape[0] <= vectors.shape[1]
    solver = "full" if wide else "covariance_eigh"
    return decomposition.PCA(min(count, *vectors.shape), svd_solver=solver).fit(vectors)


_PRINCIPAL = 50
_BARNES_HUT = 10_000
