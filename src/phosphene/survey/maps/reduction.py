"""From many dimensions to two or three: each projection is one class, here or in a file of its own."""

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
from phosphene.survey.maps.nearest import nearest

Floats = npt.NDArray[np.float64]
Scaling = Literal["center", "z-score", "unit-length"]


class Projected(NamedTuple):
    """Where a projection puts images.

    Args:
        coordinates: (N, dims) float64.
        axes: a name for each dimension.
        notes: choices that were made, to be shown beside the map.
    """

    coordinates: Floats
    axes: tuple[str, ...]
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Projection(Named):
    """Images as points in two or three dimensions; the same vectors and seed give the same bytes.

    It runs with one thread for linear algebra, whose sums would else come in another order; see `embedding_map`.

    Args:
        scaling: what becomes of the features first: "center" leaves their spreads as the network has them; "z-score"
            divides each by its deviation, so that weak ones count as much; "unit-length" divides each image by its
            norm, so that distances follow the cosine.
    """

    spelling: ClassVar[str] = ""  # as papers write the name
    scaling: Scaling = "center"

    def __call__(self, vectors: Floats, dims: int, seed: int) -> Projected:
        """Coordinates of images.

        Args:
            vectors: (N, D), finite.
            dims: 2 or 3.
            seed: of every random choice.
        """
        raise NotImplementedError

    def place(self, vectors: Floats, coordinates: Floats, new: Floats, seed: int) -> Floats:
        """Coordinates of new images on a map that does not move, each as if it came alone: (M, dims).

        Args:
            vectors: (N, D), of the images that the map was made from.
            coordinates: (N, dims), their places.
            new: (M, D), finite.
            seed: of the map.
        """
        raise NotImplementedError

    def scaled(self, vectors: Floats, by: Floats) -> Floats:
        """Vectors after the scaling, with mean and deviation of another table.

        Args:
            vectors: (M, D).
            by: (N, D), whose statistics to use.
        """
        if self.scaling == "unit-length":
            return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1)[:, None], np.finfo(float).tiny))
        spread = by.std(0) if self.scaling == "z-score" else np.ones(1)
        return np.asarray((vectors - by.mean(0)) / np.where(spread, spread, 1))


@dataclasses.dataclass(frozen=True)
class PCA(Projection, name="pca"):
    """The directions in which the features vary most; linear: no distance on the map is greater than it was.

    Exact, by scikit-learn. The sign of a direction, which is free, is chosen so that its largest weight is positive.
    """

    spelling = "PCA"

    def __call__(self, vectors: Floats, dims: int, seed: int) -> Projected:  # noqa: ARG002  nothing is random
        found, scaled = self._fit(vectors, dims)
        shares = found.explained_variance_ratio_
        axes = tuple(f"PC {axis + 1}, {share:.1%} of the variance" for axis, share in enumerate(shares))
        return Projected(found.transform(scaled), axes, (f"{shares.sum():.1%} of the variance is shown",))

    def place(self, vectors: Floats, coordinates: Floats, new: Floats, seed: int) -> Floats:  # noqa: ARG002
        """See `Projection.place`."""
        found, _ = self._fit(vectors, coordinates.shape[1])
        return np.asarray(found.transform(self.scaled(new, vectors)))

    def _fit(self, vectors: Floats, dims: int) -> tuple[Any, Floats]:
        scaled = self.scaled(vectors, vectors)
        return _components(scaled, dims), scaled


