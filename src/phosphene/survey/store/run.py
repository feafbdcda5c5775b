"""A finished survey, opened: every number that was kept, each file checked before it is believed."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self, get_args

import numpy as np
import numpy.typing as npt

from phosphene.core import files
from phosphene.core.errors import ImageError, LayerError, OptionError, RunError, TargetError, did_you_mean
from phosphene.core.images.image import Picture
from phosphene.core.images.preprocess import Box
from phosphene.core.networks.network import Network
from phosphene.survey.sources.gather import escape
from phosphene.survey.sources.image_list import read
from phosphene.survey.store import seal as seals
from phosphene.survey.store.duckdb import remedy
from phosphene.survey.store.seal import Damage
from phosphene.survey.store.sql import TABLES, Rows, query
from phosphene.survey.store.table import Columns, Value, read_table

Side = Literal["top", "bottom"]
Of = Literal["image", "place"]


@dataclass(frozen=True)
class Patch:
    """The part of an image that a unit saw when it answered strongest, or weakest.

    Args:
        layer: of the unit.
        channel: of the unit.
        side: "top" or "bottom".
        rank: from 0, the most extreme first.
        image: its number in the survey.
        activation: of the unit, at that place.
        row: of the place in the map; 0 for vectors.
        column: of the place in the map; 0 for vectors.
        box: exact receptive field, in pixels of the original file, clipped to what the network saw.
        whole: the field is the whole picture.
    """

    layer: str
    channel: int
    side: Side
    rank: int
    image: int
    activation: float
    row: int
    column: int
    box: Box
    whole: bool


@dataclass(frozen=True, eq=False)
class Run:
    """A finished survey, read from its folder. Nothing is read before its checksum agrees.

    Args:
        folder: that the survey wrote.
        manifest: its result.json.
    """

    folder: Path
    manifest: Mapping[str, Any] = field(repr=False)

    @classmethod
    def open(cls, folder: str | Path, *, check: bool = True) -> Self:
        """Open the folder of a survey.

        Args:
            folder: that the survey wrote.
            check: that all its files are there, with the sizes that were written.

        Raises:
            RunError: the folder holds no survey, one that is not finished, or a damaged one.
        """
        folder = Path(folder)
        run = cls(folder, seals.unseal(folder))
        if check and (found := run.verify(full=False)):
            more = f" and {len(found) - 1} more" if len(found) > 1 else ""
            raise RunError(f"the survey in {folder} is damaged: {found[0]}{more}. {remedy(folder)}")
        return run

    def verify(self, *, full: bool = True) -> tuple[Damage, ...]:
        """Every file that is missing, or not as it was written.

        Args:
            full: read every byte; else compare sizes alone.
        """
        return seals.verify(self.folder, full=full)

    def check_network(self, network: Network) -> None:
        """Refuse a network other than the one that was surveyed.

        Raises:
            RunError: the hashes of the weights differ, or the names where the weights come from no file.
        """
        name, sha256 = self.manifest["model"]["name"], self.manifest["model"]["sha256"]
        if sha256 != network.sha256 or not (sha256 or name == network.name):
            surveyed, given = (digest[:8] or "from no file" for digest in (sha256, network.sha256))
            raise RunError(
                f"{self.folder} is a survey of {name} (weights {surveyed}), and this is {network.name} "
                f"(weights {given}); give --model and --weights as for the survey"
            )

    @functools.cached_property
    def images(self) -> Columns:
        """The table of images, by number; read-only."""
        table = self._table("images", {})
        for column in table.values():
            column.setflags(write=False)
        return table

    @property
    def layers(self) -> tuple[str, ...]:
        """In the order of the pass."""
        return tuple(self.manifest["layers"])

    def channels(self, layer: str) -> int:
        """How many units a layer has."""
        return int(self._layer(layer)["channels"])

    def grid(self, layer: str) -> tuple[int, int]:
        """Rows and columns of the maps of a layer; (1, 1) for vectors."""
        rows, columns = self._layer(layer)["grid"]
        return int(rows), int(columns)

    def units(self, layer: str | None = None) -> Columns:
        """The statistics of all units, or of those of a layer, one row each."""
        return self._table("units", {} if layer is None else self._of(layer))

    def unit(self, layer: str, channel: int) -> dict[str, Value]:
        """The statistics of one unit."""
        table = self._table("units", self._of(layer, channel))
        if not len(table["layer"]):
            raise RunError(f"the survey in {self.folder} kept no statistics of {layer}. {_AGAIN}")
        return {name: column.tolist()[0] for name, column in table.items()}

    def patches(self, layer: str, channel: int, side: Side = "top", k: int | None = None) -> tuple[Patch, ...]:
        """The strongest or weakest patches of a unit, the most extreme first.

        Args:
            layer: of the unit.
            channel: of the unit.
            side: "top" or "bottom".
            k: at most so many.
        """
        _choose("side", side, get_args(Side))
        table = self._table("patches", {**self._of(layer, channel), "side": side}, order=("rank",))
        rows = zip(*(column[:k].tolist() for column in table.values()), strict=True)
        return tuple(_patch(dict(zip(table, row, strict=True))) for row in rows)

    def classes(self, layer: str, channel: int) -> Columns:
        """How a unit answers to each class, one row each."""
        return self._table("classes", self._of(layer, channel))

    def histogram(
        self, layer: str, channel: int, of: Of = "image"
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.int64]]:
        """Low edge, high edge and count of the bins of a unit that have a count, rising.

        Args:
            layer: of the unit.
            channel: of the unit.
            of: "image" for the maximum of each image, "place" for sampled places.
        """
        _choose("histogram", of, get_args(Of))
        table = self._table("histograms", {**self._of(layer, channel), "of": of}, order=("low",))
        return table["low"], table["high"], table["count"]

    def samples(self, layer: str, channel: int) -> Columns:
        """Images drawn by hash from each octave of a unit's histogram, rising."""
        return self._table("samples", self._of(layer, channel), order=("low", "image"))

    @property
    def embeddings(self) -> npt.NDArray[np.float16]:
        """float16 (N, D), mapped from the disk; rows of NaN for images that failed."""
        return self._array("embeddings.npy")

    @property
    def pixels(self) -> npt.NDArray[np.uint8]:
        """uint8 (N, 32, 32, 3), mapped from the disk: each image as the network saw it, small."""
        return self._array("pixels.npy")

    def similar(self, layer: str) -> npt.NDArray[np.float32]:
        """float32 (C, C), mapped from the disk: the correlation of the units of a layer over all places."""
        self._layer(layer)
        return self._array(f"similar/{files.slug(layer)}.npy")

    def source(self, image: int) -> str:
        """Where an image was read from.

        Raises:
            ImageError: the survey has no image of that number.
        """
        count = len(self.images["source"])
        if not 0 <= image < count:
            raise ImageError(f"the survey in {self.folder} has no image {image}; it has {count}, from 0")
        return str(self.images["source"][image])

    def picture(self, image: int) -> Picture:
        """An image of the survey, read again.

        Raises:
            ImageError: it is gone, cannot be read, or is not what the survey saw.
        """
        source = self.source(image)
        picture = read(source)
        if self.images["sha256"][image] not in {"", picture.sha256}:
            raise ImageError(f"{source} has changed since the survey; restore it, or run the survey again")
        return picture

    def find(self, name: str) -> int:
        """The number of an image.

        Args:
            name: its number, its path, or the end of its path, such as its file name.

        Raises:
            ImageError: no image is called so, or several are.
        """
        sources = self.images["source"].tolist()
        if re.fullmatch(r"[0-9]{1,9}", name) and name not in sources:
            self.source(int(name))
            return int(name)
        wanted = {name, escape(name), escape(Path(name).parent.resolve() / Path(name).name)}
        ends = tuple(mark + each for each in wanted for mark in ("/", "::"))
        found = [number for number, source in enumerate(sources) if source in wanted] or [
            number for number, source in enumerate(sources) if source.endswith(ends)
        ]
        if len(found) == 1:
            return found[0]
        if found:
            few = ", ".join(f"{number} is {sources[number]}" for number in found[:3])
            raise ImageError(f"{len(found)} images are called {name!r}: {few}; give the number")
        names = [re.split(r"/|::", source)[-1] for source in sources[:_SEARCHED]]
        raise ImageError(f"the survey in {self.folder} has no image {name!r}; {did_you_mean(name, names)}")

    def query(self, sql: str, *, limit: int | None = None) -> Rows:
        """See `phosphene.survey.store.sql.query`."""
        kept = [name for name in TABLES if f"{name}.parquet" in self._files]
        for name in kept:
            self._trusted(f"{name}.parquet")
        return query(self.folder, sql, limit=limit, tables=kept)

    @functools.cached_property
    def _files(self) -> dict[str, Mapping[str, Any]]:
        return {entry["path"]: entry for entry in self.manifest["files"]}

    def _table(self, name: str, where: Mapping[str, Value], order: tuple[str, ...] = ()) -> Columns:
        return read_table(self._trusted(f"{name}.parquet"), where=where, order=order)

    def _array(self, name: str) -> npt.NDArray[Any]:
        array: npt.NDArray[Any] = np.load(self._trusted(name), mmap_mode="r", allow_pickle=False)
        return array

    def _trusted(self, name: str) -> Path:
        """The path of a file whose content is what was written."""
        if name not in self._files:
            raise RunError(f"the survey in {self.folder} kept no {name}. {_AGAIN}")
        if what := seals.flaw(self.folder, self._files[name], full=True):
            raise RunError(f"{self.folder / name} {what}. {remedy(self.folder)}")
        return self.folder / name

    def _layer(self, layer: str) -> Mapping[str, Any]:
        if layer not in self.manifest["layers"]:
            raise LayerError(f"the survey in {self.folder} has no layer {layer!r}; {did_you_mean(layer, self.layers)}")
        facts: Mapping[str, Any] = self.manifest["layers"][layer]
        return facts

    def _of(self, layer: str, channel: int | None = None) -> dict[str, Value]:
        """The rows of a layer, or of a unit."""
        channels = self.channels(layer)
        if channel is None:
            return {"layer": layer}
        if not 0 <= channel < channels:
            raise TargetError(f"{layer} has no channel {channel}; its {channels} channels are 0 … {channels - 1}")
        return {"layer": layer, "channel": channel}


def _choose(what: str, name: str, names: tuple[str, ...]) -> None:
    if name not in names:
        raise OptionError(f"no {what} is called {name!r}; {did_you_mean(name, names)}")


_SEARCHED = 20_000
_AGAIN = "Run it again with the accumulator that keeps it"


def _patch(row: dict[str, Any]) -> Patch:
    return Patch(box=Box(*(row.pop(side) for side in Box._fields)), **row)
