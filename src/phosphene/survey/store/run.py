"""A finished survey, opened from its folder; every file is checked before it is read."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from phosphene.core import files
from phosphene.core.errors import ImageError, LayerError, OptionError, RunError, TargetError, did_you_mean
from phosphene.core.images.image import Picture, Uint8Image
from phosphene.core.networks.network import Network
from phosphene.core.result import Cost, File, Result
from phosphene.core.table import Table
from phosphene.survey.sources.gather import find_image
from phosphene.survey.sources.image_list import read
from phosphene.survey.store import seal
from phosphene.survey.store.duckdb import remedy
from phosphene.survey.store.patch import Patch, Side
from phosphene.survey.store.seal import Damage
from phosphene.survey.store.sealed_files import SealedFiles
from phosphene.survey.store.sql import query
from phosphene.survey.store.table import Value

Of = Literal["image", "place"]


@dataclass(frozen=True, eq=False, init=False, repr=False)
class Run(Result):
    """A finished survey, read from its folder: `Run("run/")`; `save` writes a copy. No file is read unchecked.

    Args:
        folder: that the survey wrote.
        check: that all its files are there, with the sizes that were written.

    Raises:
        RunError: the folder holds no survey, one that is not finished, or a damaged one.
    """

    verb: str = field(default="survey", kw_only=True)
    folder: Path
    record: Mapping[str, Any] = field(repr=False)
    """What result.json holds."""

    def __init__(self, folder: str | Path, *, check: bool = True) -> None:
        folder = Path(folder)
        record = seal.unseal(folder)
        super().__init__()
        facts = {"folder": folder, "record": record, "seed": record["seed"], "options": record["options"]}
        facts |= {"cost": Cost(**record["cost"]), "notes": tuple(record["notes"]), "errors": tuple(record["errors"])}
        for name, value in facts.items():
            object.__setattr__(self, name, value)
        if check and (damage := self.verify(full=False)):
            more = f" and {len(damage) - 1} more" if len(damage) > 1 else ""
            raise RunError(f"the survey in {folder} is damaged: {damage[0]}{more}. {remedy(folder)}")

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r})"

    def files(self) -> Iterator[File]:
        """Every file, to be copied."""
        return self._files.copies()

    def facts(self) -> Mapping[str, Any]:
        """All that result.json holds."""
        return self.record

    def pictures(self) -> Sequence[Uint8Image]:
        """Thumbnails of the first images."""
        first = np.flatnonzero(self.images["ok"])[:_SHOWN]
        return [np.asarray(self.pixels[image]).repeat(3, 0).repeat(3, 1) for image in first]

    def lines(self) -> tuple[str, ...]:
        """How many images, units and layers it has."""
        images = int(self.images["ok"].sum())
        layers = f"{len(self.layers)} layer{'s' * (len(self.layers) != 1)}"
        if "units" in self.tables:
            units = self.units()
            dead = f", {int(units['dead'].sum()):,} dead" if "dead" in units else ""
            layers = f"{len(units['channel']):,} units of {layers}{dead}"
        return (f"{images:,} image{'s' * (images != 1)}, {layers}, in {self.cost.seconds:.0f} s",)

    def verify(self, *, full: bool = True) -> tuple[Damage, ...]:
        """Every file that is missing, or not as it was written.

        Args:
            full: read every byte; else compare only sizes.
        """
        return seal.verify(self.folder, full=full)

    def check_network(self, network: Network) -> None:
        """Refuse a network other than the one that was surveyed.

        Raises:
            RunError: the hashes of the weights differ, or the names where the weights come from no file.
        """
        name, sha256 = self.record["model"]["name"], self.record["model"]["sha256"]
        if sha256 != network.sha256 or not (sha256 or name == network.name):
            surveyed, given = (digest[:8] or "from no file" for digest in (sha256, network.sha256))
            raise RunError(
                f"{self.folder} is a survey of {name} (weights {surveyed}), and this is {network.name} "
                f"(weights {given}); give --model and --weights as for the survey"
            )

    @property
    def tables(self) -> tuple[str, ...]:
        """The names of its tables: images, and those that its accumulators write."""
        return self._files.names(".parquet")

    @property
    def arrays(self) -> tuple[str, ...]:
        """The names of its arrays: pixels, and those that its accumulators write."""
        return self._files.names(".npy")

    def table(self, name: str, layer: str | None = None, channel: int | None = None) -> Table:
        """A table, whole or the rows of a layer or of a unit.

        Args:
            name: one of `tables`.
            layer: of the rows.
            channel: of the rows.

        Raises:
            RunError: the survey wrote no such table.
        """
        return self._files.table(name, {} if layer is None else self._of(layer, channel))

    @functools.cached_property
    def images(self) -> Table:
        """The table of images, by number; read-only."""
        table = self._files.table("images", {})
        for column in table.values():
            column.setflags(write=False)
        return table

    @property
    def labeled(self) -> bool:
        """Whether the classes are labels of the images; else they are what the network predicted."""
        return bool(self.record["labeled"])

    @property
    def image_classes(self) -> tuple[str, ...]:
        """The label of each image; where the source had none, the class that the network predicted."""
        return tuple(map(str, self.images["label" if self.labeled else "prediction"]))

    @property
    def layers(self) -> tuple[str, ...]:
        """In the order of the pass."""
        return tuple(self.record["layers"])

    def channels(self, layer: str) -> int:
        """How many units a layer has."""
        return int(self._layer(layer)["channels"])

    def grid(self, layer: str) -> tuple[int, int]:
        """Rows and columns of the maps of a layer; (1, 1) for vectors."""
        return tuple(self._layer(layer)["grid"])

    def units(self, layer: str | None = None) -> Table:
        """The statistics of all units, or of those of a layer, one row each."""
        return self.table("units", layer)

    def unit(self, layer: str, channel: int) -> dict[str, Value]:
        """The statistics of one unit."""
        table = self.table("units", layer, channel)
        if not len(table["layer"]):
            raise RunError(f"the survey in {self.folder} kept no statistics of {layer}. Run it again with that layer")
        return {name: column.tolist()[0] for name, column in table.items()}

    def patches(self, layer: str, channel: int, side: Side = "top", k: int | None = None) -> tuple[Patch, ...]:
        """The strongest or weakest patches of a unit, the most extreme first.

        Args:
            layer: of the unit.
            channel: of the unit.
            side: "top" or "bottom".
            k: at most so many.
        """
        _require("side", side, get_args(Side))
        table = self._files.table("patches", {**self._of(layer, channel), "side": side}, order=("rank",))
        return tuple(Patch.of(dict(zip(table, row, strict=True))) for row in table.rows[:k])

    def classes(self, layer: str, channel: int) -> Table:
        """The responses of a unit to each class, one row each."""
        return self.table("classes", layer, channel)

    def histogram(
        self, layer: str, channel: int, of: Of = "image"
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.int64]]:
        """Low edge, high edge and count of the bins of a unit that have a count, in ascending order.

        Args:
            layer: of the unit.
            channel: of the unit.
            of: "image" for the maximum of each image, "place" for sampled places.
        """
        _require("histogram", of, get_args(Of))
        table = self._files.table("histograms", {**self._of(layer, channel), "of": of}, order=("low",))
        return table["low"], table["high"], table["count"]

    def samples(self, layer: str, channel: int) -> Table:
        """Images sampled from each octave of a unit's activation, in ascending order."""
        return self._files.table("samples", self._of(layer, channel), order=("low", "image"))

    @property
    def embeddings(self) -> npt.NDArray[np.float16]:
        """float16 (N, D), mapped from the disk; rows of NaN for images that failed."""
        return self.array("embeddings")

    @property
    def pixels(self) -> npt.NDArray[np.uint8]:
        """uint8 (N, 32, 32, 3), mapped from the disk: thumbnails of what the network was shown."""
        return self.array("pixels")

    def similar(self, layer: str) -> npt.NDArray[np.float32]:
        """float32 (C, C), mapped from the disk: the correlation of the units of a layer over all images."""
        self._layer(layer)
        return self.array(f"similar/{files.slug(layer)}")

    def array(self, name: str) -> npt.NDArray[Any]:
        """An array that is not a table, mapped from the disk.

        Args:
            name: one of `arrays`.

        Raises:
            RunError: the survey wrote no such array.
        """
        return self._files.array(name)

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
            ImageError: it is gone, cannot be read, or has changed since the survey.
        """
        picture = read(self.source(image))
        if self.images["sha256"][image] not in {"", picture.sha256}:
            raise ImageError(f"{picture.path} has changed since the survey; restore it, or run the survey again")
        return picture

    def find(self, name: str) -> int:
        """The number of an image.

        Args:
            name: its number, its path, or the end of its path, such as its file name.

        Raises:
            ImageError: no image has that name, or several have.
        """
        return find_image(self.images["source"].tolist(), name, f"the survey in {self.folder}")

    def query(self, sql: str, *, limit: int | None = None) -> Table:
        """See `phosphene.survey.store.sql.query`."""
        for name in self.tables:
            self._files.path(f"{name}.parquet")  # checks it
        return query(self.folder, sql, limit=limit, tables=self.tables)

    @functools.cached_property
    def _files(self) -> SealedFiles:
        return SealedFiles(self.folder, self.record["files"])

    def _layer(self, layer: str) -> dict[str, Any]:
        if layer not in self.record["layers"]:
            raise LayerError(f"the survey in {self.folder} has no layer {layer!r}; {did_you_mean(layer, self.layers)}")
        return dict(self.record["layers"][layer])

    def _of(self, layer: str, channel: int | None = None) -> dict[str, Value]:
        """The condition for the rows of a layer, or of a unit."""
        channels = self.channels(layer)
        if channel is None:
            return {"layer": layer}
        if not 0 <= channel < channels:
            raise TargetError(f"{layer} has no channel {channel}; its {channels} channels are 0 … {channels - 1}")
        return {"layer": layer, "channel": channel}


def _require(what: str, name: str, names: tuple[str, ...]) -> None:
    if name not in names:
        raise OptionError(f"no {what} is called {name!r}; {did_you_mean(name, names)}")


_SHOWN = 16  # thumbnails
