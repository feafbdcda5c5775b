"""A survey that is interrupted or killed resumes, and gives the same bytes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import nets
from phosphene.core import files
from phosphene.core.errors import RunError
from phosphene.core.networks.network import Network
from phosphene.core.progress import Progress
from phosphene.survey.accumulators.moments import Moments
from phosphene.survey.engine import finish
from phosphene.survey.engine import survey as engine
from phosphene.survey.engine.survey import survey
from phosphene.survey.store.run import Run
from phosphene.survey.store.table import write_table
from survey.photographs import photographs

BROKEN = (4, 17)  # of the files


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photographs(tmp_path_factory.mktemp("photos"), 30, broken=BROKEN)


@pytest.fixture(scope="module")
def network() -> Network:
    return nets.build("residual")


@pytest.fixture(scope="module")
def run(network: Network, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return survey(network, folder, tmp_path_factory.mktemp("runs") / "run", k=5, workers=1)


def digests(run: Run) -> dict[str, str]:
    return {entry["path"]: entry["sha256"] for entry in run.record["files"]}


class Stopped(Exception):
    """Stands for Ctrl-C."""


@pytest.mark.parametrize("after", [1, 3, 8])
def test_an_interrupted_survey_goes_on(network: Network, run: Run, folder: Path, tmp_path: Path, after: int) -> None:
    told = []

    def stop(progress: Progress) -> None:
        told.append(progress.done)
        if len(told) == after:
            raise Stopped

    with pytest.raises(Stopped):
        survey(network, folder, tmp_path / "run", k=5, workers=2, watch=stop)
    with pytest.raises(RunError, match="run the same phosphene survey command again"):
        Run(tmp_path / "run")
    again: list[int] = []
    resumed = survey(network, folder, tmp_path / "run", k=5, watch=lambda progress: again.append(progress.done))
    assert digests(resumed) == digests(run)
    assert len(again) <= 8 - after + 1  # what was saved is not done again
    assert not (tmp_path / "run" / ".phosphene" / "state").exists()


def test_a_finished_survey_is_opened_not_repeated(
    network: Network, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = survey(network, folder, tmp_path / "run", [Moments()])
    monkeypatch.setattr(engine, "run_threads", lambda *_, **__: pytest.fail("it ran again"))
    assert survey(network, folder, tmp_path / "run", [Moments()]).record == first.record


def test_a_damaged_state_is_not_believed(network: Network, run: Run, folder: Path, tmp_path: Path) -> None:
    def stop(progress: Progress) -> None:
        if progress.done > 12:
            raise Stopped

    with pytest.raises(Stopped):
        survey(network, folder, tmp_path / "run", k=5, watch=stop)
    state = tmp_path / "run" / ".phosphene" / "state" / "states"
    content = bytearray(state.read_bytes())
    content[len(content) // 2] ^= 1
    state.write_bytes(content)
    resumed = survey(network, folder, tmp_path / "run", k=5)
    assert digests(resumed) == digests(run)
    assert any("was damaged, so all images were read again" in note for note in resumed.notes)


def test_what_a_kill_after_the_end_left_is_removed(network: Network, folder: Path, tmp_path: Path) -> None:
    run = survey(network, folder, tmp_path / "run", [Moments()])
    (run.folder / ".phosphene" / "state").mkdir()
    (run.folder / ".phosphene" / "state" / "states").write_text("old")
    (run.folder / ".phosphene" / "state" / "plan.json").write_text("{}")
    assert survey(network, folder, tmp_path / "run", [Moments()]).record == run.record
    assert sorted(path.name for path in run.folder.iterdir()) == sorted(
        [".phosphene", "result.json", *(entry["path"] for entry in run.record["files"])]
    )


CHILD = """
import sys, torch
torch.set_num_threads(1)
sys.path[:0] = {path!r}
import nets
from phosphene.survey.engine.survey import survey
survey(nets.build("residual"), {folder!r}, sys.argv[1], k=5, save_every=0.02, watch=lambda *_: print(flush=True))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no kill -9 on this system")
def test_a_kill_at_any_moment_changes_no_byte(run: Run, folder: Path, tmp_path: Path) -> None:
    script = CHILD.format(path=[str(Path(nets.__file__).parent)], folder=str(folder))
    random, target = np.random.default_rng(0), tmp_path / "run"
    for _ in range(3):
        child = subprocess.Popen([sys.executable, "-c", script, str(target)], stdout=subprocess.PIPE)
        assert child.stdout is not None
        child.stdout.readline()  # the first batch is in
        time.sleep(random.uniform(0, 0.04))
        os.kill(child.pid, signal.SIGKILL)
        child.communicate()
    resumed = survey(nets.build("residual"), folder, target, k=5)
    assert digests(resumed) == digests(run)
    assert files.sha256(target / "embeddings.npy") == digests(run)["embeddings.npy"]


@pytest.mark.parametrize("table", ["images", "units", "samples"])
@pytest.mark.parametrize("after", [False, True])
def test_an_interrupt_while_tables_are_written_changes_no_byte(
    network: Network, run: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: str, after: bool
) -> None:
    def write(path: Path, columns: dict[str, NDArray[np.generic]]) -> Path:
        if path.stem == table and not after:
            raise KeyboardInterrupt
        write_table(path, columns)
        if path.stem == table:
            raise KeyboardInterrupt
        return path

    with monkeypatch.context() as patch:
        patch.setattr(finish, "write_table", write)
        with pytest.raises(KeyboardInterrupt):
            survey(network, folder, tmp_path / "run", k=5)
    with pytest.raises(RunError, match="is not finished"):
        Run(tmp_path / "run")
    assert digests(survey(network, folder, tmp_path / "run", k=5)) == digests(run)
