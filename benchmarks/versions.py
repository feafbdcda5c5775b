"""Two versions of phosphene side by side: python benchmarks/versions.py OLD/src NEW/src [ROUNDS].

Each version runs in a process of its own, on all cores; the two take turns, task by task, and the other one waits.
Prints the time of the new one as a ratio of the old one's: median, least, greatest.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any


def tasks(folder: Path) -> dict[str, Callable[[], Any]]:
    """What both versions are asked, in the words that they share."""
    import numpy as np
    from PIL import Image

    import phosphene as ph

    network, cat = ph.load(), ph.image(ph.sample("cat"))
    photographs = folder / "photographs"
    photographs.mkdir()
    for number in range(48):
        shifted = np.roll(cat.pixels, 5 * number, axis=1)
        Image.fromarray(shifted).save(photographs / f"{number:02}.jpg")

    def attribute(method: Any) -> Callable[[], Any]:
        return lambda: ph.attribute(network, cat, "tabby - tiger cat", method=method)

    goldfish = ph.parse("goldfish", network)
    transforms = [ph.Affine(jitter=8, scale=(0.9, 1.1))]
    return {
        "gradient": attribute("gradient"),
        "grad-cam": attribute("grad-cam"),
        "guided-grad-cam": attribute("guided-grad-cam"),
        "integrated gradients": attribute("integrated-gradients"),
        "occlusion": attribute(ph.Occlusion(patch=32, stride=16)),
        "survey, 48 images": lambda: ph.survey(network, photographs, tempfile.mkdtemp(dir=folder) + "/run"),
        "synthesize, 24 steps": lambda: ph.synthesize(network, goldfish, steps=24, transforms=transforms),
        "dream": lambda: ph.dream(network, network.prepare(cat).images),
        "explain": lambda: ph.explain(network, cat),
    }


def serve() -> None:
    """Run the task of each line of standard input, and answer with its seconds."""
    with tempfile.TemporaryDirectory() as folder:
        known = tasks(Path(folder))
        print("\t".join(known), flush=True)
        for line in sys.stdin:
            begun = time.perf_counter()
            known[line.strip()]()
            print(time.perf_counter() - begun, flush=True)


def main(old: str, new: str, rounds: int) -> None:
    """Let both take turns."""
    here = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
    servers = [
        subprocess.Popen(
            [sys.executable, __file__], env={**here, "PYTHONPATH": path}, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for path in (old, new)
    ]

    def ask(server: subprocess.Popen[bytes], task: str) -> float:
        stream, answer = server.stdin, server.stdout
        assert stream is not None
        assert answer is not None
        stream.write(f"{task}\n".encode())
        stream.flush()
        return float(answer.readline())

    def names(answer: IO[bytes] | None) -> list[str]:
        assert answer is not None
        return answer.readline().decode().strip().split("\t")

    known, _ = (names(server.stdout) for server in servers)
    print(f"{'':24}{'old':>9}{'new / old':>11}")
    for task in known:
        for server in servers:
            ask(server, task)  # warm
        times = [[ask(server, task) for server in servers] for _ in range(rounds)]
        ratios = sorted(later / before for before, later in times)
        before = statistics.median(pair[0] for pair in times)
        print(f"{task:24}{before:8.3f}s{statistics.median(ratios):9.2f}  ({ratios[0]:.2f} – {ratios[-1]:.2f})")


if __name__ == "__main__":
    if len(sys.argv) == 1:
        serve()
    else:
        main(sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 7)
