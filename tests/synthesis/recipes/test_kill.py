"""A process that is killed, twice and in the middle of things, and what goes on from what it left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

import nets
from phosphene.core.objectives.classes import Logit
from phosphene.core.objectives.units import Channel
from phosphene.core.progress import Progress
from phosphene.synthesis.loop.loop import Synthesis, synthesize
from phosphene.synthesis.loop.state_file import StateFile
from phosphene.synthesis.transforms.transforms import Affine, Crops

STEPS = 24
CHILD = "import sys; sys.path[:0] = {path!r}; import {name}; {name}.child(sys.argv[1], int(sys.argv[2]))"


def make(**how: Any) -> Synthesis:
    transforms = [Affine(3), Crops(2, noise=0.05)]
    wanted = [Logit(1), Channel("features.5", 2)]
    return synthesize(nets.build("gap"), wanted, transforms=transforms, steps=STEPS, redirect_steps=4, seed=3, **how)


def child(path: str, half: int) -> None:
    """Tells each step, writes the state after each, and has half written that of step `half` when it falls asleep."""

    def tell(what: object) -> None:
        sys.stdout.write(f"{what}\n")
        sys.stdout.flush()

    def sleep(*_: object) -> None:
        tell("half")
        sys.stdin.read()  # until killed, or nobody is left to do so

    def watch(progress: Progress) -> None:
        tell(progress.done)
        if progress.done == half:
            os.fsync = sleep  # type: ignore[assignment]

    torch.set_num_threads(1)
    StateFile.due = property(lambda self: True)  # type: ignore[method-assign, assignment]
    make(state=path, watch=watch)


def killed(path: Path, half: int, when: str, delay: float = 0.0) -> list[str]:
    """What a child told until it was killed, some seconds after it told a certain thing."""
    places = [str(Path(__file__).parent), str(Path(nets.__file__).parent)]
    script = CHILD.format(path=places, name=Path(__file__).stem)
    command, pipe = [sys.executable, "-c", script, str(path), str(half)], subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        told = []
        for line in process.stdout:
            told.append(line.strip())
            if told[-1] == when:
                break
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        told += process.stdout.read().split()
    assert process.returncode == -signal.SIGKILL, told
    return told


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no kill -9 on this system")
def test_killed_twice_it_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    path, whole = tmp_path / "state.pt", make()
    first = killed(path, 12, "4", delay=0.004)  # wherever it is then
    second = killed(path, 18, "half")
    assert int(second[0]) - len([value for value in first if value != "half"]) in {0, 1}  # nearly nothing was lost
    assert second[-2:] == ["18", "half"]
    again = make(state=path)
    assert again.notes == ("went on at step 17",)
    assert again.images.numpy().tobytes() == whole.images.numpy().tobytes()
    assert again.scores.numpy().tobytes() == whole.scores.numpy().tobytes()
