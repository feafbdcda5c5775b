"""A tiny finished survey with made-up numbers, of twelve pictures that are really there."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from phosphene.core import files
from phosphene.core.images import image
from phosphene.core.networks.network import Network
from phosphene.survey.store.run import Run
from phosphene.survey.store.seal import seal
from phosphene.survey.store.table import write_table

PICTURES, K = 12, 5
LAYERS = {"features.3": (4, (8, 8)), "features.5": (6, (8, 8))}
CLASSES = ("cat", "dog", "fish")
UNITS = [(layer, channel) for layer, (channels, _) in LAYERS.items() for channel in range(channels)]


def small_run(folder: Path, network: Network | None = None) -> Run:
    """A run of twelve pictures of 40 × 60 pixels in three classes, ten units in two layers, five patches a side.

    Image 11 failed. Unit features.5:5 is dead. The pictures lie in folder/../photos.

    Args:
        folder: of the run.
        network: whose name and hash of weights the manifest records.
    """
    random = np.random.default_rng(0)
    maxima = random.normal(1, 1, (len(UNITS), PICTURES - 1)).astype(np.float32)
    maxima[-1] = 0
    sources, digests = zip(*(_photograph(folder.parent / "photos", number) for number in range(PICTURES)), strict=True)
    tables = {
        "images": _images(sources, digests, random),
        "units": _units(maxima),
        "patches": _patches(maxima, random),
        "classes": _classes(maxima),
        "histograms": _histograms(maxima),
        "samples": _samples(maxima),
    }
    for name, columns in tables.items():
        write_table(folder / f"{name}.parquet", columns)
    embeddings = random.normal(size=(PICTURES, 7)).astype(np.float16)
    embeddings[11] = np.nan
    files.write_array(folder / "embeddings.npy", embeddings)
    pixels = np.stack([image.load(source).pixels[4:36, 14:46] for source in sources])
    files.write_array(folder / "pixels.npy", pixels)
    reseal(folder, _manifest(network))
    return Run(folder)


def reseal(folder: Path, record: Mapping[str, Any]) -> None:
    """Seal all tables and arrays that the folder holds now.

    Args:
        folder: of the run.
        record: what result.json is to hold besides.
    """
    paths = [path for suffix in ("npy", "parquet") for path in folder.rglob(f"*.{suffix}")]
    names = [path.relative_to(folder).as_posix() for path in paths]
    seal(folder, {**{key: value for key, value in record.items() if key != "digest"}, "files": []}, names)


def text(*values: str) -> np.ndarray:
    """A column of text."""
    return np.array(values, object)


def _photograph(folder: Path, number: int) -> tuple[str, str]:
    """A smooth picture of its own color; its path, and the hash of its file."""
    rows, columns = np.mgrid[0:40, 0:60]
    color = np.array([40 + 15 * number, 220 - 15 * number, 128])
    waves = 30 * np.sin(rows / (3 + number))[..., None] + 30 * np.cos(columns / 7)[..., None]
    path = image.save(folder / f"{CLASSES[number % 3]}-{number:02}.png", (color + waves).clip(0, 255).astype(np.uint8))
    return str(path), files.sha256(path)


def _images(sources: tuple[str, ...], digests: tuple[str, ...], random: np.random.Generator) -> dict[str, np.ndarray]:
    ok = np.arange(PICTURES) != 11
    return {
        "image": np.arange(PICTURES, dtype=np.int32),
        "source": text(*sources),
        "label": text(*(CLASSES[number % 3] for number in range(PICTURES))),
        "ok": ok,
        "error": text(*("" if known else "cat.png is cut off" for known in ok)),
        "width": np.where(ok, 60, 0).astype(np.int32),
        "height": np.where(ok, 40, 0).astype(np.int32),
        "sha256": text(*digests),
        "top": np.zeros(PICTURES),
        "left": np.where(ok, 10.0, 0.0),
        "bottom": np.where(ok, 40.0, 0.0),
        "right": np.where(ok, 50.0, 0.0),
        "predicted": np.where(ok, np.arange(PICTURES) % 5, -1).astype(np.int32),
        "prediction": text(*("tabby" if known else "" for known in ok)),
        "probability": np.where(ok, random.uniform(0.2, 1, PICTURES), np.nan).astype(np.float32),
        "logit": np.where(ok, random.normal(5, 1, PICTURES), np.nan).astype(np.float32),
    }


def _unit_columns(repeats: int) -> dict[str, np.ndarray]:
    return {
        "layer": np.repeat(text(*(layer for layer, _ in UNITS)), repeats),
        "channel": np.repeat(np.array([channel for _, channel in UNITS], np.int32), repeats),
    }


def _units(maxima: np.ndarray) -> dict[str, np.ndarray]:
    images = maxima.shape[1]
    places = np.array([images * np.prod(LAYERS[layer][1]) for layer, _ in UNITS], np.int64)
    dead = np.arange(len(UNITS)) == len(UNITS) - 1
    return {
        **_unit_columns(1),
        "images": np.full(len(UNITS), images, np.int64),
        "mean_max": maxima.mean(1, dtype=np.float64),
        "std_max": maxima.std(1, dtype=np.float64),
        "mean": maxima.mean(1, dtype=np.float64) / 2,
        "std": maxima.std(1, dtype=np.float64) / 2,
        "max": maxima.max(1),
        "min": np.where(dead, 0, maxima.min(1) - 1).astype(np.float32),
        "images_positive": (maxima > 0).sum(1),
        "places_positive": np.where(dead, 0, places // 3),
        "places": places,
        "broken": np.zeros(len(UNITS), np.int64),
        "dead": dead,
        "class": text(*("" if is_dead else CLASSES[number % 3] for number, is_dead in enumerate(dead))),
        "selectivity": np.where(dead, np.nan, np.linspace(0.1, 0.9, len(UNITS))),
        "d_prime": np.where(dead, np.nan, np.linspace(0.5, 3, len(UNITS))),
    }


def _patches(maxima: np.ndarray, random: np.random.Generator) -> dict[str, np.ndarray]:
    ranked = np.argsort(-maxima, 1, kind="stable")
    images = np.concatenate([ranked[:, :K], ranked[:, ::-1][:, :K]], 1)
    rows = len(UNITS) * 2 * K
    grids = np.repeat([LAYERS[layer][1][0] for layer, _ in UNITS], 2 * K)
    row, column = (random.integers(0, grids).astype(np.int32) for _ in range(2))
    size = 30 / grids
    return {
        **_unit_columns(2 * K),
        "side": np.tile(np.repeat(text("top", "bottom"), K), len(UNITS)),
        "rank": np.tile(np.arange(K, dtype=np.int32), 2 * len(UNITS)),
        "image": images.reshape(rows).astype(np.int32),
        "activation": np.take_along_axis(maxima, images, 1).reshape(rows),
        "row": row,
        "column": column,
        "top": row * size,
        "left": 10 + column * size,
        "bottom": (row + 1) * size,
        "right": 10 + (column + 1) * size,
        "whole": np.zeros(rows, bool),
    }


def _classes(maxima: np.ndarray) -> dict[str, np.ndarray]:
    members = [np.arange(PICTURES - 1) % 3 == number for number in range(3)]
    means = np.stack([maxima[:, member].mean(1, dtype=np.float64) for member in members], 1)
    return {
        **_unit_columns(3),
        "class": np.tile(text(*CLASSES), len(UNITS)),
        "images": np.tile([int(member.sum()) for member in members], len(UNITS)),
        "mean_max": means.reshape(-1),
        "selectivity": (means - means.mean(1, keepdims=True)).reshape(-1),
        "d_prime": (means / 2).reshape(-1),
    }


def _histograms(maxima: np.ndarray) -> dict[str, np.ndarray]:
    edges = np.arange(-8.0, 9.0)
    counts = np.stack([np.histogram(values, edges)[0] for values in maxima])
    bins = len(edges) - 1
    columns = {
        **_unit_columns(2 * bins),
        "of": np.tile(np.repeat(text("image", "place"), bins), len(UNITS)),
        "low": np.tile(edges[:-1], 2 * len(UNITS)),
        "high": np.tile(edges[1:], 2 * len(UNITS)),
        "count": np.concatenate([counts, 4 * counts], 1).reshape(-1),
    }
    kept = columns["count"] > 0
    return {name: column[kept] for name, column in columns.items()}


def _samples(maxima: np.ndarray) -> dict[str, np.ndarray]:
    images = np.tile(np.arange(4, dtype=np.int32), len(UNITS))
    activation = maxima[:, :4].reshape(-1)
    low = np.floor(activation.astype(np.float64))
    return {**_unit_columns(4), "low": low, "high": low + 1, "image": images, "activation": activation}


def _manifest(network: Network | None) -> dict[str, object]:
    model = {"name": network.name, "sha256": network.sha256} if network else {"name": "made-up", "sha256": ""}
    return {
        "phosphene": version("phosphene"),
        "verb": "survey",
        "seed": 0,
        "options": {"k": K, "layers": list(LAYERS)},
        "target": "",
        "model": model,
        "inputs": [],
        "predictions": [],
        "files": [],
        "cost": {"forwards": PICTURES - 1, "backwards": 0, "seconds": 0.1},
        "errors": ["cat.png is cut off"],
        "notes": [],
        "layers": {name: {"channels": channels, "grid": list(grid)} for name, (channels, grid) in LAYERS.items()},
        "embedding": "",
        "labeled": True,
    }
