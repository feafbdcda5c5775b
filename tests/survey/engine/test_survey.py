"""The survey: what it records is correct, and it gives the same bytes however it is interrupted or shared."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import nets
from phosphene.core import files
from phosphene.core.errors import FolderError, LayerError, OptionError, RunError
from phosphene.core.networks.network import Network
from phosphene.core.progress import Progress
from phosphene.survey.accumulators import Accumulator, default_accumulators
from phosphene.survey.accumulators.embedding import Embeddings
from phosphene.survey.accumulators.moments import DeadUnits, Moments, Sparsity
from phosphene.survey.accumulators.top import TopPatches
from phosphene.survey.engine import finish
from phosphene.survey.engine import survey as engine
from phosphene.survey.engine.fold import Fold
from phosphene.survey.engine.plan import SurveyPlan
from phosphene.survey.engine.survey import survey
from phosphene.survey.sources.image_list import list_images
from phosphene.survey.store.run import Run
from phosphene.survey.store.table import write_table
from survey.photographs import photographs

BROKEN = (4, 17)  # of the files
GONE = (11, 25)  # their numbers in the list


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


def maps(network: Network, folder: Path, layer: str) -> NDArray[np.float32]:
    """All maps of a layer, (N, C, H, W), computed in the batches of the survey; NaN for broken pictures."""
    images = list_images(folder)
    by_number: dict[int, torch.Tensor] = {}
    for numbers in SurveyPlan.of(network, images, [TopPatches()]).batches():
        good = [number for number in numbers.tolist() if number not in GONE]
        batch = torch.cat([network.prepare(images.load(number)).images for number in good])
        with torch.no_grad():
            by_number |= dict(zip(good, network.tap(batch, [layer])[layer], strict=True))
    blank = torch.full_like(next(iter(by_number.values())), torch.nan)
    return torch.stack([by_number.get(number, blank) for number in range(len(images))]).numpy()


@pytest.mark.parametrize("layer", ["cap", "relu"])
def test_patches_are_those_of_all_maps_at_once(network: Network, run: Run, folder: Path, layer: str) -> None:
    dense = maps(network, folder, layer)
    good = [number for number in range(30) if number not in GONE]
    for channel in range(dense.shape[1]):
        for side, best in (("top", dense[:, channel].max((1, 2))), ("bottom", -dense[:, channel].min((1, 2)))):
            expected = sorted(good, key=lambda number, best=best: (-best[number], number))[:5]
            patches = run.patches(layer, channel, side)
            assert [patch.image for patch in patches] == expected
            for patch in patches:
                assert dense[patch.image, channel, patch.row, patch.column] == patch.activation


def test_units_are_told_in_numbers(network: Network, run: Run, folder: Path) -> None:
    dense = maps(network, folder, "relu").astype(np.float64)
    units = run.units("relu")
    peaks = dense.max((2, 3))
    assert np.allclose(units["mean_max"], np.nanmean(peaks, 0), rtol=1e-6, atol=1e-7)
    assert np.allclose(units["mean"], np.nanmean(dense, (0, 2, 3)), rtol=1e-5, atol=1e-7)
    assert units["places_positive"].tolist() == (dense > 0).sum((0, 2, 3)).tolist()
    assert units["images_positive"].tolist() == (peaks > 0).sum(0).tolist()
    assert set(units["images"].tolist()) == {28}


def test_images_know_their_label_their_class_and_what_was_wrong(network: Network, run: Run) -> None:
    images = run.images
    assert images["label"].tolist() == [f"class-{number // 10}" for number in range(30)]
    assert np.flatnonzero(~images["ok"]).tolist() == list(GONE)
    assert all(line.count("0004.png") + line.count("0017.png") == 1 for line in run.record["errors"])
    assert len(run.record["errors"]) == 2
    good = int(np.flatnonzero(images["ok"])[0])
    logits = network(network.prepare(run.picture(good)).images)[0]
    assert images["predicted"][good] == logits.argmax().item()
    assert images["logit"][good] == pytest.approx(logits.max().item(), rel=1e-5)
    assert images["probability"][good] == pytest.approx(logits.softmax(0).max().item(), rel=1e-5)


def test_embeddings_are_rows_and_failures_are_nan(network: Network, run: Run) -> None:
    assert np.isnan(run.embeddings[list(GONE)]).all()
    assert not np.isnan(np.delete(run.embeddings, GONE, 0)).any()
    assert run.pixels.shape == (30, 32, 32, 3)
    assert run.record["embedding"] == Embeddings().layers(network, ())[0]


@pytest.mark.parametrize("workers", [2, 5])
def test_workers_do_not_change_a_byte(network: Network, run: Run, folder: Path, tmp_path: Path, workers: int) -> None:
    assert digests(survey(network, folder, tmp_path / "run", k=5, workers=workers)) == digests(run)


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


def test_without_labels_the_classes_are_those_that_the_network_names(
    network: Network, folder: Path, tmp_path: Path
) -> None:
    run = survey(network, folder, tmp_path / "run", k=5, labels="none")
    predictions = set(run.images["prediction"].tolist()) - {""}
    assert set(run.classes("relu", 0)["class"].tolist()) == predictions
    assert run.labeled is False


def test_a_run_reads_the_layers_that_were_chosen(network: Network, folder: Path, tmp_path: Path) -> None:
    run = survey(network, folder, tmp_path / "run", [TopPatches(2, weakest=False)], layers="cap,conv")
    assert run.layers == ("cap", "conv")
    assert run.images["predicted"].tolist() == [-1] * 30
    with pytest.raises(LayerError, match=r"no layer of .* matches"):
        survey(network, folder, tmp_path / "other", layers="nope")
    with pytest.raises(OptionError, match="give each once"):
        survey(network, folder, tmp_path / "other", [Moments(), Moments()])


def test_the_network_is_left_as_it_was_found(folder: Path, tmp_path: Path) -> None:
    network = nets.build("residual")
    network.module.train()
    network.module.requires_grad_(True)
    before = {name: tensor.clone() for name, tensor in network.module.state_dict().items()}
    torch.manual_seed(3)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    survey(network, folder, tmp_path / "run", [Moments()], workers=3)
    assert network.module.training
    assert all(parameter.requires_grad for parameter in network.module.parameters())
    assert all(torch.equal(before[name], tensor) for name, tensor in network.module.state_dict().items())
    assert not any(module._forward_hooks for module in network.module.modules())
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads


def test_a_network_of_one_layer_goes_without_embeddings(folder: Path, tmp_path: Path) -> None:
    network = nets.build("linear")
    assert not any(isinstance(accumulator, Embeddings) for accumulator in default_accumulators(network))
    run = survey(network, folder, tmp_path / "run", k=3)
    assert run.layers == ("logits",)


@pytest.mark.parametrize("name", ["tokens", "tuple", "in-place", "dead"])
def test_other_kinds_of_networks(name: str, folder: Path, tmp_path: Path) -> None:
    network = nets.build(name)
    run = survey(network, folder, tmp_path / "run", k=3)
    assert len(run.units()["channel"]) == sum(network.shape(layer)[0] for layer in run.layers)
    if name == "dead":
        assert run.units("features.5")["dead"].all()


def test_the_state_does_not_grow_with_the_images(network: Network, folder: Path) -> None:
    images = list_images(folder)
    fold = Fold(SurveyPlan.of(network, images, default_accumulators(network, k=5)))
    sizes = {key: {name: tensor.shape for name, tensor in state.items()} for key, state in fold.states.items()}
    assert all(30 not in shape for state in sizes.values() for shape in state.values())


@pytest.mark.parametrize("shape", [(), (4, 225)])
def test_what_is_neither_vector_nor_map_is_refused(shape: tuple[int, ...], folder: Path, tmp_path: Path) -> None:
    class Odd(torch.nn.Conv2d):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            maps = super().forward(x)
            return maps.flatten(2) if shape else maps.mean((1, 2, 3))

    network = Network(torch.nn.Sequential(torch.nn.ReLU(), Odd(3, 4, 3, 2)), nets.build("gap").preprocess)
    with pytest.raises(LayerError, match=r"logits of network gives .*Choose other layers"):
        survey(network, folder, tmp_path / "run", [Moments()])


def test_logits_that_are_maps_are_surveyed_like_any(folder: Path, tmp_path: Path) -> None:
    class Segmentation(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = torch.nn.Conv2d(3, 4, 3, 2), torch.nn.Conv2d(4, 2, 1)

        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            y = self.body(x).relu()
            return {"out": self.head(y), "aux": y}

    run = survey(Network(Segmentation(), nets.build("gap").preprocess), folder, tmp_path / "run", labels="none")
    assert run.grid("logits") == (15, 15)
    assert run.images["predicted"].tolist() == [-1] * 30
    assert set(run.units("logits")["class"]) == {""}


def test_a_network_that_cannot_be_copied_works_in_one_thread_and_says_so(folder: Path, tmp_path: Path) -> None:
    class Alone(torch.nn.Conv2d):
        def __deepcopy__(self, memo: object) -> object:
            raise TypeError("it holds a lock")

    network = Network(torch.nn.Sequential(Alone(3, 4, 3, 2), torch.nn.ReLU()), nets.build("gap").preprocess)
    run = survey(network, folder, tmp_path / "run", [Moments()], workers=2)
    assert any("cannot be copied for another thread: it holds a lock" in note for note in run.record["notes"])


def test_weights_that_changed_are_another_survey(folder: Path, tmp_path: Path) -> None:
    network = nets.build("residual")
    assert not network.sha256  # they come from no file
    survey(network, folder, tmp_path / "run", [Moments()])
    with torch.no_grad():
        next(network.module.parameters()).add_(1)
    with pytest.raises(RunError, match="holds a survey of other model"):
        survey(network, folder, tmp_path / "run", [Moments()])


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


def test_accumulators_that_write_the_same_are_refused_before_the_pass(network: Network, folder: Path) -> None:
    class Peaks(DeadUnits, name="test-peaks"): ...

    class Undeclared(DeadUnits, name="test-undeclared"):
        tables: ClassVar[Mapping[str, str]] = {}

    images = list_images(folder)
    try:
        with pytest.raises(OptionError, match="column max of units is written by dead-units and by test-peaks"):
            SurveyPlan.of(network, images, [DeadUnits(), Peaks()])
        with pytest.raises(OptionError, match="test-undeclared returns the table units and does not declare it"):
            SurveyPlan.of(network, images, [Undeclared()])
    finally:
        for name in ("test-peaks", "test-undeclared"):
            del Accumulator.table[name]
    with pytest.raises(OptionError, match="give another name"):

        class Images(DeadUnits, name="test-images"):
            tables: ClassVar[Mapping[str, str]] = {"images": "an image"}

    assert "test-images" not in Accumulator.table


def test_a_plan_with_an_accumulator_that_is_not_loaded_says_so(network: Network, folder: Path, tmp_path: Path) -> None:
    class Own(Sparsity, name="test-own"): ...

    with pytest.raises(RunError, match="stopped"):
        survey(network, folder, tmp_path / "run", [Own()], watch=lambda _: True)
    del Accumulator.table["test-own"]
    with pytest.raises(RunError, match=r"with the accumulator .test-own., which is not known here; load .* --plugin"):
        survey(network, folder, tmp_path / "run", [Sparsity()])
