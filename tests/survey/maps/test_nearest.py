"""Nearest rows: as brute force in float64 has them, whatever the rows hold and however they are streamed."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phosphene.core.errors import OptionError
from phosphene.survey.maps import nearest as module
from phosphene.survey.maps.nearest import agreement, nearest_rows


def rows(count: int, wide: int = 24, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).standard_normal((count, wide)).astype(np.float16)


def brute(
    vectors: np.ndarray[Any, Any], queries: np.ndarray[Any, Any], k: int, metric: str
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Distance after distance in float64, ties by the lower index."""
    table, indices, distances = vectors.astype(np.float64), [], []
    for query in queries.astype(np.float64):
        if metric == "l2":
            lengths = np.array([np.sqrt(((row - query) ** 2).sum()) for row in table])
        else:
            lengths = np.array([1 - row @ query / np.sqrt((row @ row) * (query @ query)) for row in table])
        order = np.argsort(lengths, kind="stable")[:k]
        indices.append(order)
        distances.append(lengths[order])
    return np.array(indices), np.array(distances)


@pytest.mark.parametrize("metric", ["l2", "cosine"])
def test_as_brute_force_also_over_a_file(metric: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", rows(300))
    vectors, queries = np.load(tmp_path / "v.npy", mmap_mode="r"), rows(7, seed=1)
    nearest, (indices, distances) = (
        nearest_rows(vectors, queries, 9, metric=metric),
        brute(rows(300), queries, 9, metric),
    )
    np.testing.assert_array_equal(nearest.indices, indices)
    np.testing.assert_allclose(nearest.distances, distances, rtol=1e-12)
    assert (nearest.indices.dtype, nearest.distances.dtype) == (np.int64, np.float64)


@pytest.mark.parametrize("metric", ["l2", "cosine"])
def test_streamed_in_crumbs_it_is_the_same(metric: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, queries = rows(300), rows(7, seed=1)
    whole = nearest_rows(vectors, queries, 9, metric=metric)
    monkeypatch.setattr(module, "_CHUNK", 24 * 11)
    monkeypatch.setattr(module, "_DISTANCES", 300 * 2)
    crumbs = nearest_rows(vectors, queries, 9, metric=metric)
    np.testing.assert_array_equal(crumbs.indices, whole.indices)
    np.testing.assert_array_equal(crumbs.distances, whole.distances)


def test_nothing_cancels_far_from_zero() -> None:
    # |a|² - 2ab + |b|² of these rows is right to 1e-4 at best, and their squared distances are 1e-6.
    vectors = 1e5 + 1e-3 * np.random.default_rng(0).random((50, 16))
    nearest, (indices, distances) = nearest_rows(vectors, vectors[:5], 6), brute(vectors, vectors[:5], 6, "l2")
    np.testing.assert_array_equal(nearest.indices, indices)
    np.testing.assert_allclose(nearest.distances, distances, rtol=1e-12)
    assert (nearest.distances[:, 0] == 0).all()


def test_equals_come_by_the_lower_index() -> None:
    vectors = rows(200)
    vectors[[150, 60, 90]] = vectors[3]
    nearest = nearest_rows(vectors, vectors[90], 5)
    assert nearest.indices[0, :4].tolist() == [3, 60, 90, 150]
    assert nearest.distances[0, :4].tolist() == [0, 0, 0, 0]
    assert nearest_rows(np.ones((40, 4)), np.zeros(4), 3).indices.tolist() == [[0, 1, 2]]


def test_broken_rows_are_never_returned() -> None:
    vectors = rows(20)
    vectors[4], vectors[7, 3], vectors[9] = np.nan, np.inf, 0
    by_l2, by_cosine = (nearest_rows(vectors, vectors[0], 20, metric=metric).indices[0] for metric in ("l2", "cosine"))
    assert set(by_l2.tolist()) == set(range(20)) - {4, 7}
    assert set(by_cosine.tolist()) == set(range(20)) - {4, 7, 9}  # zero has no direction


def test_rows_left_out() -> None:
    vectors = rows(30)
    nearest = nearest_rows(vectors, vectors, 5, without=np.arange(30))
    assert not (nearest.indices == np.arange(30)[:, None]).any()
    first = nearest_rows(vectors, vectors[:1], 4).indices[0]
    assert nearest_rows(vectors, vectors[:1], 2, without=first[None, :2]).indices[0].tolist() == first[2:].tolist()


def test_fewer_rows_than_asked_for() -> None:
    assert nearest_rows(rows(4), rows(2), 9, without=[0, 1]).indices.shape == (2, 3)
    with pytest.raises(OptionError, match="no row to choose from"):
        nearest_rows(rows(1), rows(1), 1, without=[0])


@pytest.mark.parametrize(
    ("queries", "options", "said"),
    [
        (rows(1), {"k": 0}, "k is 0"),
        (rows(1), {"metric": "l3"}, "'l2' or 'cosine'"),
        (rows(1, 5), {}, "24 numbers, the query 5"),
        (rows(1) * np.float16("nan"), {}, "not finite"),
        (rows(1) * 0, {"metric": "cosine"}, "no direction"),
    ],
)
def test_what_cannot_be_asked(queries: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        nearest_rows(rows(9), queries, options.pop("k", 3), **options)


def test_memory_does_not_hold_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "v.npy", rows(20_000, 64))
    vectors = np.load(tmp_path / "v.npy", mmap_mode="r")
    monkeypatch.setattr(module, "_CHUNK", 2**14)
    tracemalloc.start()
    nearest_rows(vectors, rows(1, 64), 10)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.2e6  # eight bytes a row four times over, and the crumbs; the table is 10 MB in float64


def test_agreement_counts_neighbors_of_the_same_class() -> None:
    points = np.array([[0.0], [0.1], [0.2], [5.0], [5.1], [np.nan]])
    assert agreement(points, np.array(list("aaabba")), k=1) == 1
    assert agreement(points, np.array(list("aaaxyz")), k=1) == pytest.approx(3 / 5)
