"""What each stage of a network still knows of a cat: detail fades, layout stays."""

import sys

import phosphene as ph
from phosphene.core.images import drawing, image


def main(path: str = "invert.png", share: str = "1") -> None:
    network, cat = ph.load(), ph.image(ph.sample("cat"))
    tiles, labels = [image.levels(network.prepare(cat).images)], ["the original"]
    for layer in ("bn1", *(f"blocks.{number}" for number in range(7)), "logits"):
        found = ph.invert(network, cat, layer, how=ph.Invert().times(float(share)))
        tiles += found.pictures()
        labels.append(f"{layer}: {found.error:.3f}")
        print(found, found.cost)
    image.save(path, drawing.grid(tiles, 5, labels=labels))


if __name__ == "__main__":
    main(*sys.argv[1:])
