"""Pictures: loaded from any file, found in folders, resized, saved. Decoding is `phosphene.core.images.decode`."""

from __future__ import annotations

import dataclasses
import glob
import io
import math
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Literal, Self

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from phosphene.core import files
from phosphene.core.errors import ImageError, OptionError, did_you_mean
from phosphene.core.folder import is_foreign
from phosphene.core.images.decode import RGB, Decoding, Limits, Uint8Image, from_pillow

__all__ = ["SUFFIXES", "Limits", "Picture", "Uint8Image", "encode_png", "find", "levels", "load", "resize", "save"]

SUFFIXES = (
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".avif", ".ico"),
)
"""Suffixes of pictures in a folder; a file that is given by name may have any."""

_LIMITS = Limits()


@dataclasses.dataclass(frozen=True, eq=False)
class Picture:
    """A decoded photograph: upright, opaque, sRGB.

    Args:
        pixels: uint8 (H, W, 3).
        path: of its file; "-" for standard input, "" for none.
        sha256: of the bytes of the file, or of the pixels where there is none.
        notes: of the decoder, such as "orientation 6 undone".

    >>> cat = Picture.from_array(np.zeros((4, 6, 3), np.uint8), name="cat.png")
    >>> cat.name, cat.width, cat.height, cat.tensor().shape
    ('cat', 6, 4, torch.Size([1, 3, 4, 6]))
    """

    pixels: Uint8Image = dataclasses.field(repr=False)
    path: str = ""
    sha256: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        assert self.pixels.dtype == np.uint8, self.pixels.dtype
        assert self.pixels.ndim == 3, self.pixels.shape
        self.pixels.setflags(write=False)

    @property
    def width(self) -> int:
        """In pixels."""
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        """In pixels."""
        return int(self.pixels.shape[0])

    @property
    def name(self) -> str:
        """The file name without its suffix."""
        return "stdin" if self.path == "-" else Path(self.path).stem or "picture"

    def tensor(self) -> Tensor:
        """float32 (1, 3, H, W), RGB in [0, 1]."""
        return torch.tensor(self.pixels).permute(2, 0, 1)[None].float() / 255

    @classmethod
    def from_array(cls, array: npt.NDArray[Any] | Tensor | Image.Image, name: str = "") -> Self:
        """A picture from pixels in memory.

        Args:
            array: uint8, or float in [0, 1]: an array (H, W, 3) or (H, W), or a tensor (3, H, W); or a Pillow image.
            name: of the picture.

        Raises:
            ImageError: another shape, other values.
        """
        notes: tuple[str, ...] = ()
        if isinstance(array, Image.Image):
            pixels, notes = from_pillow(array)
        else:
            pixels = levels(array)
        if pixels.ndim == 2:
            pixels = np.repeat(pixels[..., None], 3, axis=2)
        if pixels.shape[2] != 3:
            raise ImageError(f"pixels have {pixels.shape[2]} channels; phosphene wants 3 (RGB). Drop the last one")
        return cls(pixels.copy(), name, files.sha256(repr(pixels.shape).encode() + pixels.tobytes()), notes)

    def _repr_png_(self) -> bytes:
        return encode_png(self.pixels)


def load(
    source: str | Path | bytes | BinaryIO,
    *,
    limits: Limits = _LIMITS,
    background: RGB = (255, 255, 255),
    frame: int = 0,
    tolerate_truncated: bool = False,
) -> Picture:
    """Decode a picture: PNG, JPEG, WebP, GIF, BMP, TIFF, PPM, AVIF or ICO, recognized by content, never by name.

    Orientation is undone, transparency composited, profiles converted to sRGB, deep greys scaled; notes say which.

    Args:
        source: a path, "-" for standard input, the bytes of a file, or a file opened in binary mode.
        limits: of the size of the file and of the picture.
        background: RGB in 0 … 255, under transparent pixels.
        frame: which one of an animation or of several pages, from 0.
        tolerate_truncated: decode the undamaged part of a damaged file, with a note.

    Raises:
        ImageError: the picture cannot be read or decoded, with the reason.
    """
    path, data = _read(source, limits.file_bytes + 1)
    try:
        pixels, notes = Decoding(limits, background, frame, tolerate_truncated)(data)
    except ImageError as error:
        raise ImageError(f"{_line(path)} {error}") from error
    return Picture(pixels, path, files.sha256(data), notes)


def find(paths: Iterable[str | Path]) -> Iterator[Path]:
    """The picture files in paths, folders and patterns.

    A path is yielded as it is, also where there is no such file: `load` reports it. A folder gives the picture files
    in it and below it, by suffix and sorted, without hidden ones and without results of phosphene.

    Args:
        paths: of files or folders, patterns such as "photos/*.jpg", or "-" for standard input.

    Raises:
        ImageError: a folder or a pattern contains no picture.
    """
    for path in map(Path, paths):
        if path.is_dir():
            inside = (file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and is_foreign(file))
            visible = [file for file in inside if not any(p.startswith(".") for p in file.relative_to(path).parts)]
            if not visible:
                raise ImageError(f"{_line(str(path))} holds no picture ({' '.join(SUFFIXES)}); give another folder")
            yield from sorted(visible)
        elif glob.has_magic(str(path)) and not path.exists():
            matches = map(Path, glob.iglob(str(path), recursive=True))  # noqa: PTH207  Path.glob wants a root
            matching = sorted(file for file in matches if file.is_file())
            if not matching:
                raise ImageError(f"no file matches {_line(str(path))}; check it, or give the folder")
            yield from matching
        else:
            yield path


