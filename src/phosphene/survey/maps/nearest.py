"""The exact nearest rows of a table that may be larger than memory, by one matrix product."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from phosphene.core.errors import OptionError

Metric = Literal["l2", "cosine"]
Floats = npt.NDArray[np.float64]


class NearestRows(NamedTuple):
    """Rows near each query, the nearest first.

    Args:
        indices: (Q, k) int64.
        distances: (Q, k) float64.
    """

    indices: npt.NDArray[np.int64]
    distances: npt.NDArray[np.float64]


def nearest_rows(
    vectors: npt.NDArray[Any],
    queries: npt.NDArray[Any],
    k: int,
    *,
    metric: Metric = "l2",
    without: npt.ArrayLike | None = None,
) -> NearestRows:
    """The exact k nearest rows, streamed from an array that may lie on a disk.

    l2 = |v - q|; cosine = 1 - v·q / (|v| |q|). One matrix product in float64, by |v|² - 2 v·q + |q|², finds every row
    that may be among the k, given how far rounding can go; those are measured again by their differences, where
    nothing cancels. Of equal distances the lower index comes first. A row that is not finite, or for cosine is zero, is
    never returned. Memory: 25 bytes a row for one query, at most 200 MB for many of them together.

    Args:
        vectors: (N, D), any numbers; a float16 memory map is read once for each eight million / N queries.
        queries: (D,) or (Q, D).
        k: how many; all where there are fewer.
        metric: "l2" or "cosine".
        without: rows to exclude for each query, (Q,) or (Q, M): usually itself.

    Raises:
        OptionError: a metric, k or query that is not allowed, or no row to choose from.

    >>> nearest_rows(np.eye(3), np.array([0.9, 0.4, 0.0]), 2).indices
    array([[0, 1]])
    """
    if metric not in ("l2", "cosine"):
        raise OptionError(f"metric is {metric!r}; it can be 'l2' or 'cosine'")
    if k < 1:
        raise OptionError(f"k is {k}; give at least 1")
    rows, table = _Rows(vectors, metric), np.atleast_2d(np.asarray(queries))
    if table.shape[1] != vectors.shape[1]:
        raise OptionError(f"rows hold {vectors.shape[1]} numbers, the query {table.shape[1]}; use the same layer")
    block = max(1, _DISTANCES // max(1, len(vectors)))
    # Several threads would wait for one another at every few rows, long on a busy machine. Rows of NaN, infinity or
    # zero are excluded by their distances.
    with threadpool_limits(1), np.errstate(all="ignore"):
        asked = rows.prepared(table)
        if not np.isfinite(asked).all():
            raise OptionError("a query is not finite, or zero, which has no direction; leave it out")
        excluded = np.empty((len(asked), 0), int) if without is None else np.asarray(without).reshape(len(asked), -1)
        parts = [
            rows.near(asked[start : start + block], k, excluded[start : start + block])
            for start in range(0, len(asked), block)
        ]
    count = min(part.indices.shape[1] for part in parts)
    indices, distances = (np.concatenate([part[of][:, :count] for part in parts]) for of in (0, 1))
    return NearestRows(indices, distances)


def agreement(vectors: npt.NDArray[Any], labels: npt.NDArray[Any], k: int = 10) -> float:
    """The share of the k nearest rows that have the label of their row, in [0, 1], averaged over rows.

    Args:
        vectors: (N, D); rows that are not finite are left out.
        labels: (N,).
        k: how many neighbors of each.
    """
    known = np.isfinite(vectors).all(1)
    vectors, labels = vectors[known], np.asarray(labels)[known]
    around = nearest_rows(vectors, vectors, k, without=np.arange(len(vectors))).indices
    return float((labels[around] == labels[:, None]).mean())


@dataclasses.dataclass(frozen=True, eq=False)
class _Rows:
    """A table of rows, compared some at a time."""

    vectors: npt.NDArray[Any]
    metric: Metric

    def prepared(self, rows: npt.NDArray[Any]) -> Floats:
        """Rows in float64; by cosine of length 1, so that half the square of an L2 distance is 1 - cos."""
        wide = rows.astype(np.float64)
        return wide if self.metric == "l2" else wide / np.sqrt(_squares(wide))[:, None]

    def stream(self, chosen: npt.NDArray[np.intp] | None = None) -> Iterator[tuple[slice, Floats]]:
        """Blocks of all rows, or of those chosen, with the slice of each."""
        count, step = len(self.vectors if chosen is None else chosen), max(1, _CHUNK // self.vectors.shape[1])
        for start in range(0, count, step):
            part = slice(start, min(count, start + step))
            yield part, self.prepared(self.vectors[part if chosen is None else chosen[part]])

    def near(self, queries: Floats, k: int, excluded: npt.NDArray[np.int64]) -> NearestRows:
        """The nearest rows to the queries of one block."""
        squares, lengths = np.empty((len(queries), len(self.vectors))), np.empty(len(self.vectors))
        for part, rows in self.stream():
            lengths[part] = _squares(rows)
            squares[:, part] = lengths[part] - 2 * (queries @ rows.T)
        squares += _squares(queries)[:, None]
        squares[:, ~np.isfinite(lengths)] = np.inf
        np.put_along_axis(squares, excluded, np.inf, axis=1)
        k = min(k, int(np.isfinite(squares).sum(1).min()))
        if k < 1:
            raise OptionError("there is no row to choose from; survey more images")
        # The two lengths and the product are off by at most D + 2 roundings of (|v| + |q|)² together.
        scale = np.sqrt(lengths[np.isfinite(lengths)].max()) + np.sqrt(_squares(queries))
        slack = (queries.shape[1] + 2) * np.finfo(float).eps * scale**2
        worst = np.partition(squares, k - 1, axis=1)[:, k - 1] + 2 * slack
        within = squares <= worst[:, None]
        ranked = [self._ranked(np.flatnonzero(row), query, k) for row, query in zip(within, queries, strict=True)]
        return NearestRows(np.stack([of.indices for of in ranked]), np.stack([of.distances for of in ranked]))

    def _ranked(self, candidates: npt.NDArray[np.intp], query: Floats, k: int) -> NearestRows:
        """The first k of the candidates, measured by their differences from the query."""
        squares = np.empty(len(candidates))
        for part, rows in self.stream(candidates):
            squares[part] = np.square(rows - query).sum(1)
        order = np.lexsort((candidates, squares))[:k]
        distances = squares[order] / 2 if self.metric == "cosine" else np.sqrt(squares[order])
        return NearestRows(candidates[order].astype(np.int64), distances)


def _squares(rows: Floats) -> Floats:
    return np.asarray(np.einsum("nd,nd->n", rows, rows))


_DISTANCES = 2**23  # distances held at once: 64 MB
_CHUNK = 2**20  # numbers converted at once: 8 MB, which stays in the cache
