"""Films: frames that are kept as PNG, and the film of the steps of a run."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, overload

from phosphene.core.images import drawing, image
from phosphene.core.images.film import film
from phosphene.core.images.image import Uint8Image
from phosphene.core.progress import Progress
from phosphene.core.result import File

Animation = Literal["gif", "mp4"]


@dataclasses.dataclass(frozen=True, eq=False)
class Film(Sequence[Uint8Image]):
    """Frames of one size, uint8 (H, W, 3), decoded when they are read.

    Args:
        sources: PNG files, or their bytes.
        animation: GIF or MP4.
        rate: frames per second.
        size: height and width of the frames; that of the files by default.
    """

    sources: tuple[bytes | Path, ...] = dataclasses.field(repr=False)
    animation: Animation = "mp4"
    rate: float = 12
    size: tuple[int, int] | None = None

    def __len__(self) -> int:
        return len(self.sources)

    @overload
    def __getitem__(self, place: int) -> Uint8Image: ...
    @overload
    def __getitem__(self, place: slice) -> Film: ...
    def __getitem__(self, place: int | slice) -> Uint8Image | Film:
        if isinstance(place, slice):
            return dataclasses.replace(self, sources=self.sources[place])
        picture = image.load(self.sources[place])
        if self.size is None or self.size == (picture.height, picture.width):
            return picture.pixels
        return image.levels(image.resize(picture.tensor(), self.size)[0])

    def file(self, stem: str) -> File:
        """The film as a file of a result.

        Args:
            stem: of its name.
        """
        return File(
            f"{stem}.{self.animation}",
            "picture",
            lambda path: film(path, self, rate=self.rate),
            {"frames": len(self)},
        )


class StepFilm:
    """Pictures of at most 100 of the steps of a run.

    Args:
        folder: that keeps them, so that a run that goes on has those from before; None holds them in memory.
        total: steps in all; None where that is not known.
    """

    def __init__(self, folder: Path | None, total: int | None) -> None:
        self.folder, self.memory = folder, dict[int, bytes]()
        self.every = max(1, math.ceil(total / _SHOWN)) if total else 1

    def __call__(self, progress: Progress) -> None:
        """Keep the picture of a step, if it is one of those that are shown."""
        if progress.preview is None or (progress.done - 1) % self.every:
            return
        pixels = sheet([image.levels(preview) for preview in progress.preview])
        if self.folder is None:
            self.memory[progress.done] = image.encode_png(pixels)
        else:
            image.save(self.folder / f"{progress.done:06d}.png", pixels)

    def film(self, animation: Animation, last: Sequence[Uint8Image]) -> Film:
        """The steps, and the result, which stays for a second.

        Args:
            animation: GIF or MP4.
            last: pictures of the result.
        """
        paths = sorted(self.folder.glob("*.png")) if self.folder else []
        steps, end = [*self.memory.values(), *(path.read_bytes() for path in paths)], sheet(last)
        return Film((*steps, *[image.encode_png(end)] * _LAST), animation, size=end.shape[:2])


def sheet(pictures: Sequence[Uint8Image]) -> Uint8Image:
    """Pictures that are made together, as one: in as many columns as rows, or one more."""
    return pictures[0] if len(pictures) == 1 else drawing.grid(pictures, math.isqrt(len(pictures) - 1) + 1)


_SHOWN, _LAST = 100, 12  # steps at most; frames of the result
