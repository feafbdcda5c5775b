"""The ablation sheet: what each regularizer of the lecture does alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from phosphene.core.images import drawing
from phosphene.core.images.image import Uint8Image
from phosphene.core.inputs import Target
from phosphene.core.networks.network import Network
from phosphene.synthesis.loop.loop import Watch
from phosphene.synthesis.recipes.preset import Lecture
from phosphene.synthesis.recipes.visualize import Visualization, visualize

ABLATIONS: tuple[tuple[str, dict[str, float]], ...] = (
    ("none of them", {}),
    ("L2 decay", {"decay": 0.02}),
    ("Gaussian blur", {"blur": 1.0}),
    ("clip small pixels", {"clip_norm": 0.5}),
    ("clip small contributions", {"clip_contribution": 0.5}),
    ("decay and blur", {"decay": 0.01, "blur": 0.8}),
)
"""What the ablation sheet compares: name → what is on."""


@dataclasses.dataclass(frozen=True, eq=False)
class Ablation:
    """The same target and seed under each regularizer of the lecture alone.

    Args:
        columns: name of what was on → the pictures so made.
    """

    columns: dict[str, Visualization]

    def picture(self) -> Uint8Image:
        """A row for each target, a column for each regularizer, with the activation and the rank of its class."""
        first = next(iter(self.columns.values()))
        tiles, labels = [], []
        for row in range(len(first.names)):
            for name, each in self.columns.items():
                tiles.append(each.pictures()[row])
                rank = f", rank {each.ranks[row]}" if each.ranks[row] else ""
                labels.append(f"{name}: {each.activations[row]:.3g}{rank}")
        return drawing.grid(drawing.enlarged(tiles, _LABELLED), len(self.columns), labels=labels)

    def roughness(self) -> dict[str, tuple[float, ...]]:
        """Mean step from pixel to pixel of each picture, in [0, 1]: what blur and decay hold down."""
        return {name: tuple(map(_rough, found.pictures())) for name, found in self.columns.items()}


def ablate(
    network: Network,
    targets: Target | Sequence[Target],
    *,
    manner: Lecture = Lecture(),
    size: tuple[int, int] | None = None,
    state: str | Path | None = None,
    seed: int = 0,
    watch: Watch | None = None,
) -> Ablation:
    """One sheet: the regularizers of the lecture, one at a time. Cost: that of `visualize` for each column.

    A regularizer that `manner` has on, at another strength than by default, is shown at that, the others at those of
    ABLATIONS.

    Args:
        network: whose.
        targets: see `visualize`.
        manner: steps and all else that the columns share.
        size: height and width; see `visualize`.
        state: a folder to keep the state in, as that of `visualize`.
        seed: the same for all.
        watch: is told of each step of each column in turn, and may stop the column.
    """
    usual, columns = Lecture(), {}
    for number, (name, strengths) in enumerate(ABLATIONS):
        own = {each: mine for each in strengths if (mine := getattr(manner, each)) not in {0, getattr(usual, each)}}
        only = dataclasses.replace(manner, **{**_OFF, **strengths, **own})
        folder = Path(state) / str(number) if state else None
        columns[name] = visualize(network, targets, manner=only, size=size, state=folder, seed=seed, watch=watch)
    return Ablation(columns)


_LABELLED = 200  # pixels, for the longest of the names
_OFF = dict.fromkeys(("decay", "blur", "clip_norm", "clip_contribution"), 0.0)


def _rough(pixels: Uint8Image) -> float:
    return float(np.abs(np.diff(pixels.astype(np.float32), axis=1)).mean() / 255)
