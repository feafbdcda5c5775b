"""Where one channel is active, and the pattern there by the deconvnet and by guided backprop."""

import sys

import phosphene as ph
from phosphene.core.images import drawing, image


def main(path: str = "channel.png", layer: str = "blocks.2") -> None:
    network = ph.load()
    images = network.prepare(ph.image(ph.sample("cat"))).images
    activations, tiles, labels = ph.activations(network, images, layer), [], []
    for channel in activations.order()[:3]:
        target = f"{layer}:{channel}@max"
        maps = [ph.attribute(network, images, target, method=name) for name in ("deconvnet", "guided-backprop")]
        tiles += [activations.overlay(channel)[0], *(heatmap.picture()[0] for heatmap in maps)]
        labels += [f"{layer}:{channel}", "deconvnet", "guided-backprop"]
    image.save(path, drawing.grid(tiles, 3, labels=labels))


if __name__ == "__main__":
    main(*sys.argv[1:])
