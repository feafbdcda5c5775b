"""A cat inverted from each stage of a network: detail is lost, layout is kept."""

import sys

import phosphene as ph
from phosphene.core.images import drawing, image


def main(path: str = "invert.png", share: str = "1") -> None:
    network, cat = ph.load(), ph.image(ph.sample("cat"))
    tiles, labels = [image.levels(network.prepare(cat).images)], ["the original"]
    for layer in ("bn1", *(f"blocks.{number}" for number in range(7)), "logits"):
        result = ph.invert(network, cat, layer, recipe=ph.Invert().times(float(share)))
        tiles += result.pictures()
        labels.append(f"{layer}: {result.error:.3f}")
        print(result, result.cost)
    image.save(path, drawing.grid(tiles, 5, labels=labels))


if __name__ == "__main__":
    main(*sys.argv[1:])
