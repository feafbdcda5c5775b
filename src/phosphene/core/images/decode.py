"""The only decoder of pictures: bytes → upright, opaque sRGB, or an error of one line."""

from __future__ import annotations

import dataclasses
import io
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image, ImageCms, ImageFile, UnidentifiedImageError

from phosphene.core.errors import ImageError

Uint8Image = npt.NDArray[np.uint8]
"""An array uint8 (H, W, 3), sRGB."""

RGB = tuple[int, int, int]


@dataclasses.dataclass(frozen=True)
class Limits:
    """Limits on a file; both are checked before anything is decoded.

    Args:
        pixels: width × height.
        file_bytes: size of the file.
    """

    pixels: int = 100_000_000
    file_bytes: int = 64 * 2**20


@dataclasses.dataclass(frozen=True)
class Decoding:
    """How bytes become pixels; see `phosphene.core.images.image.load`.

    Args:
        limits: of the size of the file and of the picture.
        background: RGB in 0 … 255, under transparent pixels.
        frame: which one of several, from 0.
        tolerate_truncated: decode the undamaged part of a damaged file, with a note.
    """

    limits: Limits = Limits()
    background: RGB = (255, 255, 255)
    frame: int = 0
    tolerate_truncated: bool = False

    def __call__(self, data: bytes) -> tuple[Uint8Image, tuple[str, ...]]:
        """Pixels (H, W, 3), and notes on conversions.

        Raises:
            ImageError: with the end of a message that begins with the name of the file.
        """
        if not data:
            raise ImageError("is empty (0 bytes); copy it again")
        if len(data) > self.limits.file_bytes:
            most = f"{self.limits.file_bytes / 2**20:g} MiB"
            raise ImageError(f"is larger than the {most} allowed; shrink it, or raise Limits(file_bytes=…)")
        try:
            return self._run(data, tolerant=False)
        except Exception as error:  # on damaged files Pillow raises any exception
            if not self.tolerate_truncated or isinstance(error, ImageError | UnidentifiedImageError):
                raise ImageError(_reason(error, data, self.limits)) from error
        try:
            pixels, notes = self._run(data, tolerant=True)
        except Exception as error:  # as above
            raise ImageError(_reason(error, data, self.limits)) from error
        return pixels, (*notes, "damaged: only a part was decoded")

    def _run(self, data: bytes, *, tolerant: bool) -> tuple[Uint8Image, tuple[str, ...]]:
        notes: list[str] = []
        with _pillow(self.limits.pixels, tolerant=tolerant):
            image = Image.open(io.BytesIO(data), formats=_FORMATS)  # noqa: TID251  the one place
            if min(image.size) < 2:
                raise ImageError(f"is {image.width}×{image.height} pixels; give a picture of at least 2×2")
            count = getattr(image, "n_frames", 1) if self.frame else 1
            if not 0 <= self.frame < count:
                raise ImageError(f"has no frame {self.frame}; give one of 0 … {count - 1}")
            image.seek(self.frame)
        # Outside the lock, so that several threads decode photographs at once.
        pixels = None if tolerant or self.frame else _fast_jpeg(image, data)
        with _pillow(self.limits.pixels, tolerant=tolerant):
            if pixels is not None and (profile := image.info.get("icc_profile")):
                pixels = np.asarray(_to_srgb(Image.fromarray(pixels), profile, notes))
            pixels = _upright(image, self.background, notes, pixels)
            self._count(image, notes, countable=len(data) < _COUNTABLE)
        return pixels, tuple(notes)

    def _count(self, image: Image.Image, notes: list[str], *, countable: bool) -> None:
        count: int | str = "several"
        with suppress(Exception):  # a damaged later frame leaves this one intact
            if countable or not getattr(image, "is_animated", False):
                count = getattr(image, "n_frames", 1)
        if count != 1:
            notes.append(f"frame {self.frame} of {count}" if self.frame else f"first of {count} frames")


def from_pillow(image: Image.Image) -> tuple[Uint8Image, tuple[str, ...]]:
    """The same for a Pillow image: upright, opaque over white, sRGB.

    Raises:
        ImageError: Pillow cannot load or convert it.
    """
    notes: list[str] = []
    try:
        with _pillow(image.width * image.height, tolerant=False):
            return _upright(image, (255, 255, 255), notes, None), tuple(notes)
    except Exception as error:
        raise ImageError(f"the image {_reason(error, b'', Limits())}") from error


_LOCK = threading.RLock()


