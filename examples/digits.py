"""Handwritten digits that a small network has not learned, mapped by their bare pixels and by its last features."""

import sys

from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

from phosphene.core.images import drawing, image
from phosphene.survey.maps.map_images import embedding_map


def main(path: str = "digits.png") -> None:
    pixels, digits = load_digits(return_X_y=True)
    network = MLPClassifier((100, 100, 16), batch_size=50, random_state=0).fit(pixels[::2], digits[::2])
    tables, labels = {"pixels": pixels[1::2], "features": pixels[1::2]}, digits[1::2].astype(str)
    for weights, bias in zip(network.coefs_[:3], network.intercepts_[:3], strict=True):
        tables["features"] = (tables["features"] @ weights + bias).clip(0)
    maps = [embedding_map(table, method=m, labels=labels) for m in ("pca", "t-sne") for table in tables.values()]
    titles = [f"{dots.title} by their {of}: {dots.agreement()}" for dots, of in zip(maps, [*tables] * 2, strict=True)]
    image.save(path, drawing.grid([dots.picture(size=900) for dots in maps], 2, labels=titles))
    print("Of the 10 nearest, are the same digit:", *titles, sep="\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
