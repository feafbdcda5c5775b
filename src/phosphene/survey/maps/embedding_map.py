"""A map of images: each a point in two or three dimensions, near those that the network finds alike."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from phosphene.core import files
from phosphene.core.errors import OptionError, RunError
from phosphene.core.images import image
from phosphene.core.images.image import Uint8Image
from phosphene.survey.maps.mosaic import Tile, mosaic, thumbnails
from phosphene.survey.maps.nearest import agreement, nearest
from phosphene.survey.maps.reduction import Projection
from phosphene.survey.maps.scatter import scatter
from phosphene.survey.store.table import read_table, write_table

Floats = npt.NDArray[np.float64]


class Agreement(NamedTuple):
    """How many neighbors are of the same class: what the map shows, and what there was to show.

    Args:
        map: by distances on the map.
        vectors: by L2 distances of the vectors.
    """

    map: float
    vectors: float

    def __str__(self) -> str:
        return f"{self.map:.1%} on the map, {self.vectors:.1%} by the vectors"


@dataclasses.dataclass(frozen=True, eq=False)
class EmbeddingMap:
    """Where each image stands.

    Args:
        coordinates: (N, dims) float64, by number of the image; NaN for images that failed.
        vectors: (N, D), what the map was made from, kept to place other images; may lie on a disk.
        labels: (N,), the class of each image, "" for none; or empty.
        method: with all its options.
        seed: of every random choice.
        axes: a name for each dimension.
        notes: choices and warnings, to be shown beside the map.
    """

    coordinates: Floats
    vectors: npt.NDArray[Any] = dataclasses.field(repr=False)
    labels: tuple[str, ...] = dataclasses.field(repr=False)
    method: Projection
    seed: int
    axes: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The method and the number of images."""
        return (
            f"{self.method.spelling or self.method.name} of {int(np.isfinite(self.coordinates).all(1).sum()):,} images"
        )

    def place(self, vectors: npt.NDArray[Any]) -> Floats:
        """Places of other images on this map, on which nothing moves: (M, dims), NaN for vectors that are not finite.

        An image that the map has already, told by its vector up to a thousandth of its length, gets its place; others
        are placed one by one, whatever else is asked for.

        Args:
            vectors: (M, D).
        """
        new = np.atleast_2d(np.asarray(vectors))
        finite = np.isfinite(new).all(1)
        places = np.full((len(new), self.coordinates.shape[1]), np.nan)
        if not finite.any():
            return places
        asked = new[finite].astype(np.float64)
        twins = nearest(self.vectors, asked, 1)
        there = twins.distances[:, 0] <= _SAME * np.linalg.norm(asked, axis=1)
        found = self.coordinates[twins.indices[:, 0]]
        if not there.all():
            known = np.isfinite(self.coordinates).all(1)
            table = np.asarray(self.vectors)[known].astype(np.float64)
            with threadpool_limits(1):
                found[~there] = self.method.place(table, self.coordinates[known], asked[~there], self.seed)
        places[finite] = found
        return places

    def agreement(self, k: int = 10) -> Agreement:
        """How many of the k nearest are of the class of their image, on average, in [0, 1].

        Args:
            k: neighbors of each image.
        """
        labels = np.array(self.labels)
        return Agreement(agreement(self.coordinates, labels, k), agreement(self.vectors, labels, k))

    def picture(self, classes: Sequence[str] | None = None, size: int = 1200) -> Uint8Image:
        """The scatter by class; see `phosphene.survey.maps.scatter.scatter`."""
        text = {"title": self.title, "caption": "; ".join(self.notes)}
        return scatter(self.coordinates, self.labels, axes=self.axes, size=size, classes=classes, **text)

    def record(self) -> dict[str, Any]:
        """All but the coordinates, as plain values."""
        return {
            "method": dict(self.method.manifest()),
            "seed": self.seed,
            "dims": self.coordinates.shape[1],
            "images": len(self.coordinates),
            "failed": int((~np.isfinite(self.coordinates).all(1)).sum()),
            "axes": list(self.axes),
            "notes": list(self.notes),
        }

    def save(self, folder: str | Path, tile: Tile | None = None) -> list[dict[str, Any]]:
        """Write map.parquet (image, x, y and z), map.json and map.png; of two dimensions also thumbnails.

        Args:
            folder: where to; made if need be.
            tile: gives the picture of an image, for thumbnails.png and mosaic.png.

        Returns:
            one mapping for each file, as a manifest wants it.

        Raises:
            OutputError: the folder cannot be written.
        """
        folder, dims = Path(folder), self.coordinates.shape[1]
        columns = dict(zip(_AXES, self.coordinates.T.copy(), strict=False))
        write_table(folder / "map.parquet", {"image": np.arange(len(self.coordinates), dtype=np.int32), **columns})
        files.write_json(folder / "map.json", self.record())
        image.save(folder / "map.png", self.picture())
        written = [{"path": "map.parquet", "kind": "table"}, {"path": "map.json", "kind": "state"}]
        written.append({"path": "map.png", "kind": "picture"})
        if tile is not None and dims == 2:
            for stem, draw in (("thumbnails", thumbnails), ("mosaic", mosaic)):
                drawn = draw(self.coordinates, tile)
                image.save(folder / f"{stem}.png", drawn.pixels)
                written.append({"path": f"{stem}.png", "kind": "picture", "note": drawn.note})
        return [{**each, "method": self.method.name, "dims": dims, "seed": self.seed} for each in written]

    @classmethod
    def open(cls, folder: str | Path, vectors: npt.NDArray[Any], labels: Sequence[str] = ()) -> Self:
        """A map that was saved.

        Args:
            folder: that it was saved in.
            vectors: what it was made from.
            labels: the class of each image.

        Raises:
            RunError: no map is there, or it is damaged, or of other images.
        """
        path = Path(folder) / "map.json"
        try:
            record = json.loads(path.read_bytes())
            options = dict(record["method"])
            method = Projection.find(options.pop("name"))(**options)
            seed, axes, notes = int(record["seed"]), tuple(record["axes"]), tuple(record["notes"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunError(f"{path} holds no map; make one with phosphene map") from error
        table = read_table(path.with_name("map.parquet"), order=("image",))
        coordinates = np.stack([table[axis] for axis in _AXES[: len(axes)]], 1)
        if len(coordinates) != len(vectors):
            raise RunError(f"{path} maps {len(coordinates)} images, not {len(vectors)}; make it again")
        return cls(coordinates, vectors, tuple(labels), method, seed, axes, notes)


def embedding_map(
    vectors: npt.NDArray[Any],
    *,
    method: str | Projection = "pca",
    dims: int = 2,
    seed: int = 0,
    labels: Sequence[str] = (),
) -> EmbeddingMap:
    """A point for each image, by its vector.

    Memory: the vectors twice or three times in float64.

    Args:
        vectors: (N, D), any floats; rows that are not finite are images that failed.
        method: a registered name, or a projection with its options.
        dims: 2 or 3.
        seed: of every random choice.
        labels: the class of each image, to color it by; "" for none.

    Raises:
        OptionError: no such method; dimensions or images that make no map.

    >>> embedding_map(np.eye(5), method="pca").coordinates.shape
    (5, 2)
    """
    chosen = Projection.find(method)() if isinstance(method, str) else method
    if dims not in (2, 3):
        raise OptionError(f"dims is {dims}; a map has 2 or 3")
    assert len(labels) in (0, len(vectors)), (len(labels), len(vectors))
    known = np.isfinite(vectors).all(1)
    table = np.asarray(vectors)[known].astype(np.float64)
    if len(table) < dims + 2 or table.shape[1] < dims:
        few = f"{len(table)} images of {table.shape[1]} features make no map of {dims} dimensions"
        raise OptionError(f"{few}; give at least {dims + 2} of {dims}")
    if not np.ptp(table, axis=0).any():
        raise OptionError(f"all {len(table)} images have the same features; survey with another layer of embeddings")
    with threadpool_limits(1):  # several threads would round otherwise, and t-SNE magnifies the last bit
        found = chosen(table, dims, seed)
    coordinates = np.full((len(vectors), dims), np.nan)
    coordinates[known] = found.coordinates
    missing = (f"{int((~known).sum())} images without features are not on it",) if not known.all() else ()
    return EmbeddingMap(coordinates, vectors, tuple(labels), chosen, seed, found.axes, (*found.notes, *missing))


_AXES = ("x", "y", "z")
_SAME = 1e-3  # above the rounding of float16, far below any two photographs
