"""Where the mass of a map lies, in words: for the text alternative of its picture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

QUARTER, HALF = 0.6, 0.65
"""A quarter is named when it holds this share of the mass or more, and else a half."""


def describe(values: NDArray[np.floating], mass: str = "mass") -> str:
    """One clause on where the positive values of a map lie.

    Five quarters (the corners, and the center of the same size) and four halves are compared by the sum of their
    positive values.

    Args:
        values: (H, W), signed.
        mass: what a positive value is called.

    >>> corner = np.zeros((8, 8))
    >>> corner[:4, :4] = 1
    >>> describe(corner, "positive mass")
    '100 % of the positive mass lies in the upper left quarter'
    >>> describe(np.ones((8, 8)))
    'the mass is spread: no half holds more than 50 %'
    >>> describe(-corner), describe(0 * corner)
    ('no value is positive', 'the map is zero everywhere')
    """
    positive = np.clip(np.asarray(values, np.float64), 0, None)
    total = positive.sum()
    if not total:
        return "no value is positive" if np.any(values) else "the map is zero everywhere"
    (quarter, in_quarter), (half, in_half) = (
        max(((name, positive[region].sum() / total) for name, region in regions.items()), key=lambda named: named[1])
        for regions in (_quarters(*positive.shape), _halves(*positive.shape))
    )
    if in_quarter >= QUARTER:
        return f"{_percent(in_quarter)} of the {mass} lies in the {quarter} quarter"
    if in_half >= HALF:
        return f"{_percent(in_half)} of the {mass} lies in the {half} half"
    return f"the {mass} is spread: no half holds more than {_percent(in_half)}"


Region = tuple[slice, slice]


def _halves(height: int, width: int) -> dict[str, Region]:
    y, x, every = height // 2, width // 2, slice(None)
    return {
        "upper": (slice(y), every),
        "lower": (slice(height - y, None), every),
        "left": (every, slice(x)),
        "right": (every, slice(width - x, None)),
    }


def _quarters(height: int, width: int) -> dict[str, Region]:
    halves = _halves(height, width)
    y, x = height // 4, width // 4
    corners = {
        f"{row} {side}": (halves[row][0], halves[side][1]) for row in ("upper", "lower") for side in ("left", "right")
    }
    return corners | {"central": (slice(y, height - y), slice(x, width - x))}


def _percent(share: float) -> str:
    return f"{share:.0%}".replace("%", " %")
