"""A class of a survey: its label, its index, and its images."""

from __future__ import annotations

import numpy as np

from phosphene.core.errors import TargetError, did_you_mean
from phosphene.core.networks.network import Network, fold_label
from phosphene.survey.store.run import Run


def find_class(network: Network, run: Run, name: str) -> tuple[str, int | None]:
    """The label and the index of a class; "" where no image is labeled so, None where the network does not have it.

    Args:
        network: that was surveyed.
        run: the survey.
        name: a label of the images, a class of the network, or its index.

    Raises:
        TargetError: no class of that name.
    """
    labels = sorted({*run.images["label"].tolist()} - {""})
    label = next((known for known in labels if fold_label(known) == fold_label(name)), "")
    try:
        index = int(name) if name.isdecimal() and name not in network.labels else network.index(label or name)
    except TargetError as error:
        if label:
            return label, None
        if fold_label(name) in map(fold_label, network.labels):  # the name of several classes
            raise
        near = did_you_mean(name, (*labels, *network.labels))
        raise TargetError(f"no label and no class is called {name!r}; {near}") from error
    if index >= network.classes:
        raise TargetError(
            f"{network.name} has no class {index}; its {network.classes} classes are 0 … {network.classes - 1}"
        )
    names = {fold_label(part) for part in (network.label(index), *network.label(index).split(","))}
    return label or next((known for known in labels if fold_label(known) in names), ""), index


def class_images(run: Run, label: str, index: int | None) -> tuple[tuple[int, ...], str]:
    """The images of a class by label, or else by prediction, or else all; and which they are, in words."""
    images, ok = run.images, run.images["ok"]
    choices = [
        (ok & (images["label"] == label) & bool(label), f"labeled {label}"),
        (
            ok & (images["predicted"] == (-1 if index is None else index)),
            "that the network predicts to be of the class",
        ),
    ]
    for chosen, words in choices:
        if chosen.any():
            count = int(chosen.sum())
            return tuple(np.flatnonzero(chosen).tolist()), f"{_count(count)} {words}"
    return tuple(np.flatnonzero(ok).tolist()), "all images, as none of the class was surveyed"


def _count(images: int) -> str:
    return "the one image" if images == 1 else f"the {images:,} images"
