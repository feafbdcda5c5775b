"""Dreams of five layers on a photograph, from shallow to deep: strokes, ornaments, animals, objects."""

import sys

import phosphene as ph
from phosphene.core.images import drawing, image


def main(path: str = "dream.png", size: str = "320x480") -> None:
    network, temple = ph.load(), ph.image(ph.sample("temple"))
    height, width = map(int, size.split("x"))
    tiles, labels = [image.levels(image.resize(temple.tensor(), (height, width)))], ["a photograph"]
    for layer in (f"blocks.{number}" for number in range(1, 6)):
        result = ph.dream(network, temple, recipe=ph.Dream((layer,)), size=(height, width))
        tiles += result.pictures()
        labels.append(str(result.target))
        print(*result.lines(), result.cost, sep="\n")
    image.save(path, drawing.grid(tiles, 2, labels=labels))


if __name__ == "__main__":
    main(*sys.argv[1:])
