"""What comes of an inversion: the pictures, and how far the layer takes them for the original."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

from phosphene.core import files
from phosphene.core.images import drawing, image
from phosphene.core.images.image import Uint8Image
from phosphene.core.networks.network import Images, Prediction
from phosphene.core.registry import Named
from phosphene.core.result import Cost


@dataclasses.dataclass(frozen=True, eq=False)
class Inversion:
    """Pictures that a layer takes for a given one, and how far it does.

    Args:
        images: (N, 3, H, W) in [0, 1], one for each seed.
        original: (1, 3, H, W), the picture as the network saw it.
        layer: whose activations they share.
        errors: (N,) ‖φ(x) - φ₀‖² / ‖φ₀‖² of each picture as saved: 8 bits, at rest.
        unrelated: the same of other photographs, on average.
        predictions: what the network makes of each picture as saved.
        wanted: what it makes of the original.
        how: they were made.
        scores: (steps, N), the objective before each step.
        seed: of the start.
        cost: passes and seconds.
        notes: what was chosen on the way.
    """

    images: Images
    original: Images
    layer: str
    errors: tuple[float, ...]
    unrelated: float
    predictions: tuple[tuple[Prediction, ...], ...]
    wanted: Prediction
    how: Named
    scores: Tensor
    seed: int
    cost: Cost
    notes: tuple[str, ...] = ()

    @property
    def error(self) -> float:
        """The mean of the errors."""
        return statistics.fmean(self.errors)

    @property
    def spread(self) -> float:
        """The standard deviation of the errors; 0 of a single one."""
        return statistics.stdev(self.errors) if len(self.errors) > 1 else 0.0

    @property
    def agreement(self) -> float:
        """The share of the pictures that the network takes for what it takes the original for."""
        return statistics.fmean(each[0].index == self.wanted.index for each in self.predictions)

    @property
    def psnr(self) -> tuple[float, ...]:
        """(N,) peak signal-to-noise ratio of each picture as saved to the original, in dB; infinite for the same."""
        with np.errstate(divide="ignore"):
            return self._beside_original(peak_signal_noise_ratio)

    @property
    def ssim(self) -> tuple[float, ...]:
        """(N,) structural similarity of each picture as saved to the original, at most 1: Wang et al., TIP 2004."""
        window = min(7, min(self.images.shape[2:]) - 1 | 1)  # odd, and no larger than the picture
        return self._beside_original(partial(structural_similarity, win_size=window, channel_axis=2))

    def _beside_original(self, measure: Callable[..., Any]) -> tuple[float, ...]:
        original = image.levels(self.original)
        return tuple(float(measure(original, each)) for each in self.pictures())

    def __str__(self) -> str:
        """What must be said under the pictures."""
        spread = f" ± {self.spread:.2g}" if len(self.errors) > 1 else ""
        seen = self.predictions[0][0]
        agreed = f"seen as {seen.label} ({seen.probability:.0%})"
        if len(self.errors) > 1:
            agreed = f"{round(self.agreement * len(self.errors))} of {len(self.errors)} seen as {self.wanted.label}"
        likeness = f"PSNR {statistics.fmean(self.psnr):.1f} dB, SSIM {statistics.fmean(self.ssim):.2f}"
        error = f"error {self.error:.3g}{spread}, of other photographs {self.unrelated:.2g}"
        return f"{self.layer}: {error}; {likeness}; {agreed}"

    def pictures(self) -> tuple[Uint8Image, ...]:
        """uint8 (H, W, 3) each."""
        return tuple(image.levels(each) for each in self.images)

    def save(self, folder: str | Path, *, stem: str = "") -> list[dict[str, Any]]:
        """Write LAYER.png (LAYER-0.png … of several seeds), and LAYER-scores.npy with the objective of every step.

        Args:
            folder: where to.
            stem: what the files are called instead of LAYER.

        Returns:
            one mapping for each file, as a manifest wants it.

        Raises:
            OutputError: the folder cannot be written.
        """
        folder, stem, entries = Path(folder), stem or files.slug(self.layer), []
        for number, (pixels, error) in enumerate(zip(self.pictures(), self.errors, strict=True)):
            name = f"{stem}-{number}.png" if len(self.errors) > 1 else f"{stem}.png"
            image.save(folder / name, pixels)
            entries.append({"path": name, "kind": "picture", "layer": self.layer, "error": error})
        files.write_array(folder / f"{stem}-scores.npy", self.scores.cpu().numpy())
        table = {"path": f"{stem}-scores.npy", "kind": "table", "layer": self.layer, "shape": list(self.scores.shape)}
        return [*entries, table]

    def manifest(self) -> dict[str, Any]:
        """Plain values: the errors, the likeness and the opinions."""
        told = [[each._asdict() for each in predicted] for predicted in self.predictions]
        facts = {"error": self.error, "spread": self.spread, "errors": list(self.errors), "unrelated": self.unrelated}
        psnr = [each if math.isfinite(each) else None for each in self.psnr]  # JSON has no infinity
        facts |= {"psnr": psnr, "ssim": list(self.ssim)}
        return {"layer": self.layer, **facts, "agreement": self.agreement, "predictions": told}


@dataclasses.dataclass(frozen=True, eq=False)
class Strip:
    """One picture inverted from layer after layer: detail fades, layout stays.

    Args:
        inversions: of the same picture and as many seeds, from shallow to deep.
    """

    inversions: tuple[Inversion, ...]

    def picture(self) -> Uint8Image:
        """The original, then each layer, with its error; a row for each seed."""
        first, tiles, labels = self.inversions[0], [], []
        for row in range(len(first.images)):
            tiles.append(image.levels(first.original))
            labels.append(f"original: {first.wanted.label}" if row == 0 else "")
            for each in self.inversions:
                tiles.append(each.pictures()[row])
                labels.append(f"{each.layer}: {each.errors[row]:.3f}")
        return drawing.grid(drawing.enlarged(tiles), len(self.inversions) + 1, labels=labels)

    def save(self, folder: str | Path) -> list[dict[str, Any]]:
        """Write strip.png, original.png, and the pictures and scores of each layer.

        Raises:
            OutputError: the folder cannot be written.
        """
        folder, taken = Path(folder), {"strip", "original"}
        stems = [files.unused(files.slug(each.layer), taken) for each in self.inversions]
        written = [
            entry for each, stem in zip(self.inversions, stems, strict=True) for entry in each.save(folder, stem=stem)
        ]
        image.save(folder / "original.png", self.inversions[0].original)
        image.save(folder / "strip.png", self.picture())
        return [*({"path": name, "kind": "picture"} for name in ("strip.png", "original.png")), *written]