def check_size(size: tuple[int, int]) -> None:
    """Refuse a height and width without pixels.

    Raises:
        OptionError: one of them is less than 1.
    """
    if min(size) < 1:
        raise OptionError(f"a size of {size[0]} × {size[1]} has no pixels; give at least 1 of each")


def resize(
    images: Tensor,
    size: tuple[int, int],
    mode: Literal["bicubic", "bilinear", "nearest-exact"] = "bicubic",
    *,
    antialias: bool = True,
) -> Tensor:
    """Images at another size, still in [0, 1]. Differentiable.

    Args:
        images: float (N, 3, H, W).
        size: height and width, in pixels.
        mode: of interpolation.
        antialias: smooth before shrinking.

    Raises:
        OptionError: a size without pixels.
    """
    check_size(size)
    return F.interpolate(images, size, mode=mode, antialias=antialias and mode != "nearest-exact").clamp(0, 1)


def blurred(images: Tensor, sigma: float) -> Tensor:
    """Gaussian blur that repeats the border, cut off at three deviations. Differentiable.

    Args:
        images: float (N, C, H, W).
        sigma: deviation, in pixels.
    """
    radius = max(1, math.ceil(3 * sigma))
    offsets = torch.arange(-radius, radius + 1, device=images.device, dtype=images.dtype)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = (kernel / kernel.sum()).view(1, 1, 1, -1).expand(images.shape[1], 1, 1, -1)
    for row, pad in ((kernel, [radius, radius, 0, 0]), (kernel.transpose(2, 3), [0, 0, radius, radius])):
        images = F.conv2d(F.pad(images, pad, mode="replicate"), row, groups=images.shape[1])
    return images


def save(path: str | Path, pixels: npt.NDArray[Any] | Tensor) -> Path:
    """Write pixels as PNG, atomically; see `encode_png` and `files.write`."""
    return files.write(path, encode_png(pixels))


def encode_png(pixels: npt.NDArray[Any] | Tensor) -> bytes:
    """Pixels as the bytes of a PNG; the same pixels give the same bytes.

    Args:
        pixels: see `levels`.

    >>> encode_png(np.zeros((8, 8, 3), np.uint8))[1:4]
    b'PNG'
    """
    buffer = io.BytesIO()
    Image.fromarray(levels(pixels)).save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()


def levels(pixels: npt.NDArray[Any] | Tensor) -> Uint8Image:
    """Pixels as bytes: uint8 (H, W) or (H, W, C).

    Args:
        pixels: uint8, or float in [0, 1]: an array (H, W) or (H, W, C), or a tensor (C, H, W), alone in a batch or not.

    Raises:
        ImageError: another shape, other values.
    """
    array = pixels.detach().cpu() if isinstance(pixels, Tensor) else pixels
    if isinstance(array, Tensor):
        array = array[0] if array.ndim == 4 and len(array) == 1 else array
        array = array.permute(1, 2, 0) if array.ndim == 3 else array
        array = (array.float() if array.is_floating_point() else array).numpy()
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in {3, 4})) or array.size == 0:
        raise ImageError(f"pixels are {tuple(pixels.shape)}; phosphene wants arrays (H, W, 3) or tensors (3, H, W)")
    if np.issubdtype(array.dtype, np.floating):
        low, high = float(array.min()), float(array.max())
        if not (low >= -_SLACK and high <= 1 + _SLACK):  # also where they are not numbers
            given = f"pixels lie in [{low:.1f}, {high:.1f}]; phosphene wants [0, 1]"
            raise ImageError(f"{given}. Divide by 255, or undo your Normalize")
        array = np.rint(array.clip(0, 1) * 255).astype(np.uint8)
    if array.dtype != np.uint8:
        raise ImageError(f"pixels are {array.dtype}; phosphene wants uint8, or floats in [0, 1]. Convert them")
    return np.ascontiguousarray(array)


def _read(source: str | Path | bytes | BinaryIO, most: int) -> tuple[str, bytes]:
    """The path and at most so many bytes."""
    if isinstance(source, bytes | bytearray | memoryview):
        return "", bytes(source)
    if not isinstance(source, str | Path):
        data = source.read(most)
        if not isinstance(data, bytes):
            raise ImageError("the picture was opened as text; open it with mode 'rb'")
        name = getattr(source, "name", "")
        return name if isinstance(name, str) else "", data
    if str(source) == "-":
        return "-", sys.stdin.buffer.read(most)
    path = Path(source)
    try:
        with path.open("rb") as file:
            return str(path), file.read(most)
    except (OSError, ValueError) as error:
        raise ImageError(f"{_line(str(path))} {_missing(path, error)}") from error


def _missing(path: Path, error: OSError | ValueError) -> str:
    """The reason why a path cannot be read, as the end of a line that begins with it."""
    if isinstance(error, IsADirectoryError):
        return "is a folder; give its files, or find() them"
    if isinstance(error, FileNotFoundError) and path.parent.is_dir():
        names = [_line(file.name) for file in path.parent.iterdir() if file.suffix.lower() in SUFFIXES]
        near = did_you_mean(path.name, names) if names else "its folder holds no picture"
        return f"does not exist; {near}"
    reason = str(getattr(error, "strerror", None) or error).lower()
    return f"cannot be read: {reason}; check the path and who may read it"


def _line(path: str) -> str:
    """A path without characters that a line of text cannot show."""
    shown = "".join(character if character.isprintable() else "?" for character in path[:200])
    return {"": "the picture", "-": "standard input"}.get(shown, shown)


_SLACK = 1e-3
