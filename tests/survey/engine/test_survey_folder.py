"""The folder of a survey: only an empty one, or that of the same survey; files of others are never touched."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import nets
from phosphene.core.errors import FolderError, RunError
from phosphene.core.networks.network import Network
from phosphene.core.progress import Progress
from phosphene.survey.accumulators.moments import Moments
from phosphene.survey.engine.survey import survey
from survey.photographs import photographs

BROKEN = (4, 17)  # of the files


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photographs(tmp_path_factory.mktemp("photos"), 30, broken=BROKEN)


@pytest.fixture(scope="module")
def network() -> Network:
    return nets.build("residual")


class Stopped(Exception):
    """Stands for Ctrl-C."""


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("inside", ["work/a.png", "survey.json", "notes.txt", "embeddings.npy", ".phosphene/mine.txt"])
def test_a_folder_with_files_of_the_user_is_refused_and_left_alone(
    network: Network, folder: Path, tmp_path: Path, inside: str
) -> None:
    path = tmp_path / "own" / inside
    path.parent.mkdir(parents=True)
    path.write_bytes((folder / "class-0" / "0000.png").read_bytes())
    before = contents(tmp_path)
    with pytest.raises(FolderError, match="-o"):
        survey(network, folder, tmp_path / "own", [Moments()])
    with pytest.raises(FolderError, match="-o"):
        survey(network, tmp_path / "own", tmp_path / "own", [Moments()])
    assert contents(tmp_path) == before


def test_files_beside_a_run_are_left_alone(network: Network, folder: Path, tmp_path: Path) -> None:
    def stop(_: Progress) -> bool:
        return True

    with pytest.raises(RunError, match=r"stopped after \d+ of 30 images; call it again"):
        survey(network, folder, tmp_path / "run", [Moments()], watch=stop)
    for name in ("work/a.txt", "notes.txt"):
        (tmp_path / "run" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "run" / name).write_text("mine")
    survey(network, folder, tmp_path / "run", [Moments()])
    survey(network, folder, tmp_path / "run", [Moments()])
    assert (tmp_path / "run" / "work" / "a.txt").read_text() == (tmp_path / "run" / "notes.txt").read_text() == "mine"


def test_a_table_of_the_user_is_not_overwritten(network: Network, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="stopped"):
        survey(network, folder, tmp_path / "run", [Moments()], watch=lambda _: True)
    (tmp_path / "run" / "units.parquet").write_text("mine")
    with pytest.raises(FolderError, match=r"units.parquet was not written by phosphene"):
        survey(network, folder, tmp_path / "run", [Moments()])
    assert (tmp_path / "run" / "units.parquet").read_text() == "mine"


@pytest.mark.parametrize("name", ["pixels.npy", ""])
def test_a_run_whose_files_were_deleted_meanwhile_is_not_finished(
    network: Network, folder: Path, tmp_path: Path, name: str
) -> None:
    def delete(progress: Progress) -> None:
        path = tmp_path / "run" / name
        if progress.done > 20 and path.is_file():
            path.unlink()
        elif progress.done > 20 and path.is_dir():
            shutil.rmtree(path)

    with pytest.raises(RunError, match=r"was deleted while the survey ran; run it again into a new folder"):
        survey(network, folder, tmp_path / "run", [Moments()], workers=1, watch=delete)
    assert not (tmp_path / "run" / "result.json").exists()


@pytest.mark.parametrize(
    ("change", "what"),
    [({"seed": 1}, "seed"), ({"limit": 8}, "images"), ({"layers": "relu"}, "layers"), ({"batch": 2}, "batch")],
)
@pytest.mark.parametrize("finished", [True, False])
def test_a_folder_belongs_to_one_survey(
    network: Network, folder: Path, tmp_path: Path, change: dict[str, object], what: str, finished: bool
) -> None:
    def stop(_: Progress) -> None:
        raise Stopped

    if finished:
        survey(network, folder, tmp_path / "run", [Moments()])
    else:
        with pytest.raises(Stopped):
            survey(network, folder, tmp_path / "run", [Moments()], watch=stop)
    with pytest.raises(RunError, match=f"holds a survey of other {what} .*Choose another folder with -o"):
        survey(network, folder, tmp_path / "run", [Moments()], **change)  # type: ignore[arg-type]


def test_two_surveys_do_not_share_a_folder(network: Network, folder: Path, tmp_path: Path) -> None:
    def second(_: Progress) -> None:
        with pytest.raises(RunError, match="another survey is running in"):
            survey(network, folder, tmp_path / "run", [Moments()])

    survey(network, folder, tmp_path / "run", [Moments()], watch=second, workers=1)
