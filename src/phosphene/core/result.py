"""What every verb returns: a frozen record that knows where it came from and can save itself."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, Self

from phosphene.core import files
from phosphene.core.images.image import Picture
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
class Manifest:
    """result.json: what was asked, of what, with what outcome, in which files.

    Args:
        verb: what ran, such as "explain".
        network: whose name and hash of weights are recorded.
        inputs: the photographs.
        options: everything that was chosen.
        target: as text.
        predictions: of the first photograph.
        files: one mapping each: path, kind, and what belongs to that kind.
        cost: of all of it.
        seed: of every random choice.
        errors: one line for each input that failed.
        extra: keys of the verb's own.
    """

    verb: str
    network: Network | None = None
    inputs: tuple[Picture, ...] = ()
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    target: str = ""
    predictions: tuple[Prediction, ...] = ()
    files: tuple[Mapping[str, Any], ...] = ()
    cost: Cost = Cost()
    seed: int = 0
    errors: tuple[str, ...] = ()
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def with_files(self, more: Iterable[Mapping[str, Any]]) -> Self:
        """The same manifest with more files in it."""
        return dataclasses.replace(self, files=(*self.files, *more))

    def as_dict(self) -> dict[str, Any]:
        """Plain values, in the order in which a reader wants them."""
        network, model = self.network, None
        if network is not None:
            notes = {"notes": list(network.notes)} if network.notes else {}
            model = {"name": network.name, "sha256": network.sha256, **notes}
        return {
            "phosphene": version("phosphene"),
            "verb": self.verb,
            "seed": self.seed,
            "options": dict(self.options),
            "target": self.target,
            "model": model,
            "inputs": [_input(each) for each in self.inputs],
            "predictions": [each._asdict() for each in self.predictions],
            "files": [dict(each) for each in self.files],
            "cost": dataclasses.asdict(self.cost),
            "errors": list(self.errors),
            **self.extra,
        }

    def save(self, folder: Path) -> Path:
        """Write result.json into a folder, whole or not at all."""
        path = folder / "result.json"
        files.write_json(path, self.as_dict())
        return path

    def __str__(self) -> str:
        return json.dumps(self.as_dict(), indent=1)


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
