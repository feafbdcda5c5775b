"""Color maps, and the scale that gives their colors values."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from phosphene.core.errors import OptionError, did_you_mean

Floats = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Scale:
    """The values of the colors of a picture.

    Args:
        low: value of the first color.
        high: value of the last color.
        unit: of both, such as "logit".
        clipped: share of the values beyond them, in [0, 1].
        map: name of the color map.

    >>> print(Scale(-2.5, 2.5, "logit", clipped=0.005, map="blue-red"))
    -2.5 … 2.5 logit, 0.5 % beyond
    """

    low: float
    high: float
    unit: str = ""
    clipped: float = 0.0
    map: str = "viridis"

    def __str__(self) -> str:
        beyond = f", {self.clipped:.1%} beyond".replace("%", " %") if self.clipped else ""
        return f"{self.low:.3g} … {self.high:.3g} {self.unit}".rstrip() + beyond


def scale_of(values: Floats, map: str, unit: str = "", quantile: float = 1.0) -> Scale:
    """The scale that ends at a quantile of the magnitudes; where that is 0, as in a sparse map, at the greatest.

    Args:
        values: of any shape.
        map: name of the color map.
        unit: of the values.
        quantile: in (0, 1].
    """
    strengths = np.abs(values)
    high = float(np.quantile(strengths, quantile)) or float(strengths.max())
    return Scale(-high if map in DIVERGING else 0.0, high, unit, float((strengths > high).mean()), map)


def paint(plane: Floats, map: str, high: float) -> npt.NDArray[np.uint8]:
    """Colors of values (H, W) → uint8 (H, W, 3), clipped to 0 … high, or -high … high for a diverging map.

    Args:
        plane: finite.
        map: see `TABLES`.
        high: value of the last color; with 0 all values count as 0.

    Raises:
        OptionError: no such map.
    """
    if map not in TABLES:
        raise OptionError(f"no color map is called {map!r}; {did_you_mean(map, TABLES)}")
    share = plane / (high or 1.0)
    share = (share + 1) / 2 if map in DIVERGING else share
    return np.asarray(TABLES[map][np.rint(share.clip(0, 1) * (_SHADES - 1)).astype(np.intp)], np.uint8)


def _table(*anchors: str) -> npt.NDArray[np.uint8]:
    """Shades between equally spaced colors."""
    known = np.array([list(bytes.fromhex(color)) for color in " ".join(anchors).split()])
    at = np.linspace(0, len(known) - 1, _SHADES)
    return np.stack([np.rint(np.interp(at, range(len(known)), channel)) for channel in known.T], 1).astype(np.uint8)


_SHADES = 257  # odd, so that 0 has a color of its own in the middle of a diverging map
TABLES = {
    # Lightness rises monotonically, in viridis evenly, so that order is visible without color, too.
    "viridis": _table(
        "440154 481a6c 472f7d 414487 39568c 31688e 2a788e 23888e",
        "1f988b 22a884 35b779 54c568 7ad151 a5db36 d2e21b fde725",
    ),
    "ember": _table("8a1c1c a52a15 c03c0e d8520a ea6d0c f58a1a fba72e ffc44a ffe06e fff79b"),
    "grey": _table("000000 ffffff"),
    # Both arms have the same lightness and chroma at the same distance from 0.
    "blue-red": _table(
        "064d96 0963be 0e7ae7 4394f7 74affa a1c9fd cce2fe fafafa",
        "fcd5d1 f8b1aa f28b84 e8635d d43e3e ae3132 8a2525",
    ),
}
DIVERGING = frozenset({"blue-red"})
# Grey for the most frequent, then colors that color-blind readers can tell apart; the last one for all others.
HUES = np.array(
    [list(bytes.fromhex(color)) for color in "d0d0d0 e69f00 56b4e9 009e73 f0e442 0072b2 d55e00 cc79a7 404040".split()],
    np.uint8,
)
