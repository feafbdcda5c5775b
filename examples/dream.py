"""A photograph as three layers dream of it, from shallow to deep: strokes, ornaments, animals."""

import sys

import phosphene as ph
from phosphene.core import image, picture
from phosphene.synthesis.dream import Dream, dream
from phosphene.zoo.samples import sample


def main(path: str = "dream.png", size: str = "256x384") -> None:
    network, rocket = ph.load(), ph.image(sample("rocket"))
    height, width = map(int, size.split("x"))
    tiles, labels = [image.levels(image.resize(rocket.tensor(), (height, width)))], ["a photograph"]
    for layer in ("blocks.1", "blocks.2", "blocks.4"):
        found = dream(network, rocket, how=Dream((layer,)), size=(height, width))
        tiles += found.pictures()
        labels.append(str(found.objective))
        print(*found.lines(), found.cost, sep="\n")
    image.save(path, picture.grid(tiles, 2, labels=labels))


if __name__ == "__main__":
    main(*sys.argv[1:])
