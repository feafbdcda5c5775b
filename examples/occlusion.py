"""How an occlusion map depends on the fill of the patch: grey, black, and a blur."""

import sys

import phosphene as ph
from phosphene.core.images import drawing, image


def main(path: str = "occlusion.png") -> None:
    network, cat = ph.load(), ph.image(ph.sample("cat"))
    methods = [ph.Occlusion(patch=56, stride=28, fill=fill) for fill in ("grey", "black", "blur")]
    maps = [ph.attribute(network, cat, "tiger cat", method=method) for method in methods]
    labels = [f"{heatmap.method.fill}: at most {heatmap.values.max():.1f} {heatmap.unit}" for heatmap in maps]
    image.save(path, drawing.grid([heatmap.overlay()[0] for heatmap in maps], 3, labels=labels))
    print("\n".join(labels))


if __name__ == "__main__":
    main(*sys.argv[1:])