@contextmanager
def _pillow(pixels: int, *, tolerant: bool) -> Iterator[None]:
    """Pillow with our limits and without its warnings; both are global to it, hence the lock."""
    with _LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        before = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
        Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = pixels, tolerant
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = before


def _fast_jpeg(image: Image.Image, data: bytes) -> Uint8Image | None:
    """RGB of a plain JPEG about three times as fast as Pillow, or None where Pillow has to decode it."""
    if image.format not in {"JPEG", "MPO"} or image.mode not in {"L", "RGB"}:
        return None
    try:
        pixels: Uint8Image = simplejpeg.decode_jpeg(data, "RGB")
    except (ValueError, RuntimeError, MemoryError):
        return None
    return pixels if pixels.shape[:2] == (image.height, image.width) else None


def _upright(image: Image.Image, background: RGB, notes: list[str], pixels: Uint8Image | None) -> Uint8Image:
    """RGB with the EXIF orientation undone; from the pixels, where they are decoded already."""
    recorded = remaining = _orientation(image, notes)
    if pixels is None:
        image.load()
        remaining = _orientation(image, [])  # 1 for a TIFF, which Pillow turns as it loads
        pixels = np.asarray(_opaque(image, background, notes))
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    if recorded != 1:
        notes.append(f"orientation {recorded} undone")
    if remaining >= 5:
        pixels = pixels.swapaxes(0, 1)
    vertical, horizontal = _FLIPS[remaining]
    return np.ascontiguousarray(pixels[::vertical, ::horizontal])


def _orientation(image: Image.Image, notes: list[str]) -> int:
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # noqa: BLE001  damaged metadata does not spoil the pixels
        notes.append("its EXIF cannot be read: taken as upright")
        return 1
    return orientation if isinstance(orientation, int) and orientation in _FLIPS else 1


def _opaque(image: Image.Image, background: RGB, notes: list[str]) -> Image.Image:
    """Any mode as RGB, or L for greys: depth, palette, profile, transparency over the background."""
    base, alpha = _split(image, notes)
    rgb = _to_srgb(base, image.info.get("icc_profile"), notes)
    if alpha is None or alpha.getextrema() == (255, 255):
        return rgb
    over = _NAMES.get(background, "#{:02x}{:02x}{:02x}".format(*background))
    notes.append(f"composited over {over}")
    canvas = Image.new("RGB", rgb.size, background)
    canvas.paste(rgb, mask=alpha)
    return canvas


def _split(image: Image.Image, notes: list[str]) -> tuple[Image.Image, Image.Image | None]:
    """An image as L, RGB, CMYK or LAB, and its alpha."""
    key = image.info.get("transparency")
    if image.mode in {"I", "F"} or image.mode.startswith("I;16"):
        values = np.asarray(image)
        alpha = Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8)) if isinstance(key, int) else None
        return Image.fromarray(_eight_bits(values, image, notes)), alpha
    if isinstance(key, tuple) and max(key) > 255:  # Pillow cuts 16-bit colors to 8 bits, but not the transparent one
        image.info["transparency"] = tuple(level >> 8 for level in key)
    if image.has_transparency_data:
        grey = image.mode in {"1", "L", "LA", "La"}
        image = image.convert("LA" if grey else "RGBA")
        return image.convert("L" if grey else "RGB"), image.getchannel("A")
    if image.mode not in {"L", "RGB", "CMYK", "LAB"}:
        image = image.convert("L" if image.mode == "1" else "RGB")
    return image, None


def _eight_bits(values: npt.NDArray[Any], image: Image.Image, notes: list[str]) -> Uint8Image:
    """Deep greys as bytes: 16 bits scaled by their range, other numbers by their extremes."""
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in {"PNG", "PPM"}):
        notes.append("16-bit grey scaled to 8 bits")
        white_is_zero = image.format == "TIFF" and getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == 0
        scaled = values.astype(np.float32) / 65535
        return np.asarray(np.rint((1 - scaled if white_is_zero else scaled) * 255), np.uint8)
    finite = np.isfinite(values)
    if not finite.any():
        raise ImageError("holds no finite number; write it again")
    low, high = float(values[finite].min()), float(values[finite].max())
    if image.mode == "F" and low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    else:
        notes.append(f"{low:.6g} … {high:.6g} stretched to black … white")
    if not finite.all():
        notes.append("numbers that are not finite shown black")
    scaled = (np.where(finite, values, low).astype(np.float64) - low) / max(high - low, np.finfo(np.float64).tiny)
    return np.asarray(np.rint(scaled * 255), np.uint8)