@dataclasses.dataclass(frozen=True)
class TSNE(Projection, name="t-sne"):
    """Neighbors stay neighbors; distances between groups, their sizes and their densities mean nothing.

    By openTSNE, from the first 50 principal components and started at the first ones, with exact neighbors. Two
    dimensions by Barnes-Hut up to 10,000 images and by FFT beyond, three by Barnes-Hut always. A new image starts at
    its nearest neighbor and is drawn by five, while nothing else moves.
    Cost: seconds for a thousand images; minutes for 100,000.

    Args:
        perplexity: how many neighbors an image attends to; at most a third of the other images.
        iterations: after 250 of early exaggeration.

    Reference: van der Maaten & Hinton, JMLR 2008; Poličar, Stražar & Zupan, Machine Learning 2021.
    """

    spelling = "t-SNE"
    perplexity: float = 30.0
    iterations: int = 500

    def __post_init__(self) -> None:
        if not self.perplexity >= 1 or self.iterations < 1:
            raise OptionError(f"perplexity is {self.perplexity}, iterations {self.iterations}; give at least 1 of each")

    def __call__(self, vectors: Floats, dims: int, seed: int) -> Projected:
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
        axes = tuple(f"{self.spelling} {axis + 1}" for axis in range(dims))
        return Projected(np.array(embedding), axes, (f"perplexity {perplexity:g}, seed {seed}", *notes))

    def place(self, vectors: Floats, coordinates: Floats, new: Floats, seed: int) -> Floats:  # noqa: ARG002
        """See `Projection.place`."""
        scaled = self.scaled(vectors, vectors)
        components, few = _components(scaled, _PRINCIPAL), min(5.0, (len(vectors) - 1) / 3)
        known, asked = components.transform(scaled), components.transform(self.scaled(new, vectors))
        around = nearest(known, asked, int(3 * few))
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
        """What so many images allow."""
        most = (count - 1) / 3
        if self.perplexity <= most:
            return self.perplexity, ()
        return most, (f"perplexity {self.perplexity:g} needs {3 * self.perplexity + 1:g} images: {most:.3g} was taken",)


@dataclasses.dataclass(frozen=True)
class UMAP(Projection, name="umap"):
    """Neighbors stay neighbors, by a graph of them; groups come out tighter than by t-SNE.

    By umap-learn, on one thread, as a seed wants it; other versions of it and of numba may give another map.

    Args:
        neighbors: how many an image attends to; at most all other images.
        distance: least distance between points on the map: small for tight groups, in [0, 1].

    Reference: McInnes, Healy & Melville, 2018, arXiv:1802.03426.
    """

    spelling = "UMAP"
    neighbors: int = 15
    distance: float = 0.1

    def __post_init__(self) -> None:
        if self.neighbors < 2 or not 0 <= self.distance <= 1:
            found = f"neighbors is {self.neighbors}, distance {self.distance}"
            raise OptionError(f"{found}; give at least 2 neighbors, and a distance in [0, 1]")

    def __call__(self, vectors: Floats, dims: int, seed: int) -> Projected:
        found = self._learner(len(vectors), dims, seed)
        fitted = found.fit_transform(self.scaled(vectors, vectors))
        notes = (f"{found.n_neighbors} neighbors, distance {self.distance:g}, seed {seed}",)
        axes = tuple(f"{self.spelling} {axis + 1}" for axis in range(dims))
        return Projected(fitted.astype(np.float64), axes, notes)

    def place(self, vectors: Floats, coordinates: Floats, new: Floats, seed: int) -> Floats:
        """See `Projection.place`."""
        known = coordinates.astype(np.float32)
        learner = self._learner(len(vectors), coordinates.shape[1], seed, n_epochs=0, init=known)
        learner.fit(self.scaled(vectors, vectors))  # the graph alone
        learner.embedding_, learner.n_epochs = known, None
        each = [learner.transform(row[None]) for row in self.scaled(new, vectors)]
        return np.concatenate(each).astype(np.float64)

    def _learner(self, count: int, dims: int, seed: int, **options: Any) -> Any:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ImportWarning)  # that its variant on TensorFlow is not there
                import umap  # noqa: PLC0415  an extra, and slow to import
        except ImportError as error:
            raise OptionError("umap needs umap-learn: pip install 'phosphene[umap]', or choose t-sne") from error
        return umap.UMAP(
            n_neighbors=min(self.neighbors, count - 1),
            min_dist=self.distance,
            n_components=dims,
            random_state=seed,
            transform_seed=seed,
            n_jobs=1,
            **options,
        )


def _components(vectors: Floats, most: int) -> Any:
    """The first principal components, or as many as there are; exact, not drawn at random."""
    wide = vectors.shape[0] <= vectors.shape[1]
    solver = "full" if wide else "covariance_eigh"
    return decomposition.PCA(min(most, *vectors.shape), svd_solver=solver).fit(vectors)


_PRINCIPAL = 50
_BARNES_HUT = 10_000
