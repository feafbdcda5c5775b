"""Maps of images: computed from vectors, or opened where they were saved."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from phosphene.core.errors import OptionError, RunError
from phosphene.survey.maps.embedding_map import AXES, EmbeddingMap, Floats
from phosphene.survey.maps.mosaic import PictureOf, photograph
from phosphene.survey.maps.reduction import ReducedVectors, Reduction
from phosphene.survey.store.run import Run
from phosphene.survey.store.table import read_table


def embedding_map(
    source: Run | npt.NDArray[Any],
    *,
    method: str | Reduction = "pca",
    dims: int = 2,
    seed: int = 0,
    labels: Sequence[str] = (),
    saved: str | Path | None = None,
) -> EmbeddingMap:
    """A point for each image, by its vector.

    Memory: the vectors twice or three times in float64.

    Args:
        source: a finished survey with embeddings; or vectors (N, D), any floats, of which rows that are not finite are
            images that failed.
        method: a registered name, or a reduction with its options.
        dims: 2 or 3.
        seed: of every random choice.
        labels: the class of each image, to color it by, "" for none; by default those of the survey.
        saved: folder of a map that was saved; it is opened where it is of this survey, method, dims and seed.

    Raises:
        OptionError: no such method; dimensions or images that make no map.

    >>> embedding_map(np.eye(5), method="pca").coordinates.shape
    (5, 2)
    """
    reduction = Reduction.make(method)
    if dims not in (2, 3):
        raise OptionError(f"dims is {dims}; a map has 2 or 3")
    run = source if isinstance(source, Run) else None
    vectors = source.embeddings if isinstance(source, Run) else source
    names = tuple(labels) or (run.image_classes if run is not None else ())
    assert len(names) in (0, len(vectors)), (len(names), len(vectors))
    if saved is not None and run is not None:
        record = _record(Path(saved))
        if record is not None and (record["run"], record["method"], record["dims"], record["seed"]) == (
            run.record["digest"],
            dict(reduction.manifest()),
            dims,
            seed,
        ):
            return open_map(saved, run, labels=names)
    known = np.isfinite(vectors).all(1)
    reduced = _reduced(np.asarray(vectors)[known].astype(np.float64), reduction, dims, seed)
    coordinates = np.full((len(vectors), dims), np.nan)
    coordinates[known] = reduced.coordinates
    missing = (f"{int((~known).sum())} images without features are not on it",) if not known.all() else ()
    notes = (*reduced.notes, *missing)
    return _map(coordinates, vectors, names, reduction, reduced.axes, run=run, seed=seed, notes=notes)


def open_map(folder: str | Path, source: Run | npt.NDArray[Any], labels: Sequence[str] = ()) -> EmbeddingMap:
    """A map that was saved.

    Args:
        folder: that it was saved in.
        source: the run, or the vectors, that it was made from.
        labels: the class of each image; by default those of the run.

    Raises:
        RunError: there is no map, or it is damaged, or of other images.
    """
    path = Path(folder) / "map.json"
    record = _record(Path(folder))
    if record is None:
        raise RunError(f"{path} holds no map; make one with phosphene map")
    run = source if isinstance(source, Run) else None
    vectors = source.embeddings if isinstance(source, Run) else source
    names = tuple(labels) or (run.image_classes if run is not None else ())
    axes, notes, options = tuple(record["axes"]), tuple(record["notes"]), dict(record["method"])
    method = Reduction.find(options.pop("name"))(**options)
    table = read_table(path.with_name("map.parquet"), order=("image",))
    coordinates = np.stack([table[axis] for axis in AXES[: len(axes)]], 1)
    if len(coordinates) != len(vectors):
        raise RunError(f"{path} maps {len(coordinates)} images, not {len(vectors)}; make it again")
    return _map(coordinates, vectors, names, method, axes, run=run, seed=int(record["seed"]), notes=notes)


def _record(folder: Path) -> dict[str, Any] | None:
    """The record of a saved map; None where there is none, or a damaged one."""
    try:
        record = json.loads((folder / "map.json").read_bytes())
        complete = (
            isinstance(record["method"]["name"], str) and {"seed", "dims", "axes", "notes", "run"} <= record.keys()
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None
    return dict(record) if complete else None


def _reduced(table: Floats, reduction: Reduction, dims: int, seed: int) -> ReducedVectors:
    """The coordinates of finite vectors."""
    if len(table) < dims + 2 or table.shape[1] < dims:
        few = f"{len(table)} images of {table.shape[1]} features make no map of {dims} dimensions"
        raise OptionError(f"{few}; give at least {dims + 2} of {dims}")
    if not np.ptp(table, axis=0).any():
        raise OptionError(f"all {len(table)} images have the same features; survey with another layer of embeddings")
    with threadpool_limits(1):  # several threads would round otherwise, and t-SNE magnifies the last bit
        return reduction(table, dims, seed)


def _map(  # noqa: PLR0917  the fields of a map
    coordinates: Floats,
    vectors: npt.NDArray[Any],
    labels: tuple[str, ...],
    method: Reduction,
    axes: tuple[str, ...],
    *,
    run: Run | None,
    seed: int,
    notes: tuple[str, ...],
) -> EmbeddingMap:
    options: dict[str, Any] = {"method": method.name, "dims": coordinates.shape[1]}
    picture_of: PictureOf | None = None
    if run is not None:
        options, picture_of = {"survey": str(run.folder), **options}, partial(photograph, run, side=_TILE)
    return EmbeddingMap(
        coordinates, vectors, labels, method, axes, run, (), picture_of, options=options, seed=seed, notes=notes
    )


_TILE = 96  # pixels
