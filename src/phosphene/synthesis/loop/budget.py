"""What fits into so many seconds: measured once, then kept, so that what goes on later goes on as it began."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from phosphene.core import files


def seconds_of(work: Callable[[], object]) -> float:
    """How long some work takes: that of the second time, as the first warms up. Cost: the work, twice."""
    work()
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def kept(path: str | Path | None, plan: str, choose: Callable[[], Mapping[str, int]]) -> dict[str, int]:
    """What was chosen by a stopwatch, from the file where the same plan left it; else chosen now, and written there.

    Args:
        path: of a JSON file; None keeps nothing.
        plan: fingerprint of what the choice is for.
        choose: makes the choice.

    Raises:
        OutputError: the file cannot be written.
    """
    file = Path(path) if path else None
    if file is not None and file.exists():
        with suppress(ValueError, LookupError, TypeError, AttributeError):  # damaged: chosen anew
            found = json.loads(file.read_text())
            if found["plan"] == plan:
                return {name: int(value) for name, value in found["chosen"].items()}
    chosen = dict(choose())
    if file is not None:
        files.write_json(file, {"plan": plan, "chosen": chosen})
    return chosen
