"""Ways to do one thing, timed in turn in one process, so that what else the machine does falls on all alike."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Mapping, Sequence


@dataclasses.dataclass(frozen=True)
class Times:
    """Seconds of each way in each round.

    Args:
        seconds: name → one time for each round; the first name is what the others are compared with.
    """

    seconds: Mapping[str, Sequence[float]]

    def median(self, name: str) -> float:
        """Median of the seconds of one way."""
        return statistics.median(self.seconds[name])

    def ratios(self, name: str) -> list[float]:
        """How many times as long as the first it took, round by round, sorted."""
        first = next(iter(self.seconds.values()))
        return sorted(mine / base for mine, base in zip(self.seconds[name], first, strict=True))

    def __str__(self) -> str:
        """A line for each way: median and least seconds, then the ratios: median (least – most), and of the least."""
        return "\n".join(map(self._line, self.seconds))

    def _line(self, name: str) -> str:
        ratios, least = self.ratios(name), min(self.seconds[name])
        spread = f"× {statistics.median(ratios):.2f} ({ratios[0]:.2f} – {ratios[-1]:.2f})"
        best = least / min(next(iter(self.seconds.values())))
        return f"{name:24s} {self.median(name):8.3f} s   least {least:8.3f} s   {spread}   of the least × {best:.2f}"


def compare(ways: Mapping[str, Callable[[], object]], repeats: int = 5) -> Times:
    """Times of some ways, after one round that does not count; each round begins with another of them.

    Args:
        ways: name → what to run; the first is what the others are compared with.
        repeats: rounds.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    names = list(ways)
    for number in range(repeats + 1):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            start = time.perf_counter()
            ways[name]()
            if number:
                seconds[name].append(time.perf_counter() - start)
    return Times(seconds)
