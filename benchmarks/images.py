"""Decode every file of a folder: python benchmarks/images.py FOLDER [--mutations N].

Each file is decoded in a forked child process, so that crashes, hangs and peaks of memory are measured file by file.
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

TIMEOUT = 20.0
"""Seconds after which a child process counts as hung."""


class Outcome(NamedTuple):
    """The outcome of one file."""

    name: str
    result: str
    seconds: float
    megabytes: float
    growth: float


def attempt(data: bytes) -> str:
    """The outcome: ok, the line of an ImageError, or another exception that escaped."""
    try:
        load(data)
    except ImageError as error:
        text = str(error)
        return f"refused: {text}" if "\n" not in text else f"ESCAPED: line break in {text!r}"
    except BaseException as error:  # noqa: BLE001  anything else is what this script looks for
        return f"ESCAPED: {type(error).__name__}: {error}"
    return "ok"


def measure(name: str, data: bytes) -> Outcome:
    """Decode in a child process that reports through a pipe, unless it crashes."""
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
    ready, _, _ = select.select([receive], [], [], TIMEOUT)
    text = b"".join(iter(lambda: os.read(receive, 65536), b"")) if ready else b""
    os.close(receive)
    if not ready:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if not ready:
        return Outcome(name, "HUNG", TIMEOUT, 0, 0)
    if not text:
        return Outcome(name, f"CRASHED by signal {os.waitstatus_to_exitcode(status)}", 0, 0, 0)
    return Outcome(name, *json.loads(text))


def resident() -> float:
    """Resident memory of this process, in megabytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def mutations(paths: list[Path], count: int) -> Iterator[tuple[str, bytes]]:
    """Files with bytes changed, removed, cut off or inserted; the same ones every time."""
    generator = random.Random(0)
    small = [path for path in paths if 0 < path.stat().st_size < 500_000]
    for number in range(count):
        path = generator.choice(small)
        data = bytearray(path.read_bytes())
        kind = generator.choice(["flip", "cut", "drop", "insert"])
        at = generator.randrange(len(data))
        if kind == "flip":
            for _ in range(generator.randint(1, 20)):
                data[generator.randrange(len(data))] = generator.randrange(256)
        elif kind == "cut":
            del data[at:]
        elif kind == "drop":
            del data[at : at + generator.randint(1, 64)]
        else:
            data[at:at] = generator.randbytes(generator.randint(1, 64))
        yield f"{path.name} {kind} {number}", bytes(data)


def reason(result: str) -> str:
    """The kind of a refusal: its message without numbers."""
    if not result.startswith("refused"):
        return result if result == "ok" else result[:100]
    words = re.sub(r"\d[\d.,]*", "N", result.removeprefix("refused: the picture "))
    return re.split("[:;,]", words)[0]


def table(outcomes: list[Outcome]) -> str:
    """Counts by result, then the slowest file and the one with the most memory."""
    counts = collections.Counter(reason(outcome.result) for outcome in outcomes)
    slow = max(outcomes, key=lambda outcome: outcome.seconds)
    large = max(outcomes, key=lambda outcome: outcome.megabytes)
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
    load(b"P6 2 2 255 " + bytes(12))  # imports everything before the children are forked
    paths = sorted(path for path in options.folder.rglob("*") if path.is_file())
    pairs = ((str(path.relative_to(options.folder)), path.read_bytes()) for path in paths)
    work = mutations(paths, options.mutations) if options.mutations else pairs
    outcomes = [measure(name, data) for name, data in work]
    print(table(outcomes))
    bad = [outcome for outcome in outcomes if outcome.result[:3] not in {"ok", "ref"}]
    for outcome in bad:
        print(outcome, file=sys.stderr)
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
