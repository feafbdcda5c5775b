"""How good are synthetic pictures? python benchmarks/visualize.py OUT [FOLDER] [--methods best,lucid,lecture].

Random classes and random channels of lite0, by fixed seeds, in several manners at equal passes. FOLDER holds natural
photographs; PHOSPHENE_IMAGES by default. Every picture is judged from its PNG: what it reaches against the 99.9th
percentile of the photographs, the rank of its class for the same network and for efficientnet-lite1 (which sees it as a
photograph), the slope of its spectrum against that of photographs, saturated values, grey. A method may carry options:
best:crops=4:noise=0.1. Each batch is on the disk once it is done; the same command goes on where it was.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import lucid
import phosphene as ph
from phosphene.core import files
from phosphene.core.images import drawing, image
from phosphene.core.networks.network import Network
from phosphene.core.objectives.objective import Objective
from phosphene.studies.evidence.photographs import Photographs
from phosphene.studies.evidence.reference_levels import peak_activations, recognize, reference_levels
from phosphene.synthesis.settings.preset import Preset

assert lucid.Lucid.name in Preset.table  # importing it has registered the preset

STAGES = tuple(f"blocks.{number}" for number in range(1, 7))
SEED = 20_261
KINDS = ("classes", "channels")
Row = dict[str, Any]


@dataclasses.dataclass(frozen=True, eq=False)
class Bench:
    """The networks, the photographs, and where results go.

    Args:
        network: whose classes and channels.
        other: that is asked for its opinion.
        folder: of natural photographs.
        out: of results.
        passes: forward and backward, for each picture.
        batch: targets made together.
    """

    network: Network
    other: Network
    folder: Path
    out: Path
    passes: int
    batch: int

    def run(self, method: str, targets: Sequence[str], size: int | None) -> list[Row]:
        """A row for each target, made now or before."""
        rows: list[Row] = []
        for start in range(0, len(targets), self.batch):
            part = targets[start : start + self.batch]
            paths = [self._path(method, value) for value in part]
            if not all(path.exists() for path in paths):
                self._make(method, part, size)
            rows += [json.loads(path.read_text()) for path in paths]
        return rows

    def _path(self, method: str, target: str) -> Path:
        return self.out / files.slug(f"{method} {self.passes}") / f"{files.slug(target)}.json"

    def _make(self, method: str, targets: Sequence[str], size: int | None) -> None:
        start = time.perf_counter()
        preset = preset_of(method, self.passes)
        # Windows are phosphene's own economy: peers paint what the network takes.
        sides = (size, size) if size else None if preset.name == "best" else self.network.preprocess.size
        result = ph.visualize(self.network, list(targets), preset=preset, size=sides, seed=SEED)
        cost = result.cost
        facts = {
            "method": method,
            "steps": len(result.scores),
            "passes": cost.backwards / len(targets),
            "seconds": (time.perf_counter() - start) / len(targets),
        }
        for target, objective, pixels in zip(targets, result.objectives, result.pictures(), strict=True):
            path = self._path(method, target)
            image.save(path.with_suffix(".png"), pixels)
            row = {"target": target, **facts, **self.judge(path.with_suffix(".png"), objective)}
            files.write_json(path, row)
            print(line(row), flush=True)

    def judge(self, path: Path, objective: Objective) -> Row:
        """What can be said of a PNG."""
        loaded = ph.image(path)
        index = objective.index if isinstance(objective, ph.Logit) else None
        assert not isinstance(index, str)
        facts: Row = {"rank": 0, "probability": 0.0, "other_rank": 0, "other_probability": 0.0, "other_best": ""}
        if index is not None:
            logits = self.network(image.resize(loaded.tensor(), self.network.preprocess.size))[0]
            (theirs,) = recognize(self.other, self.network, [objective], loaded.tensor())
            assert theirs is not None
            facts["rank"] = int((logits > logits[index]).sum()) + 1
            facts["probability"] = logits.softmax(0)[index].item()
            facts |= {"other_rank": theirs.rank, "other_probability": theirs.probability}
            facts["other_best"] = theirs.best.label
        return {
            "name": str(objective),
            "reached": peak_activations(self.network, [objective], loaded.tensor())[0],
            **facts,
            "slope": slope(loaded.pixels),
            "saturated": float(((loaded.pixels == 0) | (loaded.pixels == 255)).mean()),
            "deviation": float(loaded.pixels.std() / 255),
        }

    def naturals(self, targets: Sequence[str]) -> dict[str, tuple[float, float]]:
        """Target → level at the 99.9th percentile of the photographs, and most."""
        path = self.out / "natural.json"
        known = json.loads(path.read_text()) if path.exists() else {}
        if missing := [target for target in targets if target not in known]:
            objectives = [ph.parse(target, self.network) for target in missing]
            levels = reference_levels(self.folder, self.network, objectives).levels
            known |= {name: (level.level, level.maximum) for name, level in zip(missing, levels, strict=True)}
            files.write_json(path, known)
        return known


def preset_of(method: str, passes: int) -> Preset:
    """best:crops=4:noise=0.1 → that preset, with as many steps as the passes allow."""
    name, *options = method.split(":")
    preset = Preset.find(name)()
    given = {key: type(getattr(preset, key))(float(value)) for key, value in (option.split("=") for option in options)}
    preset = dataclasses.replace(preset, **given)
    return preset if "steps" in given else dataclasses.replace(preset, steps=passes // getattr(preset, "crops", 1))


def classes(network: Network, count: int) -> list[str]:
    """Labels drawn by the seed."""
    return [network.label(value) for value in np.random.default_rng(SEED).permutation(network.classes)[:count].tolist()]


def channels(network: Network, count: int) -> list[str]:
    """Channels drawn by the seed, of each stage in turn."""
    random = np.random.default_rng(SEED)
    orders = {stage: random.permutation(network.shape(stage)[0]).tolist() for stage in STAGES}
    return [f"{STAGES[at % len(STAGES)]}:{orders[STAGES[at % len(STAGES)]][at // len(STAGES)]}" for at in range(count)]


def slope(pixels: npt.NDArray[Any]) -> float:
    """Of the logarithm of the mean power of grey over that of the frequency, from 4 cycles to half of the highest."""
    grey = pixels.astype(np.float64).mean(2) / 255
    window = np.outer(*(np.hanning(side) for side in grey.shape))
    power = np.abs(np.fft.fft2((grey - grey.mean()) * window)) ** 2
    rows, columns = (np.fft.fftfreq(side) * min(grey.shape) for side in grey.shape)
    ring = np.hypot(rows[:, None], columns).round().astype(int).ravel()
    mean = np.bincount(ring, power.ravel()) / np.maximum(np.bincount(ring), 1)
    at = np.arange(4, min(grey.shape) // 4)
    return float(np.polyfit(np.log(at), np.log(mean[at] + 1e-12), 1)[0])


def photograph_slopes(bench: Bench, count: int = 100) -> npt.NDArray[np.float64]:
    """Those of natural photographs as the network sees them."""
    photographs = Photographs.of(bench.folder, count)
    images = (bench.network.prepare(photographs.load(number)).images for number in range(len(photographs.sources)))
    return np.array([slope(image.levels(one_image)) for one_image in images])


def line(row: Row) -> str:
    ranks = f"rank {row['rank']}, lite1 {row['other_rank']} ({row['other_best']})" if row["rank"] else ""
    return f"{row['method']}  {row['name']}: {row['reached']:.3g}  {ranks}  {row['seconds']:.1f} s"


def summary(rows: Sequence[Row], known: dict[str, tuple[float, float]], slopes: npt.NDArray[np.float64]) -> Row:
    """The figures of one method on one kind of target."""
    shares = np.array([row["reached"] / known[row["target"]][0] for row in rows if known[row["target"]][0] > 0])
    middle = {key: float(np.median([row[key] for row in rows])) for key in ("slope", "deviation", "saturated")}
    ranks = [(row["rank"], row["other_rank"]) for row in rows if row["rank"]]
    return {
        "pictures": len(rows),
        "above p99.9": sum(row["reached"] > known[row["target"]][0] for row in rows),
        "median share": float(np.median(shares)) if len(shares) else 0.0,
        "top-1": sum(mine == 1 for mine, _ in ranks) if ranks else "–",
        "lite1 top-5": sum(theirs <= 5 for _, theirs in ranks) if ranks else "–",
        "lite1 top-1": sum(theirs == 1 for _, theirs in ranks) if ranks else "–",
        "slope": middle["slope"],
        "slope - photographs'": middle["slope"] - float(np.median(slopes)),
        "grey (std)": middle["deviation"],
        "least std": min(row["deviation"] for row in rows),
        "saturated": middle["saturated"],
        "most saturated": max(row["saturated"] for row in rows),
        "passes": float(np.mean([row["passes"] for row in rows])),
        "seconds": float(np.mean([row["seconds"] for row in rows])),
    }


def sheet(bench: Bench, method: str, rows: Sequence[Row], known: dict[str, tuple[float, float]]) -> npt.NDArray[Any]:
    """All pictures of a method, each with its figures."""
    tiles, labels = [], []
    for row in rows:
        tiles.append(ph.image(bench._path(method, row["target"]).with_suffix(".png")).pixels)
        ranks = f" rank {row['rank']} | {row['other_rank']}" if row["rank"] else ""
        labels.append(f"{row['name']} {row['reached']:.3g}/{known[row['target']][0]:.3g}{ranks}")
    return drawing.grid(tiles, 10, labels=labels)


def table(result: dict[str, Row]) -> Iterator[str]:
    """Markdown: a column for each method."""
    yield "| | " + " | ".join(result) + " |"
    yield "|---" * (len(result) + 1) + "|"
    for key in next(iter(result.values())):
        values: Iterable[Any] = (one_values[key] for one_values in result.values())
        yield f"| {key} | " + " | ".join(f"{v:.3g}" if isinstance(v, float) else str(v) for v in values) + " |"


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("folder", type=Path, nargs="?", default=os.environ.get("PHOSPHENE_IMAGES"))
    parser.add_argument("--methods", default="best,lucid,lecture")
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--passes", type=int, default=256, help="of each picture")
    parser.add_argument("--batch", type=int, default=5, help="targets made together")
    parser.add_argument("--size", type=int, help="side of the pictures; what the network takes by default")
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--classes-only", action="store_true")
    only.add_argument("--channels-only", action="store_true")
    chosen = parser.parse_args()
    if chosen.folder is None:
        parser.error("name a FOLDER of natural photographs, or set PHOSPHENE_IMAGES")
    return chosen


def main() -> None:
    chosen = options()
    bench = Bench(ph.load(), ph.load("efficientnet-lite1"), chosen.folder, chosen.out, chosen.passes, chosen.batch)
    results: dict[str, dict[str, Row]] = {}
    slopes = photograph_slopes(bench)
    print(f"slope of photographs: {np.median(slopes):.2f} ± {slopes.std():.2f}")
    for kind, draw in zip(KINDS, (classes, channels), strict=True):
        if (chosen.channels_only, chosen.classes_only)[KINDS.index(kind)]:
            continue
        targets = draw(bench.network, chosen.count)
        known = bench.naturals(targets)
        for method in chosen.methods.split(","):
            rows = bench.run(method, targets, chosen.size)
            results.setdefault(kind, {})[method] = summary(rows, known, slopes)
            image.save(
                chosen.out / f"{kind}-{files.slug(f'{method} {chosen.passes}')}.png", sheet(bench, method, rows, known)
            )
        print(f"\n{kind}\n", *table(results[kind]), sep="\n")
    files.write_json(chosen.out / "results.json", results)


if __name__ == "__main__":
    main()
