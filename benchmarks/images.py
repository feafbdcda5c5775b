"""What the decoder makes of every file of a folder: python benchmarks/images.py FOLDER [--mutations N].

Each file is decoded in a forked child, so that a crash, a hang or a hunger for memory is seen and belongs to one file.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import random
import re
import resource
import select
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from phosphene.core.errors import ImageError
from phosphene.core.images.image import load

PATIENCE = 20.0
"""Seconds after which a child counts as hung."""


class Outcome(NamedTuple):
    """What became of one file."""

    name: str
    result: str
    seconds: float
    megabytes: float
    growth: float


def attempt(data: bytes) -> str:
    """What became of it: ok, the line of an ImageError, or what else escaped."""
    try:
        load(data)
    except ImageError as error:
        text = str(error)
        return f"refused: {text}" if "\n" not in text else f"ESCAPED: line break in {text!r}"
    except BaseException as error:  # noqa: BLE001  anything else is what this script looks for
        return f"ESCAPED: {type(error).__name__}: {error}"
    return "ok"


def measure(name: str, data: bytes) -> Outcome:
    """Decode in a child that reports through a pipe, or dies."""
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(receive)
        before = resident()
        start = time.perf_counter()
        result = attempt(data)
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        os.write(send, json.dumps([result, seconds, peak, peak - before]).encode())
        os._exit(0)
    os.close(send)
    ready, _, _ = select.select([receive], [], [], PATIENCE)
    text = b"".join(iter(lambda: os.read(receive, 65536), b"")) if ready else b""
    os.close(receive)
    if not ready:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if not ready:
        return Outcome(name, "HUNG", PATIENCE, 0, 0)
    if not text:
        return Outcome(name, f"CRASHED by signal {os.waitstatus_to_exitcode(status)}", 0, 0, 0)
    return Outcome(name, *json.loads(text))


def resident() -> float:
    """Megabytes that this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def mutations(paths: list[Path], count: int) -> Iterator[tuple[str, bytes]]:
    """Files with bytes flipped, cut out, cut off or put in; the same ones every time."""
    dice = random.Random(0)
    small = [path for path in paths if 0 < path.stat().st_size < 500_000]
    for number in range(count):
        path = dice.choice(small)
        data = bytearray(path.read_bytes())
        kind = dice.choice(["flip", "cut", "drop", "insert"])
        at = dice.randrange(len(data))
        if kind == "flip":
            for _ in range(dice.randint(1, 20)):
                data[dice.randrange(len(data))] = dice.randrange(256)
        elif kind == "cut":
            del data[at:]
        elif kind == "drop":
            del data[at : at + dice.randint(1, 64)]
        else:
            data[at:at] = dice.randbytes(dice.randint(1, 64))
        yield f"{path.name} {kind} {number}", bytes(data)


def reason(result: str) -> str:
    """The kind of a refusal: its words without its numbers."""
    if not result.startswith("refused"):
        return result if result == "ok" else result[:100]
    words = re.sub(r"\d[\d.,]*", "N", result.removeprefix("refused: the picture "))
    return re.split("[:;,]", words)[0]


def table(outcomes: list[Outcome]) -> str:
    """Counts by result, then the slowest and the hungriest file."""
    counts = collections.Counter(reason(each.result) for each in outcomes)
    slow = max(outcomes, key=lambda each: each.seconds)
    large = max(outcomes, key=lambda each: each.megabytes)
    lines = [f"{count:6d}  {words}" for words, count in counts.most_common()]
    lines += [
        f"{len(outcomes):6d}  files",
        f"{slow.seconds:6.2f}  seconds at most ({slow.name})",
        f"{large.megabytes:6.0f}  MB of memory at most, {large.growth:.0f} of them for the file ({large.name})",
    ]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(":")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--mutations", type=int, default=0, metavar="N", help="decode N damaged files instead")
    options = parser.parse_args()
    load(b"P6 2 2 255 " + bytes(12))  # what is imported late is imported before the children are forked
    paths = sorted(path for path in options.folder.rglob("*") if path.is_file())
    pairs = ((str(path.relative_to(options.folder)), path.read_bytes()) for path in paths)
    work = mutations(paths, options.mutations) if options.mutations else pairs
    outcomes = [measure(name, data) for name, data in work]
    print(table(outcomes))
    bad = [each for each in outcomes if each.result[:3] not in {"ok", "ref"}]
    for each in bad:
        print(each, file=sys.stderr)
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
