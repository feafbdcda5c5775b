"""Nearest images: by what the network makes of them, beside by their bare pixels."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from phosphene.core import files
from phosphene.core.errors import ImageError, OptionError
from phosphene.core.images import drawing, image
from phosphene.core.images.image import Picture, Uint8Image
from phosphene.survey.maps.mosaic import fitted, photograph
from phosphene.survey.maps.nearest import Metric, Nearest, nearest
from phosphene.survey.store.run import Run

Embed = Callable[[Picture], tuple[Any, Any]]
"""A picture → its row (D,) as the run would hold it, and its small copy, uint8 (32, 32, 3)."""


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
class Neighbors:
    """The images nearest to a query, twice.

    Args:
        run: whose images they are.
        query: number of an image of the run, or a picture that is not in it.
        metric: of the features; pixels are always compared by L2.
        features: the nearest by the embedding of the network, the nearest first.
        pixels: the nearest by the L2 distance of their 32 × 32 RGB pixels in [0, 1].
        notes: choices and warnings, to be shown beside them.
    """

    run: Run = dataclasses.field(repr=False)
    query: int | Picture
    metric: Metric
    features: tuple[Neighbor, ...]
    pixels: tuple[Neighbor, ...]
    notes: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        """File of the query."""
        return self.query.path or self.query.name if isinstance(self.query, Picture) else self.run.source(self.query)

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
        shown = drawing.label(drawing.label(shown, self.label or _tail(self.source)), "query")
        kinds = ((f"nearest by features, {self.metric}", self.features), ("nearest by pixels, l2", self.pixels))
        rows = drawing.grid([self._row(kind, found, side, columns) for kind, found in kinds], 1, gap=12)
        plate = np.full((max(len(shown), len(rows)), large + side // 4 + rows.shape[1], 3), 255, np.uint8)
        plate[: len(shown), : shown.shape[1]] = shown
        plate[: len(rows), -rows.shape[1] :] = rows
        return plate

    def table(self) -> dict[str, Any]:
        """Both lists as plain values."""
        return {
            "query": {"source": self.source, "label": self.label},
            "metric": self.metric,
            "features": [dataclasses.asdict(each) for each in self.features],
            "pixels": [dataclasses.asdict(each) for each in self.pixels],
            "notes": list(self.notes),
        }

    def save(self, folder: str | Path) -> list[dict[str, Any]]:
        """Write neighbors.png and neighbors.json (the table) into a folder.

        Returns:
            one mapping for each file, as a manifest wants it.

        Raises:
            OutputError: the folder cannot be written.
        """
        folder, about = Path(folder), {"query": self.source, "metric": self.metric}
        image.save(folder / "neighbors.png", self.picture())
        files.write_json(folder / "neighbors.json", self.table())
        kinds = {"neighbors.png": "picture", "neighbors.json": "table"}
        return [{"path": path, "kind": kind, **about} for path, kind in kinds.items()]

    def _row(self, kind: str, found: tuple[Neighbor, ...], side: int, columns: int) -> Uint8Image:
        tiles = [photograph(self.run, each.image, side) for each in found]
        tiles = [drawing.label(tile, f"{each.distance:#.3g}") for tile, each in zip(tiles, found, strict=True)]
        names = [each.label or _tail(each.source) for each in found]
        alike = sum(each.label == self.label for each in found)
        heading = f"{kind}; {alike} of {len(found)} of its class" if self.label else kind
        return drawing.label(drawing.grid(tiles, columns, labels=names), heading)


def neighbors(
    run: Run, query: int | str | Picture, k: int = 10, *, metric: Metric = "l2", embed: Embed | None = None
) -> Neighbors:
    """The images of a run nearest to a query, in feature space beside in pixel space.

    The embedding of the network forgives color, place and pose, and keeps what is seen; pixels do the opposite. Where
    nothing is alike, L2 favors images of small norm, and cosine does not.
    Cost: one pass over the embeddings and one over the small copies; a forward pass where the picture is new.

    Args:
        run: a finished survey with embeddings.
        query: an image of the run, by number, path or file name, itself left out of the answer; or any picture.
        k: how many of each.
        metric: of the features, "l2" or "cosine".
        embed: for a picture that is not in the run: what the run would have kept of it.

    Raises:
        ImageError: no such image in the run, or one that could not be read.
        OptionError: a new picture and no embed; a metric or k that makes no sense.
    """
    asked = run.find(str(query)) if not isinstance(query, Picture) else _known(run, query)
    barred = ~np.asarray(run.images["ok"], bool)
    if isinstance(asked, int):
        if barred[asked]:
            raise ImageError(f"{run.source(asked)} could not be read by the survey; ask for another image")
        barred[asked] = True
        vector, small = run.embeddings[asked], run.pixels[asked]
    elif embed is None:
        raise OptionError("the picture is not in the run; give its network too, which says what is like it")
    else:
        vector, small = embed(asked)
    without = np.flatnonzero(barred)[None]
    near = nearest(run.embeddings, np.asarray(vector), k, metric=metric, without=without)
    flat = nearest(run.pixels.reshape(len(barred), -1), np.asarray(small).reshape(-1), k, without=without)
    features, pixels = _rows(run, near, 1), _rows(run, flat, 255)
    few = len(features) < k
    notes = (f"there are {len(features)} images to choose from, not {k}: all are shown",) if few else ()
    return Neighbors(run, asked, metric, features, pixels, notes)


def _known(run: Run, query: Picture) -> int | Picture:
    """The number of a picture that the run has, told by the hash of its file; else the picture."""
    rows = np.flatnonzero(np.asarray(run.images["sha256"]) == query.sha256)
    return int(rows[0]) if len(rows) else query


def _tail(source: str) -> str:
    """The end of a file's name, where files of one folder differ."""
    name = Path(source.rpartition("::")[2]).stem
    return name if len(name) <= _LETTERS else "…" + name[1 - _LETTERS :]


def _rows(run: Run, found: Nearest, unit: float) -> tuple[Neighbor, ...]:
    pairs = zip(found.indices[0].tolist(), found.distances[0].tolist(), strict=True)
    labels = run.images["label"]
    return tuple(Neighbor(index, run.source(index), str(labels[index]), far / unit) for index, far in pairs)


_LETTERS = 15
