"""A map of images: a point for each in two or three dimensions, near those with similar embeddings."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from phosphene.core import files
from phosphene.core.errors import RunError
from phosphene.core.images.image import Uint8Image
from phosphene.core.inputs import OnePicture, as_picture
from phosphene.core.networks.network import Network
from phosphene.core.result import Cost, File, Result
from phosphene.survey.maps.mosaic import PictureOf, mosaic, thumbnails
from phosphene.survey.maps.nearest import agreement, nearest_rows
from phosphene.survey.maps.neighbors import features_of
from phosphene.survey.maps.reduction import Reduction
from phosphene.survey.maps.scatter import scatter
from phosphene.survey.store.run import Run
from phosphene.survey.store.table import write_table

Floats = npt.NDArray[np.float64]
AXES = ("x", "y", "z")
"""Columns of the coordinates."""


class Agreement(NamedTuple):
    """How many neighbors are of the same class: on the map, and among the vectors that it was made from.

    Args:
        map: by distances on the map.
        vectors: by L2 distances of the vectors.
    """

    map: float
    vectors: float

    def __str__(self) -> str:
        return f"{self.map:.1%} on the map, {self.vectors:.1%} by the vectors"


@dataclasses.dataclass(frozen=True)
class PlacedPicture:
    """Another picture on a map.

    Args:
        source: its file.
        at: its coordinates.
        nearest: the file of the image nearest to it on the map.
    """

    source: str
    at: tuple[float, ...]
    nearest: str


@dataclasses.dataclass(frozen=True, eq=False)
class EmbeddingMap(Result):
    """The coordinates of images.

    Args:
        coordinates: (N, dims) float64, by number of the image; NaN for images that failed.
        vectors: (N, D), what the map was made from, to place other images; may be a memory map.
        labels: (N,), the class of each image, "" for none; or empty.
        method: with all its options.
        axes: a name for each dimension.
        run: the survey of the images, if they come from one.
        placed: other pictures on the map.
        picture_of: returns the picture of an image, for thumbnails.png and mosaic.png of two dimensions.
    """

    verb: str = dataclasses.field(default="map", kw_only=True)
    coordinates: Floats
    vectors: npt.NDArray[Any] = dataclasses.field(repr=False)
    labels: tuple[str, ...] = dataclasses.field(repr=False)
    method: Reduction
    axes: tuple[str, ...]
    run: Run | None = dataclasses.field(default=None, repr=False)
    placed: tuple[PlacedPicture, ...] = ()
    picture_of: PictureOf | None = dataclasses.field(default=None, repr=False)

    @property
    def title(self) -> str:
        """The method and the number of images."""
        return f"{self.method.title or self.method.name} of {int(np.isfinite(self.coordinates).all(1).sum()):,} images"

    def place(self, vectors: npt.NDArray[Any]) -> Floats:
        """Coordinates of other images on this map, which does not change: (M, dims), NaN for vectors not finite.

        An image that is on the map, with a vector equal up to a thousandth of its length, gets its coordinates there;
        others are placed one by one, so their coordinates do not depend on one another.

        Args:
            vectors: (M, D).
        """
        new = np.atleast_2d(np.asarray(vectors))
        finite = np.isfinite(new).all(1)
        places = np.full((len(new), self.coordinates.shape[1]), np.nan)
        if not finite.any():
            return places
        asked = new[finite].astype(np.float64)
        nearest = nearest_rows(self.vectors, asked, 1)
        on_map = nearest.distances[:, 0] <= _SAME * np.linalg.norm(asked, axis=1)
        coordinates = self.coordinates[nearest.indices[:, 0]]
        if not on_map.all():
            known = np.isfinite(self.coordinates).all(1)
            table = np.asarray(self.vectors)[known].astype(np.float64)
            with threadpool_limits(1):
                coordinates[~on_map] = self.method.place(table, self.coordinates[known], asked[~on_map], self.seed)
        places[finite] = coordinates
        return places

    def with_pictures(self, network: Network, pictures: Sequence[OnePicture]) -> EmbeddingMap:
        """The same map with other pictures on it.

        Args:
            network: that was surveyed.
            pictures: any photographs, see `phosphene.core.inputs.Pictures`.

        Raises:
            RunError: another network, or a map of vectors that come from no run.
        """
        if self.run is None:
            raise RunError(
                "the map was made from vectors; make it from a run, whose network computes those of pictures"
            )
        if not pictures:
            return self
        others = tuple(map(as_picture, pictures))
        places = self.place(np.stack([features_of(self.run, network, picture)[0] for picture in others]))
        distances = np.linalg.norm(self.coordinates[None] - places[:, None], axis=2)
        nearest = [self.run.source(int(image)) for image in np.nanargmin(distances, 1)]
        placed = tuple(
            PlacedPicture(picture.path, tuple(at), near)
            for picture, at, near in zip(others, places.tolist(), nearest, strict=True)
        )
        return dataclasses.replace(
            self, placed=(*self.placed, *placed), cost=self.cost + Cost(len(placed)), inputs=(*self.inputs, *others)
        )

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
            "run": "" if self.run is None else self.run.record["digest"],
        }

    def facts(self) -> Mapping[str, Any]:
        """The record, and the pictures that were placed."""
        model = None if self.run is None else self.run.record["model"]
        return {"model": model, **self.record(), "placed": [dataclasses.asdict(picture) for picture in self.placed]}

    def files(self) -> Iterator[File]:
        """map.parquet (image, x, y and z), map.json and map.png; thumbnails and a mosaic; placed.parquet."""
        about = {"method": self.method.name, "dims": self.coordinates.shape[1], "seed": self.seed}
        numbers = np.arange(len(self.coordinates), dtype=np.int32)
        columns = {"image": numbers, **dict(zip(AXES, self.coordinates.T.copy(), strict=False))}
        yield File("map.parquet", "table", partial(write_table, columns=columns), about)
        yield File("map.json", "state", partial(files.write_json, value=self.record()), about)
        yield File.picture("map.png", self.picture(), **about)
        if self.picture_of is not None and self.coordinates.shape[1] == 2:
            for stem, draw in (("thumbnails", thumbnails), ("mosaic", mosaic)):
                drawn = draw(self.coordinates, self.picture_of)
                yield File.picture(f"{stem}.png", drawn.pixels, note=drawn.note, **about)
        if self.placed:
            places = np.array([picture.at for picture in self.placed]).T.copy()
            sources = np.array([picture.source for picture in self.placed], object)
            others = {"source": sources, **dict(zip(AXES, places, strict=False))}
            yield File("placed.parquet", "table", partial(write_table, columns=others), about)

    def pictures(self) -> Sequence[Uint8Image]:
        """See `picture`."""
        return [self.picture()]

    def lines(self) -> tuple[str, ...]:
        """The title, and where other pictures are."""
        placed = [
            f"  {picture.source} is at {', '.join(f'{at:.2f}' for at in picture.at)}, nearest {picture.nearest}"
            for picture in self.placed
        ]
        return (self.title, *placed)


_SAME = 1e-3  # above the rounding of float16, far below the difference of any two photographs
