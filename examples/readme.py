"""The picture in the README: one photograph, one network, seven maps."""

import sys

from PIL import Image

import phosphene as ph
from phosphene.core.images import drawing, image

CAMS = ("grad-cam: tiger cat", "grad-cam: tabby - tiger cat", "grad-cam: tiger cat - tabby", "occlusion: tiger cat")
ASKED = (*CAMS, "gradient: tiger cat", "guided-backprop: tiger cat", "guided-backprop: blocks.4:50@max")


def main(path: str = "docs/assets/explain.png") -> None:
    network, cat = ph.load(), ph.image(ph.sample("cat"))
    maps = [ph.attribute(network, cat, target, method=name) for name, target in (pair.split(": ") for pair in ASKED)]
    tiles = [heatmap.overlay()[0] if heatmap.method.display == "heat" else heatmap.picture()[0] for heatmap in maps]
    tiles.insert(0, image.levels(maps[0].images))
    sheet = Image.fromarray(drawing.grid(tiles, 4, gap=6, labels=("what the network saw", *ASKED)))
    sheet.quantize(palette=sheet.quantize(256, kmeans=4)).save(path, optimize=True)  # 256 colors: a light README


if __name__ == "__main__":
    main(*sys.argv[1:])
