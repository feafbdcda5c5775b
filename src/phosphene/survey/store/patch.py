"""A patch: the part of an image in the receptive field of a strong or weak activation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from phosphene.core.images.preprocess import Box

Side = Literal["top", "bottom"]


@dataclass(frozen=True)
class Patch:
    """The part of an image in the receptive field of one of the strongest or weakest activations of a unit.

    Args:
        layer: of the unit.
        channel: of the unit.
        side: "top" or "bottom".
        rank: from 0, the most extreme first.
        image: its number in the survey.
        activation: of the unit, at that place.
        row: of the place in the map; 0 for vectors.
        column: of the place in the map; 0 for vectors.
        box: exact receptive field, in pixels of the original file, clipped to what the network was shown.
        whole: the field is the whole picture.
    """

    layer: str
    channel: int
    side: Side
    rank: int
    image: int
    activation: float
    row: int
    column: int
    box: Box
    whole: bool

    @classmethod
    def of(cls, row: dict[str, Any]) -> Patch:
        """A patch from a row of the table."""
        edges = [row.pop(side) for side in Box._fields]
        return cls(box=Box(*edges), **row)
