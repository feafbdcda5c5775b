"""The images in what a user names: folders, patterns, tables and shards."""

from __future__ import annotations

import csv
import io
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from phosphene.core.errors import ImageError, did_you_mean
from phosphene.core.images import image
from phosphene.survey.sources.archive import FILE, LABELS, SHARDS, Member, Shard


class ImageCollector:
    """Collects images, each once; see `phosphene.survey.sources.image_list.list_images`.

    Args:
        labelled: whether to read labels.
    """

    def __init__(self, *, labelled: bool) -> None:
        self.labelled = labelled
        self.images: dict[str, tuple[str, Member]] = {}
        self.damage: list[str] = []
        self.notes: list[str] = []
        self.repeats = 0

    def add(self, path: Path) -> None:
        """Add the images that a path names.

        Args:
            path: of a picture, a folder, a table or a shard, or a pattern.

        Raises:
            ImageError: it holds nothing, or cannot be used.
        """
        if path.is_dir():
            self._folder(path)
            return
        folders: dict[Path, Path] = {}
        for file in image.find([path]):
            folder = folders.setdefault(file.parent, file.parent.resolve())
            name = file.name.lower()
            if name.endswith(_COMPRESSED):
                raise ImageError(f"{escape(file)} is compressed and cannot be read at random; unpack it to a .tar")
            if name.endswith(SHARDS):
                self._shard(folder / file.name)
            elif name.endswith(".csv"):
                self._table(folder / file.name)
            elif not file.suffix and not file.exists():  # no picture's name: a folder, mistyped
                names = [other.name for other in folder.iterdir()] if folder.is_dir() else []
                raise ImageError(f"{escape(file)} does not exist; {did_you_mean(file.name, map(escape, names))}")
            else:
                self._add(escape(folder / file.name), "")

    def _folder(self, root: Path) -> None:
        try:
            names = [path.relative_to(root) for path in image.find([root])]
        except ImageError:
            shards = sorted(file for file in root.iterdir() if file.name.lower().endswith((*SHARDS, *_COMPRESSED)))
            if not shards:
                raise
            for shard in shards:
                self.add(shard)
            return
        base, by_folder = root.resolve(), all(len(name.parts) > 1 for name in names)
        for name in names:
            self._add(escape(base / name), name.parts[0] if by_folder else "")

    def _shard(self, path: Path) -> None:
        source = escape(path)
        try:
            shard = Shard.open(path)
        except OSError as error:
            raise ImageError(f"{source} cannot be read: {reason(error)}") from error
        if not shard.members and not shard.damage:
            raise ImageError(f"{source} holds no picture; give another shard")
        self.damage += [f"{source} {line}" for line in shard.damage]
        for name, member in shard.members.items():
            self._add(f"{source}::{escape(name)}", shard.labels.get(name, ""), member)

    def _table(self, path: Path) -> None:
        rows, folder = list(_rows(path)), path.parent
        if not rows:
            raise ImageError(f"{escape(path)} lists no picture; give another table")
        beside = [entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
        named = [entry for entry in beside if entry.name == path.stem]
        bases = [folder, *named, *(beside if len(beside) == 1 else [])]
        base = next((start for start in bases if any(is_file(start / name) for name, _ in rows)), folder)
        if base != folder:
            self.notes.append(f"the paths in {escape(path)} start at {escape(base.name)}/ beside it")
        for name, label in rows:
            self._add(escape(base / name), label)

    def _add(self, source: str, label: str, member: Member = FILE) -> None:
        label = sys.intern(escape(" ".join(label.split()))) if self.labelled else ""
        if source in self.images:
            known, member = self.images[source]
            if label and known and label != known:
                raise ImageError(f"{source} is labelled both {known!r} and {label!r}; keep one")
            self.repeats += 1
            label = known or label
        self.images[source] = label, member


def split(source: str) -> tuple[str, str]:
    """A shard and a member of it, or a path and "".

    >>> split("x.zip::a/b.png"), split("cat.jpg")
    (('x.zip', 'a/b.png'), ('cat.jpg', ''))
    """
    match = _INSIDE.fullmatch(source)
    return (match[1], match[2]) if match else (source, "")


def escape(name: Path | str) -> str:
    r"""A name as text that every table can store and every line can show; `unescape` undoes it.

    >>> escape("caf\udce9.jpg"), unescape(escape("caf\udce9.jpg")) == "caf\udce9.jpg"
    ('caf\\udce9.jpg', True)
    """
    plain = name if isinstance(name, str) else name.as_posix()
    return _ODD.sub(lambda match: f"\\u{ord(match[0]):04x}", plain)


def unescape(text: str) -> str:
    """A name from its text."""
    return _ESCAPED.sub(lambda match: chr(int(match[1], 16)), text)


def find_image(sources: Sequence[str], name: str, of: str = "the list") -> int:
    """The number of an image.

    Args:
        sources: of all images, as `escape` spells them.
        name: its number, its path, or the end of its path, such as its file name.
        of: names the whole in messages.

    Raises:
        ImageError: no image has that name, or several have.
    """
    if re.fullmatch(r"[0-9]{1,9}", name) and name not in sources:
        if int(name) >= len(sources):
            raise ImageError(f"{of} has no image {int(name)}; it has {len(sources)}, from 0")
        return int(name)
    spellings = {name, escape(name), escape(Path(name).parent.resolve() / Path(name).name)}
    ends = tuple(mark + spelling for spelling in spellings for mark in ("/", "::"))
    matching = [number for number, source in enumerate(sources) if source in spellings] or [
        number for number, source in enumerate(sources) if source.endswith(ends)
    ]
    if len(matching) == 1:
        return matching[0]
    if matching:
        few = ", ".join(f"{number} is {sources[number]}" for number in matching[:3])
        raise ImageError(f"{len(matching)} images are called {name!r}: {few}; give the number")
    names = [re.split(r"/|::", source)[-1] for source in sources[:_SEARCHED]]
    raise ImageError(f"{of} has no image {name!r}; {did_you_mean(name, names)}")


def reason(error: OSError) -> str:
    """The end of a line that names a file."""
    return f"{(error.strerror or str(error)).lower()}; check the path and who may read it"


def is_file(path: Path) -> bool:
    """Whether there is a file; False also where the name is too long for the system."""
    with suppress(OSError):
        return path.is_file()
    return False


def _rows(path: Path) -> Iterator[tuple[str, str]]:
    """Path and label of each row of a table."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ImageError(f"{escape(path)} cannot be read: {reason(error)}") from error
    try:
        reader = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True, skipinitialspace=True)
        header = next(reader, [])
        at, label = _column(header, _PATHS), _column(header, LABELS)
        if at is None:
            columns = ", ".join(map(repr, header))[:200] or "nothing"
            raise ImageError(f"{escape(path)} begins with {columns}; call one column {' or '.join(_PATHS)}")
        for row in reader:
            if not any(map(str.strip, row)):
                continue
            if len(row) != len(header) or not row[at]:
                problem = "no path" if len(row) == len(header) else f"{len(row)} cells under {len(header)} columns"
                raise ImageError(f"{escape(path)} has {problem} in line {reader.line_num}; mend that line")
            yield row[at], "" if label is None else row[label]
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ImageError(f"{escape(path)} is not UTF-8 in line {line}; save it as UTF-8") from error
    except csv.Error as error:
        raise ImageError(f"{escape(path)} is no table: {error} in line {reader.line_num}; mend that line") from error


def _column(header: list[str], names: tuple[str, ...]) -> int | None:
    """The place of the first of these names that the header has."""
    folded = [cell.strip().casefold() for cell in header]
    return next((folded.index(name) for name in names if name in folded), None)


_SEARCHED = 20_000  # names among which the nearest is looked for
_PATHS = ("path", "file", "filename", "image")
_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tzst")
_INSIDE = re.compile(r"(.*?\.(?:tar|zip))::(.+)", re.IGNORECASE)
_ODD = re.compile(r"[\\\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_ESCAPED = re.compile(r"\\u([0-9a-f]{4})")
