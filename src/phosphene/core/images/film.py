"""Frames as a film, GIF or MP4, written atomically."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from phosphene.core import files
from phosphene.core.errors import ImageError, OptionError, OutputError
from phosphene.core.images.decode import Uint8Image

SUFFIXES = (".gif", ".mp4")
"""Suffixes of films."""


def film(path: str | Path, frames: Iterable[Uint8Image], *, rate: float = 12, longest: int | None = None) -> Path:
    """Write frames as a film that repeats (.gif) or as video (.mp4, MPEG-4); if it fails, the old file stays.

    A GIF has a palette for each frame, so that colorful last frames do not get the palette of a grey first one; its
    frames are kept in memory at one byte per pixel. Frames of an MP4 are written one by one; a row or a column is
    repeated where a side is odd, as the codec needs even ones.

    Args:
        path: of the film.
        frames: uint8 (H, W, 3), all of one size.
        rate: frames per second, 1 … 50. A GIF counts in hundredths of a second.
        longest: longest side, in pixels, to which larger frames are shrunk; by default 640 for GIF, unlimited for MP4.

    Raises:
        OutputError: another suffix, or the file cannot be written.
        OptionError: the rate is out of range.
        ImageError: there is no frame.

    >>> import tempfile
    >>> still = np.zeros((8, 8, 3), np.uint8)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     film(Path(folder, "night.gif"), [still, still + 99]).read_bytes()[:6]
    b'GIF89a'
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise OutputError(f"{path} cannot be a film; name it {' or '.join(path.stem + ending for ending in SUFFIXES)}")
    if not 1 <= rate <= 50:
        raise OptionError(f"rate is {rate}; a film wants 1 … 50 frames per second")
    first = next(several := iter(frames), None)
    if first is None:
        raise ImageError("a film wants at least one frame, and was given none")
    limit = longest or (_GIF_SIDE if suffix == ".gif" else max(first.shape))
    sized = _sized(chain((first,), several), first.shape, limit)
    with files.aside(path) as temporary:
        (_gif if suffix == ".gif" else _mp4)(temporary, sized, rate)
    return path


def _sized(frames: Iterable[Uint8Image], shape: tuple[int, ...], longest: int) -> Iterator[Uint8Image]:
    scale = min(1.0, longest / max(shape[:2]))
    height, width = (max(1, round(side * scale)) for side in shape[:2])
    for frame in frames:
        assert frame.dtype == np.uint8, frame.dtype
        assert frame.shape == shape, (frame.shape, shape)
        small = Image.fromarray(frame).resize((width, height), Image.Resampling.LANCZOS) if scale < 1 else frame
        yield np.asarray(small)


def _gif(path: Path, frames: Iterator[Uint8Image], rate: float) -> None:
    images = (Image.fromarray(frame).quantize(256, Image.Quantize.MEDIANCUT) for frame in frames)
    duration = round(100 / rate) * 10
    with path.open("w+b") as file:
        next(images).save(file, "GIF", save_all=True, append_images=images, duration=duration, loop=0)


def _mp4(path: Path, frames: Iterator[Uint8Image], rate: float) -> None:
    part = path.with_suffix(".mp4")  # the encoder chooses the format by the suffix
    first = next(frames)
    height, width = (side + side % 2 for side in first.shape[:2])
    writer = cv2.VideoWriter(str(part), cv2.VideoWriter.fourcc(*"mp4v"), rate, (width, height))
    count = 0
    try:
        for count, frame in enumerate(chain((first,), frames), 1):  # noqa: B007  the number of frames, afterwards
            even = np.pad(frame, ((0, height - frame.shape[0]), (0, width - frame.shape[1]), (0, 0)), mode="edge")
            writer.write(np.ascontiguousarray(even[..., ::-1]))
        writer.release()
        # The encoder reports no error when the disk is full.
        if cv2.VideoCapture(str(part)).get(cv2.CAP_PROP_FRAME_COUNT) != count:
            raise OutputError(f"{path.parent} cannot take an MP4: no encoder, or the disk is full. Free space, or .gif")
        part.replace(path)
    finally:
        writer.release()
        part.unlink(missing_ok=True)


_GIF_SIDE = 640
