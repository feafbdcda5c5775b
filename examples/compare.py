"""Which pixels support the best class of a photograph? Six methods, side by side."""

import sys

import phosphene as ph
from phosphene.core.images import drawing, image

METHODS = ("grad-cam", "layer-cam", "gradient", "input-x-gradient", "guided-backprop", "guided-grad-cam")


def main(path: str = "compare.png") -> None:
    network, cat = ph.load(), ph.image(ph.sample("cat"))
    maps = [ph.attribute(network, cat, method=name) for name in METHODS]
    tiles = [heatmap.picture()[0] if heatmap.method.display == "color" else heatmap.overlay()[0] for heatmap in maps]
    image.save(path, drawing.grid(tiles, 3, labels=METHODS))
    print(f"{maps[0].target}, {maps[0].scores.item():.2f} {maps[0].unit}: {path}")


if __name__ == "__main__":
    main(*sys.argv[1:])
