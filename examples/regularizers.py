"""The four regularizers of the lecture, one at a time, on the same target from the same start."""

import sys

import phosphene as ph
from phosphene.core.images import image


def main(path: str = "regularizers.png", target: str = "flamingo", steps: str = "200") -> None:
    image.save(path, ph.ablate(ph.load(), target, preset=ph.Lecture(int(steps))).picture())


if __name__ == "__main__":
    main(*sys.argv[1:])
