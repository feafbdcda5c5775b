"""Reliability of surveys: python benchmarks/reliability.py FOLDER [kill] [damage] [broken] [memory] [truth].

kill: runs killed at random moments and resumed; every table must equal that of an undisturbed run, byte for byte.
damage: changed bytes, cuts and deletions in a finished run; verify must name each damaged file.
broken: pictures of which some are truncated; the others must be surveyed, and the exit code must be 3.
memory: peak memory of a survey of few images, and of ten times as many.
truth: every recorded patch against the activation of its image alone at the recorded position.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from phosphene.survey.engine.survey import survey
from phosphene.survey.sources.image_list import list_images
from phosphene.survey.store.run import Run
from phosphene.survey.store.table import read_table
from phosphene.zoo import load

CHILD = """
import os, resource, sys
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
from phosphene.cli.memory import keep_memory
keep_memory()
from phosphene.survey.engine.survey import survey
from phosphene.zoo import load
source = open(sys.argv[1]).read().splitlines()
survey(load("efficientnet-lite0"), source, sys.argv[2], every=float(sys.argv[3]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def child(sources: Path, run: Path, every: float = 1.0) -> subprocess.Popen[str]:
    """A process that surveys the pictures listed in a file."""
    command = [sys.executable, "-c", CHILD, str(sources), str(run), str(every)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def listed(folder: Path, work: Path, name: str, count: int) -> Path:
    """A file that lists so many pictures; where there are fewer, links repeat them."""
    sources = list(list_images(folder, labels="none").sources)
    for number in range(len(sources), count):
        link = work / "again" / f"{number}{Path(sources[number % len(sources)]).suffix}"
        link.parent.mkdir(exist_ok=True)
        link.exists() or link.symlink_to(sources[number % len(sources)])
        sources.append(str(link))
    path = work / name
    path.write_text("\n".join(sources[:count]))
    return path


def digests(run: Path) -> dict[str, str]:
    return {entry["path"]: entry["sha256"] for entry in json.loads((run / "result.json").read_text())["files"]}


def kill(folder: Path, work: Path, times: int) -> None:
    sources = listed(folder, work, "kill.txt", 300)
    start = time.monotonic()
    child(sources, work / "whole").wait()
    whole = time.monotonic() - start
    target, done, killed = work / "killed", 0, 0
    while killed < times:
        process = child(sources, target)
        try:
            process.wait(random.uniform(0.15, 0.8) * whole)
            done += 1  # finished before the kill: start another
            assert digests(target) == digests(work / "whole"), "the bytes differ"
            shutil.rmtree(target)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            killed += 1
    child(sources, target).wait()
    same = digests(target) == digests(work / "whole")
    print(f"kill: {killed} kills over {done + 1} runs of {whole:.0f} s; byte-identical: {same}")


def damage(folder: Path, work: Path, times: int) -> None:
    child(listed(folder, work, "damage.txt", 60), work / "sound").wait()
    names = sorted(path for path in (work / "sound").rglob("*") if path.is_file())
    ways: dict[str, Callable[[Path, int], None]] = {
        "flip": lambda path, at: path.write_bytes(_flipped(path.read_bytes(), at)),
        "cut": lambda path, at: path.write_bytes(path.read_bytes()[:at]),
        "delete": lambda path, _: path.unlink(),
    }
    detected = 0
    for number in range(times):
        shutil.rmtree(work / "hurt", ignore_errors=True)
        shutil.copytree(work / "sound", work / "hurt")
        victim = work / "hurt" / random.choice(names).relative_to(work / "sound")
        way = list(ways)[number % 3]
        ways[way](victim, random.randrange(victim.stat().st_size))
        command = [Path(sys.executable).with_name("phosphene"), "verify", str(work / "hurt")]
        completed = subprocess.run(command, capture_output=True, text=True, check=False)
        named = victim.name in completed.stderr and completed.returncode in {2, 3}
        detected += named
        if not named:
            print(f"  not detected: {way} of {victim.name}: {completed.returncode} {completed.stderr}")
    print(f"damage: {detected} of {times} detected and named")


def _flipped(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ (1 << random.randrange(8))]) + content[at + 1 :]


def broken(folder: Path, work: Path, count: int, bad: int) -> None:
    sources = listed(folder, work, "broken.txt", count).read_text().splitlines()
    place = work / "pictures"
    place.mkdir()
    for number, source in enumerate(sources):
        content = Path(source).read_bytes()
        content = content[: len(content) // 3] if number % (count // bad) == 0 else content
        (place / f"{number:05}{Path(source).suffix}").write_bytes(content)
    command = [Path(sys.executable).with_name("phosphene"), "survey", str(place), "-o", str(work / "some"), "--quiet"]
    completed = subprocess.run(command, capture_output=True, text=True, check=False)
    run = Run(work / "some")
    named = sum("ImageError" in line for line in completed.stderr.splitlines())
    print(f"broken: {int(run.images['ok'].sum())} results, {named} named failures, exit code {completed.returncode}")


def memory(folder: Path, work: Path, few: int, many: int) -> None:
    peaks = []
    for count in (few, many):
        process = child(listed(folder, work, f"memory{count}.txt", count), work / f"memory{count}", 20.0)
        peaks.append(int(process.communicate()[0].split()[-1]))
    print(f"memory: {few} images {peaks[0]} MB, {many} images {peaks[1]} MB: × {peaks[1] / peaks[0]:.3f}")


def truth(folder: Path, work: Path) -> None:
    network = load("efficientnet-lite0")
    run = survey(network, folder, work / "true")
    table = read_table(run.folder / "patches.parquet")
    worst = 0.0
    for number in range(len(run.images["image"])):
        own = {name: values[table["image"] == number] for name, values in table.items()}
        with torch.no_grad():
            maps = network.tap(network.prepare(run.picture(number)).images, run.layers)
        for layer in run.layers:
            at = own["layer"] == layer
            channel, row, column = (torch.from_numpy(own[name][at]).long() for name in ("channel", "row", "column"))
            values = maps[layer][0].reshape(*maps[layer].shape[1:], *(1,) * (4 - maps[layer].ndim))[
                channel, row, column
            ]
            recorded = torch.from_numpy(own["activation"][at])
            apart = (values - recorded).abs() / recorded.abs().clamp(min=1)
            worst = max([worst, *apart.tolist()])
    print(f"truth: {len(table['image']):,} patches, largest difference {worst:.1e} of the activation (or of 1)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("what", nargs="*", default=["kill", "damage", "broken", "memory", "truth"])
    parser.add_argument("--times", type=int, default=50)
    options = parser.parse_args()
    random.seed(0)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        if "kill" in options.what:
            kill(options.folder, work, options.times)
        if "damage" in options.what:
            damage(options.folder, work, options.times)
        if "broken" in options.what:
            broken(options.folder, work, 1000, 20)
        if "truth" in options.what:
            truth(options.folder, work)
        if "memory" in options.what:
            memory(options.folder, work, 500, 5000)


if __name__ == "__main__":
    main()
