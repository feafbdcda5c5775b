"""Pictures that maximize channels, from shallow to deep layers: edges, textures, parts, objects."""

import sys

import phosphene as ph
from phosphene.core.images import drawing, image


def main(path: str = "layers.png", channels: str = "3 17 29 44", steps: str = "128") -> None:
    network, tiles, labels = ph.load(), [], []
    for layer in (f"blocks.{number}" for number in range(7)):
        wanted = [f"{layer}:{int(channel) % network.shape(layer)[0]}" for channel in channels.split()]
        result = ph.visualize(network, wanted, preset=ph.Best(steps=int(steps)), size=(160, 160))
        tiles += result.pictures()
        labels += [f"{name}: {value:.3g}" for name, value in zip(result.names, result.activations, strict=True)]
    image.save(path, drawing.grid(tiles, 4, labels=labels))


if __name__ == "__main__":
    main(*sys.argv[1:])
