"""Pictures that maximize the logits of twelve classes, and the rank of the class in each as it is saved."""

import sys

import phosphene as ph
from phosphene.core.images import drawing, image

CLASSES = (
    "goldfish, flamingo, Siamese cat, tarantula, zebra, strawberry, volcano, castle, schooner, espresso, bison, wok"
)


def main(path: str = "classes.png", names: str = CLASSES, steps: str = "128") -> None:
    network, tiles, labels, wanted = ph.load(), [], [], names.split(", ")
    for first in range(0, len(wanted), 4):
        result = ph.visualize(network, wanted[first : first + 4], preset=ph.Best(steps=int(steps)))
        tiles += result.pictures()
        labels += [
            f"{name.partition(',')[0]}, rank {rank}" for name, rank in zip(result.names, result.ranks, strict=True)
        ]
    image.save(path, drawing.grid(tiles, 4, labels=labels))


if __name__ == "__main__":
    main(*sys.argv[1:])
