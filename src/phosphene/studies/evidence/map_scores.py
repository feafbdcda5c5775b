"""What was measured of a map, and what its sanity score means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from phosphene.attribution.evaluate.deletion import Curves
from phosphene.attribution.evaluate.pointing import PointingGame
from phosphene.attribution.evaluate.sanity import Sanity

INSENSITIVE, SENSITIVE = 0.5, 0.2
"""Rank correlations with the map of random weights from which a map is called insensitive, up to which sensitive."""


@dataclass(frozen=True)
class MapScores:
    """What was measured of a map; None for what was not.

    Args:
        deletion: area under the curve while the strongest pixels disappear; lower is better.
        insertion: area under the curve while the strongest pixels appear; higher is better.
        sanity: rank correlation with the map when the upper half of the weights is random; near 0 is better.
        pointing: share of the map in the cell that shows its class, in [0, 1]; higher is better.
        unit: of the two areas.
        notes: why a score is missing.
    """

    deletion: float | None = None
    insertion: float | None = None
    sanity: float | None = None
    pointing: float | None = None
    unit: str = "probability"
    notes: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        curves: tuple[Curves, Curves] | None = None,
        sanity: Sanity | None = None,
        pointing: PointingGame | None = None,
        *,
        index: int = 0,
    ) -> Self:
        """The scores of one image of a batch.

        Args:
            curves: deletion and insertion.
            sanity: its last stage counts, by the magnitudes of the values.
            pointing: the game that the method played.
            index: of the image.
        """
        unit = curve_unit(curves[0]) if curves else "probability"
        deletion, insertion = (curve.areas[unit][index].item() for curve in curves) if curves else (None, None)
        correlation = sanity.absolute[-1, index].item() if sanity else None
        blank = bool(correlation == 0 and sanity and sanity.notes)  # a map without ranks counts as 0 there
        notes = (
            ("No sanity score: with half of the weights random the map is blank, or it was before.",) if blank else ()
        )
        return cls(
            deletion, insertion, None if blank else correlation, pointing.mean if pointing else None, unit, notes
        )

    @property
    def sentence(self) -> str:
        """What the sanity score means; "" where there is none."""
        if self.sanity is None:
            return ""
        if abs(self.sanity) >= INSENSITIVE:
            meaning = "the map stays much the same, so it says little of what the network has learned"
        elif abs(self.sanity) <= SENSITIVE:
            meaning = "the map is another one, as it should be"
        else:
            meaning = "part of the map stays"
        value = f"{round(self.sanity, 2) + 0.0:.2f}".replace("-", "−")
        return f"Measured here, sanity score {value}: with half of the weights random {meaning}."


def curve_unit(curves: Curves) -> str:
    """The unit in which deletion and insertion are scored: probability where the target has one."""
    return "probability" if "probability" in curves.values else next(iter(curves.values))