def _to_srgb(base: Image.Image, profile: bytes | None, notes: list[str]) -> Image.Image:
    """L, RGB, CMYK or LAB as RGB or L, by the ICC profile where there is one of the same mode."""
    if isinstance(profile, bytes) and profile:
        mode, transform, note = _transform(profile)
        if base.mode == "L" and mode == "RGB":
            base = base.convert("RGB")
        if mode == base.mode and note:
            notes.append(note)
        elif mode != base.mode:
            notes.append(f"its ICC profile {f'is for {mode}' if mode else 'cannot be read'}: not used")
        if mode == base.mode and transform is not None:
            return _applied(transform, base)
    if base.mode == "LAB":
        lab = ImageCms.buildTransform(ImageCms.createProfile("LAB"), _SRGB, "LAB", "RGB")
        return _applied(lab, base)
    if base.mode == "CMYK":
        notes.append("CMYK without a profile: converted by complement")
    return base.convert("RGB") if base.mode == "CMYK" else base


@lru_cache(maxsize=16)
def _transform(profile: bytes) -> tuple[str, ImageCms.ImageCmsTransform | None, str]:
    """The mode of a profile ("" if unreadable), the transform to sRGB (None if nothing changes), a note."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = _SPACES.get(source.profile.xcolor_space.strip(), "")
        transform = ImageCms.buildTransform(source, _SRGB, mode, "RGB")
        name = re.sub(r"[^\x20-\x7e]+", " ", ImageCms.getProfileDescription(source)).strip()[:40]
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return "", None, ""
    if mode in {"L", "RGB"}:
        probe = Image.fromarray(_PROBE).convert(mode)
        change = np.asarray(_applied(transform, probe)).astype(int) - np.asarray(probe.convert("RGB"))
        if abs(change).max() <= 1:
            return mode, None, ""
    return mode, transform, f"converted from {mode} by its ICC profile" + (f" ({name})" if name else "")


def _applied(transform: ImageCms.ImageCmsTransform, image: Image.Image) -> Image.Image:
    converted = ImageCms.applyTransform(image, transform)
    assert converted is not None  # it is None only in place
    return converted


def _reason(error: Exception, data: bytes, limits: Limits) -> str:
    """The reason that Pillow gives, as the end of a line that begins with a file name."""
    if isinstance(error, ImageError):
        return str(error)
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        count = re.search(r"\((\d+) pixels", str(error))
        held, allowed = f"{int(count[1]) / 1e6:,.0f}" if count else "more", f"{limits.pixels / 1e6:g}"
        return f"holds {held} megapixels; {allowed} are allowed. Shrink it, or raise Limits(pixels=…)"
    if isinstance(error, UnidentifiedImageError):
        kind = next((f" (it is {name})" for at, magic, name in _OTHERS if data[at:].startswith(magic)), "")
        return f"is no {_READ} file that can be read{kind}; convert it to one of these"
    if isinstance(error, MemoryError):
        return "does not fit into memory; shrink it"
    message = re.sub(r"[^\x20-\x7e]+", " ", str(error)).strip()[:120] or type(error).__name__
    fault = "is cut short" if "truncated" in message else "cannot be decoded"
    return f"{fault}: {message}. Copy it again, or decode the rest with tolerate_truncated=True"


_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM", "AVIF", "ICO")
_READ = "PNG, JPEG, WebP, GIF, BMP, TIFF, PPM, AVIF or ICO"
_OTHERS = ((4, b"ftyphei", "HEIC"), (0, b"%PDF", "PDF"), (0, b"%!PS", "PostScript"), (0, b"<svg", "SVG"))
_ORIENTATION, _PHOTOMETRIC = 0x0112, 262
_COUNTABLE = 8 * 2**20  # bytes; counting the frames of a larger GIF can take many seconds
# EXIF orientation → steps along rows and columns, after rows and columns change places from 5 on.
_FLIPS = {1: (1, 1), 2: (1, -1), 3: (-1, -1), 4: (-1, 1), 5: (1, 1), 6: (1, -1), 7: (-1, -1), 8: (-1, 1)}
_NAMES = {(255, 255, 255): "white", (0, 0, 0): "black"}
_SRGB = ImageCms.createProfile("sRGB")
_SPACES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab": "LAB"}
_STEPS = np.linspace(0, 255, 9).astype(np.uint8)
_PROBE = np.stack(np.meshgrid(_STEPS, _STEPS, _STEPS), -1).reshape(27, 27, 3)
