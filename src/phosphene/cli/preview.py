"""What is seen of pictures while they are made: a bar, a preview, the frames of a film."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from phosphene.cli.session import Session

if TYPE_CHECKING:
    from torch import Tensor

    from phosphene.core.images.image import Uint8Image
    from phosphene.core.result import Manifest
    from phosphene.synthesis.loop.loop import Watch

STATE = "state"
"""Folder beside the results, for what only serves their making."""


@contextmanager
def easel(
    run: Session, text: str, folder: Path, *, steps: int | None = None, frames: Path | None = None
) -> Iterator[Watch]:
    """A watcher for `synthesize`: objective, steps a second, time left; every two seconds a new preview.png.

    Args:
        run: whose standard error is written to.
        text: what is made.
        folder: of the preview.
        steps: how many there will be; unknown by default.
        frames: a folder for pictures of the steps: of at most 100, where it is known how many there will be.
    """
    from phosphene.core.images import image

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
    with Progress(*columns, TimeRemainingColumn(), console=run.console, transient=True, disable=run.quiet) as bar:
        task, last = bar.add_task(text, total=steps, rate=""), time.monotonic()

        def watch(step: int, images: Tensor, scores: Tensor) -> None:
            nonlocal last
            speed = bar.tasks[task].speed
            values = ", ".join(f"{each:.3g}" for each in scores[:4].tolist())
            bar.update(task, completed=step, rate=f"{speed:.1f} steps/s, {values}" if speed else values)
            if frames is not None and step in _filmed(steps or step):
                image.save(frames / f"{step:06d}.png", shown([image.levels(one) for one in images]))
            if time.monotonic() - last > _PREVIEW:
                last = time.monotonic()
                image.save(folder / "preview.png", shown([image.levels(one) for one in images]))

        yield watch


def shown(pictures: Sequence[Uint8Image]) -> Uint8Image:
    """Pictures that are made together, as one."""
    from phosphene.core.images import drawing

    return pictures[0] if len(pictures) == 1 else drawing.grid(pictures, _columns(len(pictures)))


def signed(run: Session, manifest: Manifest, folder: Path) -> None:
    """Write the manifest of pictures that are saved, take away what only served their making, and say the notes."""
    manifest.save(folder)
    shutil.rmtree(folder / STATE, ignore_errors=True)
    (folder / "preview.png").unlink(missing_ok=True)
    for note in manifest.extra["notes"]:
        run.say(f"  {note}")


def _columns(count: int) -> int:
    return next(side for side in range(1, count + 1) if side * side >= count)


def _filmed(steps: int) -> Sequence[int]:
    """Of so many steps, those that a film of at most 100 frames shows."""
    return range(1, steps + 1, max(1, -(-steps // _FRAMES)))


_PREVIEW, _FRAMES = 2.0, 100
