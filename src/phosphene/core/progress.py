"""How far some work has come, and who is told."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from torch import Tensor


@dataclasses.dataclass(frozen=True, eq=False)
class Progress:
    """How far some work has come.

    Args:
        done: parts that are finished: passes, steps, images or units, as the verb counts its cost.
        total: parts in all; None where it is not known.
        what: what is worked on now.
        preview: (N, 3, H, W) in [0, 1], the images as they are now; None where there is nothing to see.
        scores: (N,), the objective of each of them; None where there is none.
    """

    done: int
    total: int | None
    what: str = ""
    preview: Tensor | None = None
    scores: Tensor | None = None


Watch = Callable[[Progress], bool | None]
"""Is told of progress; returns true to stop the work."""
