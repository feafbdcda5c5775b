"""One query among 100,000 × 1,280 numbers on a disk: python benchmarks/neighbors.py [--rows N] [--wide D].

Against brute force in float64, all rows at once, and against scikit-learn on the same rows, which must hold them as
float32. The answers are compared before the times.
"""

from __future__ import annotations

import argparse
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.neighbors import NearestNeighbors

from interleave import compare
from phosphene.survey.maps.nearest import nearest_rows


def rows(path: Path, count: int, wide: int) -> npt.NDArray[np.float16]:
    """Numbers such as rectified features have, mapped from the disk."""
    noise = np.random.default_rng(0)
    table = np.lib.format.open_memmap(path, "w+", np.float16, (count, wide))
    for start in range(0, count, 4096):
        part = table[start : start + 4096]
        part[:] = np.abs(noise.standard_normal(part.shape, np.float32))
    table.flush()
    return np.load(path, mmap_mode="r")


def brute(table: npt.NDArray[np.float16], query: npt.NDArray[np.float64], k: int) -> npt.NDArray[np.intp]:
    squares = np.square(table.astype(np.float64) - query).sum(1)
    return np.argsort(squares, kind="stable")[:k]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--wide", type=int, default=1280)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        table = rows(Path(folder) / "rows.npy", options.rows, options.wide)
        query, k = table[options.rows // 3].astype(np.float64), 10
        peer = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(table.astype(np.float32))
        single = query[None].astype(np.float32)
        tracemalloc.start()
        nearest = nearest_rows(table, query, k)
        print(f"peak {tracemalloc.get_traced_memory()[1] / 2**20:.0f} MB")
        tracemalloc.stop()
        print("equal to brute force:", (nearest.indices[0] == brute(table, query, k)).all())
        print("equal to scikit-learn:", (nearest.indices == peer.kneighbors(single)[1]).all())
        ways = {
            "brute force, float64": lambda: brute(table, query, k),
            "phosphene l2": lambda: nearest_rows(table, query, k),
            "phosphene cosine": lambda: nearest_rows(table, query, k, metric="cosine"),
            "phosphene, 32 queries": lambda: nearest_rows(table, table[:32], k),
            "scikit-learn, in memory": lambda: peer.kneighbors(single),
        }
        print(compare(ways, options.repeats))


if __name__ == "__main__":
    main()
