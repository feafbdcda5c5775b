"""Sample photographs from the libraries that phosphene depends on, available offline."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from phosphene.core.errors import ImageError, did_you_mean

SAMPLES = {
    "cat": ("skimage", "data/chelsea.png"),
    "coffee": ("skimage", "data/coffee.png"),
    "rocket": ("skimage", "data/rocket.jpg"),
    "astronaut": ("skimage", "data/astronaut.png"),
    "temple": ("sklearn", "datasets/images/china.jpg"),
    "flower": ("sklearn", "datasets/images/flower.jpg"),
}
"""Name → package and file in it."""


def sample(name: str) -> Path:
    """The file of a sample photograph.

    Args:
        name: one of SAMPLES.

    Raises:
        ImageError: no such sample, or the package that has it is not installed.

    >>> sample("cat").name
    'chelsea.png'
    """
    if name not in SAMPLES:
        raise ImageError(f"there is no sample photograph {name!r}; {did_you_mean(name, SAMPLES)}")
    package, path = SAMPLES[name]
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ImageError(f"the sample photograph {name!r} comes with {package}, which is not installed; install it")
    return Path(spec.submodule_search_locations[0]) / path
