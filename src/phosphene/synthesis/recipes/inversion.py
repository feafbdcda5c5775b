"""Results of feature inversion: pictures, and how near their activations are to those of the original."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from phosphene.core import files
from phosphene.core.images import drawing, image
from phosphene.core.images.image import Uint8Image
from phosphene.core.networks.network import Images, Prediction
from phosphene.core.result import File
from phosphene.synthesis.loop.synthesis import Animated, Synthesis


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Inversion(Synthesis):
    """Pictures whose activations in a layer are near those of a given one.

    `predictions` are those of the original.

    Args:
        original: (1, 3, H, W), the picture as the network saw it.
        layer: whose activations they share.
        reconstruction_errors: (N,) ‖φ(x) - φ₀‖² / ‖φ₀‖² of each picture as saved: 8 bits, at rest.
        unrelated: the same of other photographs, on average.
        recognized: (N,), classes of each picture as saved, best first.
    """

    verb: str = "invert"
    original: Images = dataclasses.field(repr=False)
    layer: str
    reconstruction_errors: tuple[float, ...]
    unrelated: float
    recognized: tuple[tuple[Prediction, ...], ...]

    @property
    def target(self) -> str:
        """The layer."""
        return self.layer

    @property
    def error(self) -> float:
        """Mean of the errors."""
        return statistics.fmean(self.reconstruction_errors)

    @property
    def spread(self) -> float:
        """Standard deviation of the errors; 0 of a single one."""
        return statistics.stdev(self.reconstruction_errors) if len(self.reconstruction_errors) > 1 else 0.0

    @property
    def agreement(self) -> float:
        """Share of the pictures in which the network recognizes the class of the original."""
        return statistics.fmean(classes[0].index == self.predictions[0].index for classes in self.recognized)

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

    def __str__(self) -> str:
        """Error, similarity to the original and recognized classes."""
        count = len(self.reconstruction_errors)
        spread, best = f" ± {self.spread:.2g}" if count > 1 else "", self.recognized[0][0]
        recognized = f"seen as {best.label} ({best.probability:.0%})"
        if count > 1:
            recognized = f"{round(self.agreement * count)} of {count} seen as {self.predictions[0].label}"
        similarity = f"PSNR {statistics.fmean(self.psnr):.1f} dB, SSIM {statistics.fmean(self.ssim):.2f}"
        error = f"error {self.error:.3g}{spread}, of other photographs {self.unrelated:.2g}"
        return f"{self.layer}: {error}; {similarity}; {recognized}"

    def lines(self) -> tuple[str, ...]:
        """Error, similarity to the original and recognized classes."""
        return (str(self),)

    def files(self) -> Iterator[File]:
        """LAYER.png (LAYER-0.png … of several seeds), LAYER-scores.npy with the objective of every step."""
        yield from self.layer_files(files.slug(self.layer))
        yield from self.step_files()

    def layer_files(self, stem: str) -> Iterator[File]:
        """The files of the layer.

        Args:
            stem: their names begin with.
        """
        several = len(self.reconstruction_errors) > 1
        for number, (pixels, error) in enumerate(zip(self.pictures(), self.reconstruction_errors, strict=True)):
            name = f"{stem}-{number}.png" if several else f"{stem}.png"
            yield File.picture(name, pixels, layer=self.layer, error=error)
        yield File.array(f"{stem}-scores.npy", self.scores.cpu().numpy(), kind="table", layer=self.layer)

    def facts(self) -> Mapping[str, Any]:
        """`results`: errors, similarity and classes."""
        return {"results": [self.record()]}

    def record(self) -> dict[str, Any]:
        """Errors, similarity and classes, as plain values."""
        recognized = [[prediction._asdict() for prediction in classes] for classes in self.recognized]
        return {
            "layer": self.layer,
            "error": self.error,
            "spread": self.spread,
            "errors": list(self.reconstruction_errors),
            "unrelated": self.unrelated,
            "psnr": [value if math.isfinite(value) else None for value in self.psnr],  # JSON has no infinity
            "ssim": list(self.ssim),
            "agreement": self.agreement,
            "predictions": recognized,
        }

    def _beside_original(self, measure: Callable[..., Any]) -> tuple[float, ...]:
        original = image.levels(self.original)
        return tuple(float(measure(original, pixels)) for pixels in self.pictures())


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Strip(Animated):
    """One picture inverted from layer after layer.

    Args:
        inversions: of the same picture and as many seeds, from shallow to deep layers.
    """

    verb: str = "invert"
    inversions: tuple[Inversion, ...]

    @property
    def target(self) -> str:
        """The layers."""
        return ", ".join(inversion.layer for inversion in self.inversions)

    def pictures(self) -> tuple[Uint8Image, ...]:
        """The strip."""
        return (self.picture(),)

    def picture(self) -> Uint8Image:
        """The original, then each layer, with its error; a row for each seed."""
        first, tiles, labels = self.inversions[0], [], []
        for row in range(len(first.images)):
            tiles.append(image.levels(first.original))
            labels.append(f"original: {first.predictions[0].label}" if row == 0 else "")
            for inversion in self.inversions:
                tiles.append(inversion.pictures()[row])
                labels.append(f"{inversion.layer}: {inversion.reconstruction_errors[row]:.3f}")
        return drawing.grid(drawing.enlarged(tiles), len(self.inversions) + 1, labels=labels)

    def lines(self) -> tuple[str, ...]:
        """One for each layer."""
        return tuple(map(str, self.inversions))

    def files(self) -> Iterator[File]:
        """strip.png, original.png, the pictures and scores of each layer, and the film of the steps."""
        taken = {"strip", "original", "steps"}
        yield File.picture("strip.png", self.picture())
        yield File.picture("original.png", image.levels(self.inversions[0].original))
        for inversion in self.inversions:
            yield from inversion.layer_files(files.unused(files.slug(inversion.layer), taken))
        yield from self.step_files()

    def facts(self) -> Mapping[str, Any]:
        """`results`: one for each layer."""
        return {"results": [inversion.record() for inversion in self.inversions]}
