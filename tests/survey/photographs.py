"""Small pictures in a folder, some of them broken."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from phosphene.core.images import image


def photographs(folder: Path, count: int, *, classes: int = 3, broken: tuple[int, ...] = ()) -> Path:
    """A folder in ImageFolder form, of so many smooth pictures of various sizes; those in `broken` are cut off.

    Args:
        folder: where they go.
        count: how many.
        classes: how many sub-folders.
        broken: numbers of those that cannot be decoded.
    """
    random = np.random.default_rng(0)
    for number in range(count):
        rows, columns = np.mgrid[0 : 40 + number % 7, 0 : 50 - number % 5]
        waves = np.stack([np.sin(rows / scale) + np.cos(columns * scale / 9) for scale in random.uniform(1, 9, 3)], 2)
        pixels = (128 + 50 * waves).clip(0, 255).astype(np.uint8)
        path = image.save(folder / f"class-{number % classes}" / f"{number:04}.png", pixels)
        if number in broken:
            path.write_bytes(path.read_bytes()[:200])
    return folder
