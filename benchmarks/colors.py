"""How the colors of natural photographs vary together: python benchmarks/colors.py FOLDER.

Prints the numbers that `phosphene.synthesis.canvas.color` keeps as NATURAL, and how long their axes are: light, blue
against orange, green against purple.
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
    print(*(tuple(round(each, 3) for each in row) for row in mixing.tolist()), sep=",\n")
    axes = torch.linalg.svdvals(mixing)
    print("axes", *(f"{each:.3f}" for each in axes / axes[0]))


if __name__ == "__main__":
    main(*sys.argv[1:])
