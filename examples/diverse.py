"""One class, several pictures, with a penalty on similar features."""

import sys

import phosphene as ph
from phosphene.core.images import drawing, image


def main(path: str = "diverse.png", target: str = "coffee mug", steps: str = "128") -> None:
    result = ph.visualize(ph.load(), target, preset=ph.Best(steps=int(steps)), diverse=4)
    labels = [f"{name}: {value:.3g}" for name, value in zip(result.names, result.activations, strict=True)]
    image.save(path, drawing.grid(result.pictures(), 4, labels=labels))


if __name__ == "__main__":
    main(*sys.argv[1:])
