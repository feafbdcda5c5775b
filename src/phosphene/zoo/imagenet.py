"""Names of the 1000 classes of ImageNet-1k."""

from __future__ import annotations


def labels(classes: int | None = None) -> tuple[str, ...]:
    """Names in the order of the classes, all different, from torchvision; none for other numbers of classes.

    Args:
        classes: number of classes of the network; None for 1000.

    >>> labels(1000)[:2], labels(10)
    (('tench', 'goldfish'), ())
    >>> [labels()[index] for index in (134, 517, 638, 639)]
    ['crane bird', 'crane', 'maillot', 'maillot tank suit']
    """
    from torchvision.models import ResNet18_Weights  # noqa: PLC0415  # takes a second, and few need it

    names: list[str] = ResNet18_Weights.DEFAULT.meta["categories"]
    return tuple(names) if classes in (None, len(names)) else ()
