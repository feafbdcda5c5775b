"""Nearest images: by the embedding of the network, and by pixels."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from phosphene.core import files
from phosphene.core.errors import ImageError, OptionError
from phosphene.core.images import drawing
from phosphene.core.images.image import Picture, Uint8Image
from phosphene.core.inputs import OnePicture, as_picture
from phosphene.core.networks.network import Network
from phosphene.core.result import Cost, File, Result
from phosphene.survey.accumulators.embedding import embed
from phosphene.survey.maps.mosaic import fitted, photograph
from phosphene.survey.maps.nearest import Metric, NearestRows, nearest_rows
from phosphene.survey.store.run import Run


@dataclasses.dataclass(frozen=True)
class Neighbor:
    """An image near the query.

    Args:
        image: its number in the run.
        source: its file.
        label: its class; "" for none.
        distance: from the query.
    """

    image: int
    source: str
    label: str
    distance: float


@dataclasses.dataclass(frozen=True, eq=False)
class Neighbors(Result):
    """The images nearest to a query, by features and by pixels.

    Args:
        run: whose images they are.
        query: number of an image of the run, or a picture that is not in it.
        metric: of the features; pixels are always compared by L2.
        features: the nearest by the embedding of the network, the nearest first.
        pixels: the nearest by the L2 distance of their 32 × 32 RGB pixels in [0, 1].
    """

    verb: str = dataclasses.field(default="neighbors", kw_only=True)
    run: Run = dataclasses.field(repr=False)
    query: int | Picture
    metric: Metric
    features: tuple[Neighbor, ...]
    pixels: tuple[Neighbor, ...]

    @property
    def source(self) -> str:
        """File of the query."""
        return self.query.path or self.query.name if isinstance(self.query, Picture) else self.run.source(self.query)

    @property
    def name(self) -> str:
        """Name of the query without folder and suffix."""
        return self.query.name if isinstance(self.query, Picture) else Path(self.source).stem

    @property
    def label(self) -> str:
        """Class of the query; "" where none is known."""
        return "" if isinstance(self.query, Picture) else str(self.run.images["label"][self.query])

    def picture(self, side: int = 128, columns: int = 10) -> Uint8Image:
        """The query, its nearest by features, and its nearest by pixels, each under its class and distance.

        Args:
            side: of each neighbor, in pixels.
            columns: neighbors in a row.
        """
        query, large = self.query, 2 * side
        shown = fitted(query.pixels, large) if isinstance(query, Picture) else photograph(self.run, query, large)
        shown = drawing.label(drawing.label(shown, self.label or _short(self.source)), "query")
        kinds = ((f"nearest by features, {self.metric}", self.features), ("nearest by pixels, l2", self.pixels))
        rows = drawing.grid([self._row(kind, neighbors, side, columns) for kind, neighbors in kinds], 1, gap=12)
        plate = np.full((max(len(shown), len(rows)), large + side // 4 + rows.shape[1], 3), 255, np.uint8)
        plate[: len(shown), : shown.shape[1]] = shown
        plate[: len(rows), -rows.shape[1] :] = rows
        return plate

    def facts(self) -> Mapping[str, Any]:
        """Both lists as plain values."""
        return {
            "model": self.run.record["model"],
            "query": {"source": self.source, "label": self.label},
            "metric": self.metric,
            "features": [dataclasses.asdict(neighbor) for neighbor in self.features],
            "pixels": [dataclasses.asdict(neighbor) for neighbor in self.pixels],
        }

    def files(self) -> Iterator[File]:
        """neighbors.png, and both lists as neighbors.json."""
        about: dict[str, Any] = {"query": self.source, "metric": self.metric}
        yield File.picture("neighbors.png", self.picture(), **about)
        lists = {**self.facts(), "notes": list(self.notes)}
        yield File("neighbors.json", "table", lambda path: files.write_json(path, lists), about)

    def pictures(self) -> Sequence[Uint8Image]:
        """See `picture`."""
        return [self.picture()]

    def lines(self) -> tuple[str, ...]:
        """The query, and a line for each image that is near by features."""
        rows = [
            f"  {neighbor.distance:8.3f}  {neighbor.label}{neighbor.label and '  '}{neighbor.source}"
            for neighbor in self.features
        ]
        return (f"nearest to {self.source} by features, {self.metric}:", *rows)

    def _row(self, kind: str, neighbors: tuple[Neighbor, ...], side: int, columns: int) -> Uint8Image:
        tiles = [
            drawing.label(photograph(self.run, neighbor.image, side), f"{neighbor.distance:#.3g}")
            for neighbor in neighbors
        ]
        names = [neighbor.label or _short(neighbor.source) for neighbor in neighbors]
        same = sum(neighbor.label == self.label for neighbor in neighbors)
        heading = f"{kind}; {same} of {len(neighbors)} of its class" if self.label else kind
        return drawing.label(drawing.grid(tiles, columns, labels=names), heading)


def neighbors(
    run: Run, query: int | OnePicture, k: int = 10, *, metric: Metric = "l2", network: Network | None = None
) -> Neighbors:
    """The images of a run nearest to a query, by features and by pixels.

    Features vary little with color, place and pose; pixels vary with them. Where no image is similar, L2 favors images
    of small norm, and cosine does not.
    Cost: one pass over the embeddings and one over the thumbnails; a forward pass where the picture is new.

    Args:
        run: a finished survey with embeddings.
        query: an image of the run, by number, path or file name, itself left out of the answer; or another picture, see
            `phosphene.core.inputs.Pictures`.
        k: how many of each.
        metric: of the features, "l2" or "cosine".
        network: that was surveyed; needed for a picture that is not in the run.

    Raises:
        ImageError: there is no such image, or it could not be read.
        OptionError: a new picture and no network; a metric or k that is not allowed.
        RunError: another network.
    """
    asked = find_query(run, query)
    excluded = ~np.asarray(run.images["ok"], bool)
    if isinstance(asked, int):
        if excluded[asked]:
            raise ImageError(f"{run.source(asked)} could not be read by the survey; ask for another image")
        excluded[asked] = True
        vector, small = run.embeddings[asked], run.pixels[asked]
    else:
        vector, small = features_of(run, network, asked)
    without = np.flatnonzero(excluded)[None]
    by_features = nearest_rows(run.embeddings, np.asarray(vector), k, metric=metric, without=without)
    by_pixels = nearest_rows(run.pixels.reshape(len(excluded), -1), np.asarray(small).reshape(-1), k, without=without)
    features, pixels = _neighbors(run, by_features, 1), _neighbors(run, by_pixels, 255)
    few = len(features) < k
    new = isinstance(asked, Picture)
    return Neighbors(
        run,
        asked,
        metric,
        features,
        pixels,
        inputs=(asked,) if isinstance(asked, Picture) else (),
        options={"survey": str(run.folder), "k": k, "metric": metric},
        cost=Cost(forwards=int(new)),
        notes=(f"there are {len(features)} images to choose from, not {k}: all are shown",) if few else (),
    )


def features_of(run: Run, network: Network | None, picture: Picture) -> tuple[Any, Any]:
    """The embedding of a picture as the run has them, (D,), and its thumbnail, uint8 (32, 32, 3).

    Raises:
        OptionError: no network.
        RunError: another network than the one that was surveyed.
    """
    if network is None:
        raise OptionError("the picture is not in the run; give its network too, to compute its features")
    run.check_network(network)
    vector, small = embed(network, run.record["embedding"], picture)
    return vector.numpy(), small.numpy()


def find_query(run: Run, query: int | OnePicture) -> int | Picture:
    """The number of an image of the run, or a picture that is not in it.

    Args:
        run: a finished survey.
        query: as `neighbors` takes it; a picture of the run is recognized by the hash of its file.

    Raises:
        ImageError: there is no such image.
    """
    if isinstance(query, int | str | Path):
        try:
            return run.find(str(query))
        except ImageError:
            if isinstance(query, int) or not (str(query).startswith("sample:") or Path(query).exists()):
                raise
    picture = as_picture(query)
    rows = np.flatnonzero(np.asarray(run.images["sha256"]) == picture.sha256)
    return int(rows[0]) if len(rows) else picture


def _short(source: str) -> str:
    """The end of a file's name, where files of one folder differ."""
    name = Path(source.rpartition("::")[2]).stem
    return name if len(name) <= _LETTERS else "…" + name[1 - _LETTERS :]


def _neighbors(run: Run, nearest: NearestRows, unit: float) -> tuple[Neighbor, ...]:
    pairs = zip(nearest.indices[0].tolist(), nearest.distances[0].tolist(), strict=True)
    labels = run.images["label"]
    return tuple(Neighbor(index, run.source(index), str(labels[index]), distance / unit) for index, distance in pairs)


_LETTERS = 15
