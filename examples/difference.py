"""Why this class and not that one? The map of a difference of two classes, beside the maps of both."""

import sys

import phosphene as ph
from phosphene.core.images import drawing, image

TARGETS = ("tabby", "tiger cat", "tabby - tiger cat", "tiger cat - tabby")


def main(path: str = "difference.png") -> None:
    network, cat = ph.load(), ph.image(ph.sample("cat"))
    maps = [ph.attribute(network, cat, target, method="grad-cam") for target in TARGETS]
    for heatmap in maps:
        print(f"{heatmap.target!s:18} {heatmap.scores.item():6.2f} {heatmap.unit}")
    image.save(path, drawing.grid([heatmap.overlay()[0] for heatmap in maps], 2, labels=TARGETS))


if __name__ == "__main__":
    main(*sys.argv[1:])
