"""What one channel responds to: where, and by the deconvnet and guided backprop, to what pattern there."""

import sys

import phosphene as ph
from phosphene.core.images import drawing, image


def main(path: str = "channel.png", layer: str = "blocks.2") -> None:
    network = ph.load()
    images = network.prepare(ph.image(ph.sample("cat"))).images
    found, tiles, labels = ph.activations(network, images, layer), [], []
    for channel in found.order()[:3]:
        target = f"{layer}:{channel}@max"
        maps = [ph.attribute(network, images, target, method=name) for name in ("deconvnet", "guided-backprop")]
        tiles += [found.overlay(channel)[0], *(each.picture()[0] for each in maps)]
        labels += [f"{layer}:{channel}", "deconvnet", "guided-backprop"]
    image.save(path, drawing.grid(tiles, 3, labels=labels))


if __name__ == "__main__":
    main(*sys.argv[1:])
