"""Covariance of the colors of natural photographs: python benchmarks/colors.py FOLDER.

Prints the matrix that `phosphene.synthesis.canvas.color` stores, and the relative lengths of its axes: brightness,
blue against orange, green against purple.
"""

from __future__ import annotations

import sys

import torch

from phosphene.core.images import image
from phosphene.synthesis.canvas.color import mixing_of


def main(folder: str) -> None:
    sources = list(image.find([folder]))
    mixing = mixing_of(map(image.load, sources))
    print(f"{len(sources)} photographs")
    print(*(tuple(round(value, 3) for value in row) for row in mixing.tolist()), sep=",\n")
    axes = torch.linalg.svdvals(mixing)
    print("axes", *(f"{length:.3f}" for length in axes / axes[0]))


if __name__ == "__main__":
    main(*sys.argv[1:])
