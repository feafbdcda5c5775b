"""Maps: every reduction against its definition, the same bytes twice, and new images on a map that does not change."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from phosphene.core.errors import OptionError, RunError
from phosphene.survey.maps.map_images import embedding_map, open_map
from phosphene.survey.maps.mosaic import fitted
from phosphene.survey.maps.reduction import PCA, TSNE, UMAP, Reduction
from phosphene.survey.store.table import read_table
from surveys import surveyed

Array = np.ndarray[Any, Any]


def blobs(size: int = 20, wide: int = 64, seed: int = 0) -> tuple[Array, list[str]]:
    """Three clusters, far apart, in the type of the embeddings of a run."""
    noise = np.random.default_rng(seed)
    middles = 4 * noise.standard_normal((3, wide))
    rows = np.concatenate([middle + noise.standard_normal((size, wide)) for middle in middles])
    return rows.astype(np.float16), [name for name in "abc" for _ in range(size)]


def test_pca_is_the_singular_vectors_with_a_sign() -> None:
    rows, _ = blobs()
    result = embedding_map(rows, dims=3)
    centered = rows.astype(np.float64) - rows.astype(np.float64).mean(0)
    _, spread, weights = np.linalg.svd(centered, full_matrices=False)
    weights = weights[:3] * np.sign(weights[np.arange(3), np.abs(weights[:3]).argmax(1)])[:, None]
    np.testing.assert_allclose(result.coordinates, centered @ weights.T, atol=1e-9)
    share = (spread**2 / (spread**2).sum())[:3]
    assert result.axes[0] == f"PC 1, {share[0]:.1%} of the variance"
    assert result.notes == (f"{share.sum():.1%} of the variance is shown",)
    tall = np.random.default_rng(0).standard_normal((200, 5))  # more rows than features: the other solver
    centered = tall - tall.mean(0)
    np.testing.assert_allclose(
        np.abs(embedding_map(tall).coordinates), np.abs(centered @ np.linalg.svd(centered)[2][:2].T), atol=1e-9
    )


@pytest.mark.parametrize(("method", "dims"), [("pca", 2), ("t-sne", 2), ("t-sne", 3)])
def test_classes_stay_together(method: str, dims: int) -> None:
    rows, labels = blobs()
    result = embedding_map(rows, method=method, dims=dims, labels=labels)
    assert result.coordinates.shape == (60, dims)
    assert result.coordinates.dtype == np.float64
    assert result.agreement(5) == (1, 1)


@pytest.mark.parametrize("method", [PCA(), PCA(scaling="z-score"), TSNE(iterations=100)])
def test_the_same_bytes_twice_and_on_other_threads(method: Reduction) -> None:
    rows, _ = blobs(100)
    first, threads = embedding_map(rows, method=method, seed=3), torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        second = embedding_map(rows, method=method, seed=3)
    finally:
        torch.set_num_threads(threads)
    assert first.coordinates.tobytes() == second.coordinates.tobytes()


def test_another_seed_is_another_t_sne() -> None:
    rows, _ = blobs()
    one, two = (embedding_map(rows, method=TSNE(iterations=50), seed=seed).coordinates for seed in (0, 1))
    assert (one != two).any()


@pytest.mark.parametrize("method", ["pca", TSNE(iterations=100)])
def test_an_image_that_is_there_gets_its_place_and_nothing_moves(method: Any) -> None:
    rows, _ = blobs()
    result = embedding_map(rows, method=method)
    before = result.coordinates.copy()
    near = rows.astype(np.float64) * (1 + 1e-4)  # as another machine would round them
    near[1] = np.nan
    placed = result.place(near)
    np.testing.assert_array_equal(np.delete(placed, 1, 0), np.delete(before, 1, 0))
    assert np.isnan(placed[1]).all()
    np.testing.assert_array_equal(result.coordinates, before)


@pytest.mark.parametrize("method", ["pca", TSNE(iterations=250)])
def test_a_new_image_lands_among_its_like_whatever_comes_with_it(method: Any) -> None:
    rows, labels = blobs()
    more = blobs(40)[0]
    new = more[[5, 45, 85]] + np.float16(0.5)
    result = embedding_map(rows, method=method, labels=labels)
    placed = result.place(new)
    away = np.linalg.norm(result.coordinates[None] - placed[:, None], axis=2)
    middles = np.stack([result.coordinates[np.array(labels) == name].mean(0) for name in "abc"])
    like = np.linalg.norm(blobs()[0].astype(float)[None] - new[:, None].astype(float), axis=2).argmin(1) // 20
    assert (away.argmin(1) // 20 == like).all()
    assert (np.linalg.norm(middles[None] - placed[:, None], axis=2).argmin(1) == like).all()
    np.testing.assert_allclose(np.concatenate([result.place(row) for row in new]), placed, rtol=1e-12, atol=1e-9)


def test_failed_images_have_no_place() -> None:
    rows, _ = blobs()
    rows[[3, 30]] = np.nan
    result = embedding_map(rows)
    assert np.flatnonzero(np.isnan(result.coordinates).any(1)).tolist() == [3, 30]
    assert result.notes[-1] == "2 images without features are not on it"
    np.testing.assert_array_equal(
        np.delete(result.coordinates, [3, 30], 0), embedding_map(np.delete(rows, [3, 30], 0)).coordinates
    )


def test_perplexity_is_what_the_images_allow_and_says_so() -> None:
    rows, _ = blobs(5)
    result = embedding_map(rows, method=TSNE(perplexity=30, iterations=20))
    assert result.notes[0] == "perplexity 4.66667, seed 0"
    assert "perplexity 30 needs 91 images: 4.67 was taken" in result.notes


def test_scalings() -> None:
    rows = np.abs(blobs()[0].astype(np.float64))
    louder, stretched = rows.copy(), rows.copy()
    louder[7] *= 3
    stretched[:, 7] *= 100
    for method, other in ((PCA(scaling="unit-length"), louder), (PCA(scaling="z-score"), stretched)):
        one, two = embedding_map(rows, method=method), embedding_map(other, method=method)
        np.testing.assert_allclose(one.coordinates, two.coordinates, atol=1e-9)
        np.testing.assert_allclose(one.place(rows[:3] * 1.1), two.place(other[:3] * 1.1), atol=1e-9)
        assert not np.allclose(one.coordinates, embedding_map(rows).coordinates)
    with pytest.raises(OptionError, match="pca has no scaling 'none'; there are 'center', 'z-score', 'unit-length'"):
        PCA(scaling="none")  # type: ignore[arg-type]


def test_umap_is_repeatable_and_keeps_its_places() -> None:
    rows, labels = blobs()
    result = embedding_map(rows, method=UMAP(n_neighbors=10), labels=labels)
    assert result.coordinates.tobytes() == embedding_map(rows, method=UMAP(n_neighbors=10)).coordinates.tobytes()
    assert result.agreement(5).map == 1
    np.testing.assert_array_equal(result.place(rows[:2]), result.coordinates[:2])
    new = rows[[0, 20, 40]] + np.float16(0.5)
    placed = result.place(new)
    away = np.linalg.norm(result.coordinates[None] - placed[:, None], axis=2)
    assert (away.argmin(1) // 20).tolist() == [0, 1, 2]
    np.testing.assert_array_equal(result.place(new[1]), placed[1:2])


def test_umap_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(OptionError, match=r"pip install 'phosphene\[umap\]'"):
        embedding_map(blobs()[0], method="umap")


@pytest.mark.parametrize(
    ("rows", "options", "said"),
    [
        (blobs()[0], {"method": "tsne"}, "did you mean 't-sne'"),
        (blobs()[0], {"dims": 4}, "dims is 4"),
        (blobs(1)[0], {}, "3 images of 64 features make no map"),
        (np.ones((9, 4)), {}, "the same features"),
        (blobs()[0] * np.float16("nan"), {}, "0 images"),
    ],
)
def test_what_makes_no_map(rows: Array, options: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        embedding_map(rows, **options)


def test_impossible_options() -> None:
    for wrong in (lambda: TSNE(perplexity=0), lambda: TSNE(iterations=0), lambda: UMAP(n_neighbors=1)):
        with pytest.raises(OptionError, match="give at least"):
            wrong()


@pytest.mark.parametrize("method", ["pca", TSNE(iterations=50, perplexity=7.5)])
def test_a_map_that_was_saved_is_the_same_map(method: Any, tmp_path: Path) -> None:
    rows, labels = blobs()
    rows[3] = np.nan
    result = embedding_map(rows, method=method, labels=labels, seed=2)
    result = dataclasses.replace(result, picture_of=lambda number: fitted(np.full((8, 8, 3), number, np.uint8), 40))
    saved = result.save(tmp_path)["files"]
    assert [file["path"] for file in saved] == ["map.parquet", "map.json", "map.png", "thumbnails.png", "mosaic.png"]
    assert all((tmp_path / file["path"]).is_file() for file in saved)
    table = read_table(tmp_path / "map.parquet")
    assert (list(table), table["image"].dtype, len(table["x"])) == (["image", "x", "y"], np.int32, 60)
    again = open_map(tmp_path, rows, labels)
    np.testing.assert_array_equal(again.coordinates, result.coordinates)
    assert (again.method, again.seed, again.axes, again.notes) == (result.method, 2, result.axes, result.notes)
    new = rows[:2] + np.float16(0.5)
    np.testing.assert_array_equal(again.place(new), result.place(new))
    assert json.loads((tmp_path / "map.json").read_text()) == result.record()


def test_three_dimensions_have_a_third_column(tmp_path: Path) -> None:
    result = embedding_map(blobs()[0], dims=3)
    result = dataclasses.replace(result, picture_of=lambda _: np.zeros((4, 4, 3), np.uint8))
    assert [file["path"] for file in result.save(tmp_path)["files"]] == [
        "map.parquet",
        "map.json",
        "map.png",
    ]
    assert list(read_table(tmp_path / "map.parquet")) == ["image", "x", "y", "z"]


def test_what_is_no_saved_map(tmp_path: Path) -> None:
    rows, _ = blobs()
    with pytest.raises(RunError, match="holds no map"):
        open_map(tmp_path, rows)
    embedding_map(rows).save(tmp_path)
    with pytest.raises(RunError, match="maps 60 images, not 59"):
        open_map(tmp_path, rows[1:])
    (tmp_path / "map.json").write_text("[]")
    with pytest.raises(RunError, match="holds no map"):
        open_map(tmp_path, rows)


def test_a_map_of_a_run_is_opened_where_it_was_saved_and_other_pictures_are_put_on_it(tmp_path: Path) -> None:
    run, network = surveyed(tmp_path)
    first = embedding_map(run, seed=1)
    assert first.labels == run.image_classes
    names = {file["path"] for file in first.save(tmp_path / "map")["files"]}
    assert names == {"map.parquet", "map.json", "map.png", "thumbnails.png", "mosaic.png"}
    again = embedding_map(run, seed=1, saved=tmp_path / "map")
    assert (again.axes, again.notes, again.options) == (first.axes, first.notes, first.options)
    np.testing.assert_array_equal(again.coordinates, first.coordinates)
    with_others = again.with_pictures(network, [run.source(3), np.full((40, 40, 3), 99, np.uint8)])
    assert with_others.placed[0].nearest == run.source(3)
    np.testing.assert_array_equal(with_others.placed[0].at, first.coordinates[3])
    record = with_others.save(tmp_path / "map")
    assert [picture["source"] for picture in record["placed"]] == [run.source(3), with_others.inputs[1].path]
    assert len(read_table(tmp_path / "map" / "placed.parquet")["x"]) == 2
    other = embedding_map(run, seed=2, saved=tmp_path / "map")
    assert other.seed == 2
    assert embedding_map(run, dims=3, saved=tmp_path / "map").coordinates.shape == (12, 3)
    with pytest.raises(RunError, match="was made from vectors"):
        embedding_map(run.embeddings).with_pictures(network, [run.source(3)])
