"""A survey computed by a Ray cluster has the bytes of one made by threads, also when workers die."""

from __future__ import annotations

import dataclasses
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from phosphene.core.errors import OptionError, RunError
from phosphene.core.images import image
from phosphene.core.networks.network import Network, Preprocess
from phosphene.core.progress import Progress, Watch
from phosphene.survey.engine.ray_cluster import RayCluster
from phosphene.survey.engine.survey import survey
from phosphene.survey.store.run import Run
from survey.photographs import photographs

PICTURES, BROKEN = 40, (3, 20)


class Watched(nn.Module):
    """A tiny network that logs in which process it ran; white pictures kill that process."""

    def __init__(self, log: Path, *, mortal: bool = False) -> None:
        super().__init__()
        self.log, self.mortal = str(log), mortal
        self.blocks = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 12, 3, padding=1), nn.ReLU())
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        Path(self.log, f"{os.getpid()}.pid").touch()
        if self.mortal and (x.amin((1, 2, 3)) > 1).any():
            os.kill(os.getpid(), signal.SIGKILL)
        return self.head(self.blocks(x).mean((2, 3)))

    def processes(self) -> set[int]:
        """Where it ran, this process aside."""
        return {int(path.stem) for path in Path(self.log).glob("*.pid")} - {os.getpid()}


def watched(log: Path, *, mortal: bool = False) -> tuple[Network, Watched]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = Watched(log, mortal=mortal).eval()
    return Network(module, Preprocess((32, 32), (0.5,) * 3, (0.25,) * 3), name="watched"), module


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photographs(tmp_path_factory.mktemp("photos"), PICTURES, broken=BROKEN)


@pytest.fixture(scope="module")
def here(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    network, _ = watched(tmp_path_factory.mktemp("log"))
    return survey(network, folder, tmp_path_factory.mktemp("here") / "run", k=5, workers=1)


@pytest.fixture(scope="module")
def two() -> Iterator[RayCluster]:
    """Two workers on a Ray of this machine, which all tests share."""
    cluster = RayCluster("local", workers=2, share=1)
    with cluster.connected():
        yield cluster


def digests(run: Run) -> dict[str, str]:
    return {entry["path"]: entry["sha256"] for entry in run.record["files"]}


def test_two_workers_come_to_the_same_bytes(folder: Path, here: Run, two: RayCluster, tmp_path: Path) -> None:
    network, module = watched(tmp_path)
    told: list[Progress] = []
    run = survey(network, folder, tmp_path / "run", k=5, ray=two, watch=told.append)
    assert digests(run) == digests(here)
    assert len(run.record["errors"]) == len(BROKEN)
    assert len(module.processes()) == 2
    assert (told[-1].done, told[-1].total, told[-1].what) == (PICTURES, PICTURES, f"survey, {len(BROKEN)} failed")
    assert len(told) in {5, 6}  # ten shares came merged in pairs; the last two perhaps alone


def after(images: int) -> Watch:
    """Ctrl-C once so many images are done."""

    def interrupt(progress: Progress) -> None:
        if progress.done >= images:
            raise KeyboardInterrupt

    return interrupt


def test_workers_go_on_where_it_was_and_one_that_is_killed_is_replaced(
    folder: Path, here: Run, two: RayCluster, tmp_path: Path
) -> None:
    network, module = watched(tmp_path)
    killed: list[int] = []

    def kill(_: Progress) -> None:
        if not killed:
            killed.append(module.processes().pop())
            os.kill(killed[0], signal.SIGKILL)

    with pytest.raises(KeyboardInterrupt):
        survey(network, folder, tmp_path / "run", k=5, workers=1, watch=after(8))
    assert digests(survey(network, folder, tmp_path / "run", k=5, ray=two, watch=kill)) == digests(here)
    assert killed


def test_what_workers_did_before_an_interrupt_lasts(folder: Path, here: Run, two: RayCluster, tmp_path: Path) -> None:
    network, _ = watched(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        survey(network, folder, tmp_path / "run", k=5, ray=two, watch=after(16))
    told: list[int] = []
    run = survey(network, folder, tmp_path / "run", k=5, workers=1, watch=lambda progress: told.append(progress.done))
    assert told[0] > 16
    assert digests(run) == digests(here)


def test_images_that_kill_every_worker_are_named_and_few_others(two: RayCluster, tmp_path: Path) -> None:
    photographs(tmp_path / "photos", 15)
    image.save(tmp_path / "photos" / "class-1" / "white.png", np.full((40, 40, 3), 255, np.uint8))
    network, _ = watched(tmp_path, mortal=True)
    with pytest.raises(RunError, match=r"3 workers died.*white.png") as error:
        survey(network, tmp_path / "photos", tmp_path / "run", k=5, ray=dataclasses.replace(two, share=2))
    assert str(error.value).count(".png") == 4  # its batch, of a share of two


def test_a_failure_of_the_network_is_that_of_the_network(folder: Path, two: RayCluster, tmp_path: Path) -> None:
    network, module = watched(tmp_path)
    network.layers, network.classes  # noqa: B018  the passes that a survey needs to plan
    module.head = nn.Linear(7, 5)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        survey(network, folder, tmp_path / "run", k=5, ray=two)


def test_what_a_cluster_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OptionError, match=r"0 workers .* at least 1"):
        RayCluster("local", workers=0)
    with pytest.raises(OptionError, match=r"'locl' is no address .* HOST:PORT, or local"):
        RayCluster("locl")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(OptionError, match=r"pip install 'phosphene\[ray\]'"):
        RayCluster("local")


def test_a_cluster_that_is_not_there(folder: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    network, _ = watched(tmp_path)
    with pytest.raises(RunError, match=f"no Ray cluster answers at 127.0.0.1:{port} .* ray start --head"):
        survey(network, folder, tmp_path / "run", ray=RayCluster(f"127.0.0.1:{port}"))
