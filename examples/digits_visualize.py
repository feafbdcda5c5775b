"""Pictures that maximize the ten classes of a small network, trained on digits of 28 × 28 grey pixels."""

import sys

from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier
from torch import nn, tensor

import phosphene as ph
from phosphene.core.images import drawing, image


def main(path: str = "digits.png") -> None:
    images = nn.Upsample((28, 28), mode="bilinear")(tensor(load_digits().images)[:, None] / 16).flatten(1)
    learned = MLPClassifier((64, 32), alpha=1.0, tol=0.01, random_state=0).fit(images, load_digits().target)
    module = nn.Sequential(nn.Flatten(), nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    for layer, weights, bias in zip(module[1::2], learned.coefs_, learned.intercepts_, strict=True):
        layer.load_state_dict({"weight": tensor(weights.T), "bias": tensor(bias)})
    network = ph.Network(module, ph.Preprocess((28, 28), (0.0,), (1.0,), crop=1.0, order="grey"))
    tiles = [pixels.repeat(8, 0).repeat(8, 1) for pixels in ph.visualize(network, range(10)).pictures()]
    image.save(path, drawing.grid(tiles, 5))


if __name__ == "__main__":
    main(*sys.argv[1:])
