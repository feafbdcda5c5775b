"""What every verb returns: a frozen record that knows where it came from and can save itself."""

from __future__ import annotations

import base64
import dataclasses
import html
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, Self, final

import numpy.typing as npt

from phosphene.core import files
from phosphene.core.folder import OutputFolder
from phosphene.core.images import drawing, image
from phosphene.core.images.image import Picture, Uint8Image
from phosphene.core.networks.network import Network, Prediction

Kind = Literal["heatmap", "overlay", "picture", "table", "report", "state"]


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a result took.

    Args:
        forwards: images that went through the network, as a whole or up to the last layer read.
        backwards: gradients that came back.
        seconds: by the clock.
    """

    forwards: int = 0
    backwards: int = 0
    seconds: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.forwards + other.forwards, self.backwards + other.backwards, self.seconds + other.seconds)

    def __mul__(self, times: int) -> Cost:
        return Cost(self.forwards * times, self.backwards * times, self.seconds * times)

    def since(self, begun: float) -> Cost:
        """The same in all the seconds since some `time.perf_counter`; in its own, where what was resumed has more."""
        return dataclasses.replace(self, seconds=max(self.seconds, time.perf_counter() - begun))

    def __str__(self) -> str:
        clock = f" in {self.seconds:.2f} s" if self.seconds else ""
        return f"{_count(self.forwards, 'forward')}, {_count(self.backwards, 'backward')}{clock}"


@dataclasses.dataclass(frozen=True)
class File:
    """One file of a result, written only when the result is saved.

    Args:
        path: relative to the folder of the result, with "/" between folders.
        kind: what it is.
        write: writes it at the path that it is given.
        facts: what result.json says of it besides.
    """

    path: str
    kind: Kind
    write: Callable[[Path], object] = dataclasses.field(repr=False)
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def picture(cls, path: str, pixels: Uint8Image, *, kind: Kind = "picture", **facts: Any) -> Self:
        """A PNG.

        Args:
            path: relative.
            pixels: uint8 (H, W, 3 or 4) or (H, W).
            kind: "picture" or "overlay".
            facts: what result.json says of it.
        """
        return cls(path, kind, lambda file: image.save(file, pixels), facts)

    @classmethod
    def array(cls, path: str, values: npt.NDArray[Any], *, kind: Kind = "heatmap", **facts: Any) -> Self:
        """Raw numbers as .npy.

        Args:
            path: relative.
            values: of any shape, which result.json tells.
            kind: what they are.
            facts: what result.json says of it.
        """
        return cls(path, kind, lambda file: files.write_array(file, values), {**facts, "shape": list(values.shape)})

    @classmethod
    def text(cls, path: str, content: str, *, kind: Kind = "report", **facts: Any) -> Self:
        """Text in UTF-8.

        Args:
            path: relative.
            content: such as a page of HTML.
            kind: what it is.
            facts: what result.json says of it.
        """
        return cls(path, kind, lambda file: files.write(file, content), facts)

    def manifest(self) -> dict[str, Any]:
        """What result.json says of it."""
        return {"path": self.path, "kind": self.kind, **self.facts}


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Result:
    """What every verb returns: it knows where it came from, saves itself, and shows itself in a notebook.

    A subclass says what its files, facts, pictures and lines are; saving is the same for all.

    Args:
        verb: what made it; a folder holds the result of one verb.
        network: whose name and hash of weights are recorded.
        inputs: the photographs; none of them is ever overwritten.
        options: everything that was chosen, as plain values.
        predictions: the best classes of the first photograph.
        seed: of every random choice.
        cost: of all of it.
        notes: choices, causes and warnings, a sentence each.
        errors: one line for each input that failed.
    """

    verb: str = ""
    network: Network | None = dataclasses.field(default=None, repr=False)
    inputs: tuple[Picture, ...] = dataclasses.field(default=(), repr=False)
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict, repr=False)
    predictions: tuple[Prediction, ...] = dataclasses.field(default=(), repr=False)
    seed: int = dataclasses.field(default=0, repr=False)
    cost: Cost = Cost()
    notes: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()

    def __init_subclass__(cls, **rest: Any) -> None:
        super().__init_subclass__(**rest)
        if "__repr__" not in cls.__dict__:
            cls.__repr__ = Result.__repr__  # type: ignore[method-assign]  # not that of dataclasses: values are long

    def __repr__(self) -> str:
        target = str(getattr(self, "target", ""))
        return f"<{type(self).__name__}{f' of {target}' if target else ''}: {self.cost}>"

    def files(self) -> Iterator[File]:
        """Every file that belongs to it, besides result.json."""
        return iter(())

    def facts(self) -> Mapping[str, Any]:
        """Keys of result.json that only this verb has."""
        return {}

    def pictures(self) -> Sequence[Uint8Image]:
        """What is to be seen, uint8 (H, W, 3) each."""
        return ()

    def lines(self) -> tuple[str, ...]:
        """The outcome, a sentence each."""
        return ()

    @final
    def manifest(self, written: Iterable[Mapping[str, Any]] = ()) -> dict[str, Any]:
        """result.json: what was asked, of what, with what outcome, in which files; plain values.

        Args:
            written: what is said of each file; nothing where nothing is saved.
        """
        model = None
        if self.network is not None:
            notes = {"notes": list(self.network.notes)} if self.network.notes else {}
            model = {"name": self.network.name, "sha256": self.network.sha256, **notes}
        return {
            "phosphene": version("phosphene"),
            "verb": self.verb,
            "seed": self.seed,
            "options": dict(self.options),
            "target": str(getattr(self, "target", "")),
            "model": model,
            "inputs": [_input(picture) for picture in self.inputs],
            "predictions": [prediction._asdict() for prediction in self.predictions],
            "files": [dict(file) for file in written],
            "cost": dataclasses.asdict(self.cost),
            "errors": list(self.errors),
            "notes": list(self.notes),
            **self.facts(),
        }

    @final
    def save(self, folder: str | Path) -> dict[str, Any]:
        """Write every file and result.json, whole, in place of the result of the same verb that the folder held.

        Args:
            folder: made where it is missing; see `phosphene.core.folder.OutputFolder`.

        Returns:
            what result.json holds.

        Raises:
            FolderError: the folder holds files of these names that are not ours, or the result of another verb.
            OutputError: the folder cannot be written, or the disk is full.
        """
        inputs = [picture.path for picture in self.inputs if picture.path not in {"", "-"}]
        output = OutputFolder(folder, self.verb, inputs=inputs)
        written = list(self.files())
        stored = self.manifest(file.manifest() for file in written)
        writers: dict[str, Callable[[Path], object]] = {file.path: file.write for file in written}
        assert len(writers) == len(written), [file.path for file in written]
        output.publish({**writers, "result.json": lambda path: files.write_json(path, stored)})
        return stored

    @final
    def _repr_png_(self) -> bytes | None:
        """Its pictures, in a notebook."""
        shown = list(self.pictures()[:_SHOWN])
        if not shown:
            return None
        sheet = drawing.grid(shown, columns=math.isqrt(len(shown) - 1) + 1) if len(shown) > 1 else shown[0]
        return image.encode_png(sheet)

    @final
    def _repr_html_(self) -> str:
        """Its pictures, lines and notes, in a notebook."""
        png = self._repr_png_()
        shown = f'<img src="data:image/png;base64,{base64.b64encode(png).decode()}">' if png else ""
        sentences = "".join(f"<p>{html.escape(line)}</p>" for line in (*self.lines(), *self.notes))
        return f"<div>{shown}{sentences}<p><small>{html.escape(f'{self.verb}: {self.cost}')}</small></p></div>"


def _input(picture: Picture) -> dict[str, Any]:
    notes = {"notes": list(picture.notes)} if picture.notes else {}
    return {
        "path": picture.path,
        "sha256": picture.sha256,
        "width": picture.width,
        "height": picture.height,
        **notes,
    }


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


_SHOWN = 16  # pictures in a notebook
