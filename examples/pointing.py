"""The pointing game: four photographs in one mosaic, and how much of each class's map lies on its own photograph."""

import dataclasses
import sys

import torch

import phosphene as ph
from phosphene.attribution.evaluate.pointing import pointing_game
from phosphene.core.images import drawing, image


def main(path: str = "pointing.png", names: str = "cat coffee temple flower") -> None:
    network = ph.load()
    images = torch.cat([network.prepare(ph.image(ph.sample(name))).images for name in names.split()])
    game = pointing_game(network, images, "grad-cam")
    wide = dataclasses.replace(network, preprocess=dataclasses.replace(network.preprocess, size=(448, 448)))
    pairs = list(zip(game.classes[0].tolist(), game.shares[0].tolist(), strict=True))
    tiles = [ph.attribute(wide, game.mosaics[:1], index, method="grad-cam").overlay()[0] for index, _ in pairs]
    image.save(path, drawing.grid(tiles, 2, labels=[f"{network.label(index)}: {share:.0%}" for index, share in pairs]))


if __name__ == "__main__":
    main(*sys.argv[1:])
