"""The images of a survey, in an order that is fixed: from folders, patterns, tables and shards."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from phosphene.core import files
from phosphene.core.errors import ImageError, OptionError, did_you_mean
from phosphene.core.images import image
from phosphene.core.images.decode import Decoding
from phosphene.survey.sources.archive import Member, Shard
from phosphene.survey.sources.gather import ImageCollector, escape, is_file, reason, split, unescape

ImageSource = str | Path
"""A picture, a folder, a pattern, a table (.csv) or a shard (.tar, .zip)."""


class Entry(NamedTuple):
    """One image of a list.

    Args:
        source: what `read` takes.
        label: its class, "" where none is known.
    """

    source: str
    label: str


@dataclasses.dataclass(frozen=True, eq=False)
class ImageList:
    r"""The images of a survey in a fixed order; the number of an image is its place here.

    A source is an absolute path with "/", "photos/cat.jpg", or a shard and a member, "shard-000.tar::0001.jpg", so
    that a run can be read from any folder. Links inside a folder keep their own names. It is always one line of UTF-8:
    a backslash, a control character, and a byte of a name that is not UTF-8 (as Python's surrogate) are written as
    \uXXXX, which `read` undoes.

    Memory: 150 to 220 bytes an image, with a path of 50. A list can be pickled; `load` may be called from many threads.

    Args:
        sources: one per image.
        classes: the label of each, or "".
        places: int64 (N, 4), the `Member` of each in its shard; -1 for files.
        damage: one line for each shard or label that could be read only in part.
        notes: choices that were made, a sentence each.
    """

    sources: tuple[str, ...] = dataclasses.field(repr=False)
    classes: tuple[str, ...] = dataclasses.field(repr=False)
    places: npt.NDArray[np.int64] = dataclasses.field(repr=False)
    damage: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        assert self.places.shape == (len(self.sources), 4), self.places.shape
        assert len(self.classes) == len(self.sources)

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, number: int) -> Entry:
        return Entry(self.sources[number], self.classes[number])

    def __iter__(self) -> Iterator[Entry]:
        return map(Entry, self.sources, self.classes)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All at once; `images[number]` gives one."""
        return tuple(self)

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The distinct labels, sorted, "" left out."""
        return tuple(sorted(set(self.classes) - {""}))

    @cached_property
    def digest(self) -> str:
        """SHA-256, in hexadecimal, of all sources and labels in order; a survey resumes only with the same."""
        digest = hashlib.sha256()
        for entry in self:
            digest.update(json.dumps(entry).encode())
        return digest.hexdigest()

    def load(self, number: int) -> image.Picture:
        """Decode an image.

        Args:
            number: its place in the list.

        Raises:
            ImageError: it cannot be read or decoded; the line names it.
        """
        source, place = self.sources[number], Member(*self.places[number].tolist())
        return _file(source) if place.offset < 0 else _member(source, place)


def read(source: str) -> image.Picture:
    """Decode an image of a list again, from its source alone.

    Args:
        source: as an `Entry` has it; a path, or a shard and a member of it.

    Raises:
        ImageError: it is not there, or cannot be decoded; the line names it.
    """
    shard, name = split(source)
    if not name or is_file(Path(unescape(source))):
        return _file(source)
    try:
        members = Shard.recall(Path(unescape(shard))).members
    except OSError as error:
        raise ImageError(f"{shard} cannot be read: {reason(error)}") from error
    if unescape(name) not in members:
        raise ImageError(f"{shard} holds no picture {name!r}; {did_you_mean(name, map(escape, members))}")
    return _member(source, members[unescape(name)])


def list_images(
    source: ImageSource | Iterable[ImageSource],
    *,
    labels: Literal["auto", "none"] = "auto",
    limit: int | None = None,
    seed: int = 0,
) -> ImageList:
    """The images that sources name, each once.

    A folder gives the pictures in and below it, sorted, hidden ones left out. Where all of them lie in sub-folders,
    the first folder on the way to each is its label. A folder without pictures gives the shards in it.
    A table has a column path, file, filename or image, and may have a column label, class, name or target. Its paths
    start at its own folder; or, where none of them is found there, at the folder of its own name beside it (images/
    for images.csv), or the only one there is.
    A shard gives its members; see `phosphene.survey.sources.archive.Shard`, also for labels.
    A missing picture is an error when it is loaded; a missing folder is an error here.

    Args:
        source: one or many paths of pictures, folders, patterns, tables or shards.
        labels: whether to find labels, or leave them all empty.
        limit: keep only so many, a sample drawn with the seed, in the order of the source.
        seed: of that sample.

    Raises:
        ImageError: there is no image, or a table or shard cannot be used.
        OptionError: a value that an option cannot take.

    >>> import skimage
    >>> folder = Path(skimage.__file__).parent / "data"
    >>> cat, rocket = list_images(folder / name for name in ("chelsea.png", "rocket.jpg"))
    >>> read(cat.source).width, rocket.label
    (451, '')
    """
    if labels not in {"auto", "none"}:
        raise OptionError(f"labels cannot be {labels!r}; {did_you_mean(labels, ('auto', 'none'))}")
    if limit is not None and limit < 1:
        raise OptionError(f"limit is {limit}; keep at least 1 image, or leave it out for all")
    if seed < 0:
        raise OptionError(f"seed is {seed}; give 0 or more")
    collector = ImageCollector(labelled=labels == "auto")
    for path in [source] if isinstance(source, str | Path) else source:
        collector.add(Path(path))
    images, notes = collector.images, collector.notes
    if not images:
        raise ImageError(next(iter(collector.damage), "there is no picture to survey; give a folder of them"))
    if collector.repeats:
        notes.append(f"{collector.repeats} pictures were named again; each counts once")
    sources = list(images)
    if limit is not None and limit < len(sources):
        # Raw numbers are what numpy promises to keep from version to version; its permutations are not.
        order = np.argsort(np.random.PCG64(seed).random_raw(len(sources)), kind="stable")
        sources = [sources[number] for number in np.sort(order[:limit])]
    classes, members = zip(*map(images.__getitem__, sources), strict=True)
    places = np.array(members, np.int64)
    return ImageList(tuple(sources), classes, places, tuple(collector.damage), tuple(notes))


def _file(source: str) -> image.Picture:
    return dataclasses.replace(image.load(Path(unescape(source)).absolute()), path=source)


def _member(source: str, place: Member) -> image.Picture:
    try:
        with Path(unescape(split(source)[0])).open("rb") as file:
            data = place.read(file)
        pixels, notes = Decoding()(data)
    except OSError as error:
        raise ImageError(f"{source} cannot be read: {reason(error)}") from error
    except ImageError as error:
        raise ImageError(f"{source} {error}") from error
    return image.Picture(pixels, source, files.sha256(data), notes)
