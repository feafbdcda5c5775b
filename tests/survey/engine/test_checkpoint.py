"""An unfinished survey on the disk: begun, resumed, refused, restored."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import nets
from phosphene.core import files
from phosphene.core.errors import FolderError, OutputError, RunError
from phosphene.survey.accumulators import default_accumulators
from phosphene.survey.engine.checkpoint import SurveyCheckpoint, clear, own_folder
from phosphene.survey.engine.fold import Batch, Fold, decode
from phosphene.survey.engine.plan import SurveyPlan
from phosphene.survey.engine.threads import label_places
from phosphene.survey.sources.image_list import list_images
from phosphene.survey.store.seal import PLAN as PLAN_FILE
from phosphene.survey.store.seal import STATE
from survey.photographs import photographs

ROWS = {"pixels": ((2, 2), "u1"), "embeddings": ((3,), "<f2")}
PLAN: dict[str, Any] = dict.fromkeys("digest model preprocess layers accumulators labels seed".split(), 0)
PLAN |= {"images": 5, "batch": 2}


def batch(index: int, numbers: list[int], value: float) -> Batch:
    rows = {"embeddings": np.full((len(numbers), 3), value, np.float16)}
    return Batch(index, np.array(numbers), None, {}, rows, {4: "cut off"})  # type: ignore[arg-type]


def test_rows_stay_where_they_were_written(tmp_path: Path) -> None:
    checkpoint = SurveyCheckpoint.begin(tmp_path, PLAN, ROWS, 3)
    assert np.isnan(checkpoint.arrays["embeddings"]).all()
    checkpoint.add(batch(1, [3, 0], 2.0))
    checkpoint.close()
    again = SurveyCheckpoint.begin(tmp_path, PLAN, ROWS, 3)
    assert again.arrays["embeddings"][[3, 0]].tolist() == [[2.0] * 3] * 2
    assert np.isnan(again.arrays["embeddings"][[1, 2, 4]]).all()
    assert not again.done.any()  # rows are there, but no state was saved with them
    again.close()


def test_states_come_back_with_what_was_done_and_what_failed(tmp_path: Path) -> None:
    network = nets.build("gap")
    images = list_images(photographs(tmp_path / "photos", 10, broken=(1,)))
    plan = SurveyPlan.of(network, images, default_accumulators(network, k=3))
    fold = Fold(plan)
    checkpoint = SurveyCheckpoint.begin(tmp_path / "run", plan.describe(network, images), fold.row_shapes(), 3)
    for index in (0, 2):
        decoded = decode(network, images, index, plan.batches()[index])
        fold.add(fold.read(network, decoded, label_places(images)))
        checkpoint.add(decoded)
    checkpoint.save(fold)
    checkpoint.close()
    restored = Fold(plan)
    again = SurveyCheckpoint.begin(tmp_path / "run", plan.describe(network, images), fold.row_shapes(), 3)
    again.restore(restored)
    assert not again.notes
    assert again.done.tolist() == [True, False, True]
    assert again.failures == checkpoint.failures
    for key, state in fold.compact().items():
        for name, tensor in state.items():
            assert tensor.equal(restored.compact()[key][name]), (key, name)
    clear(tmp_path / "run")
    assert not (tmp_path / "run" / ".phosphene" / "state").exists()
    again.close()


@pytest.mark.parametrize("key", ["images", "digest", "model", "layers", "accumulators", "seed", "batch"])
def test_another_plan_is_refused(tmp_path: Path, key: str) -> None:
    SurveyCheckpoint.begin(tmp_path, PLAN, ROWS, 3).close()
    with pytest.raises(RunError, match=f"holds a survey of other {key} .*; asked for other"):
        SurveyCheckpoint.begin(tmp_path, {**PLAN, key: "other"}, ROWS, 3)
    SurveyCheckpoint.begin(tmp_path, PLAN, ROWS, 3).close()  # the folder was let go


def test_a_kill_before_the_plan_was_written_leaves_a_fresh_start(tmp_path: Path) -> None:
    checkpoint = SurveyCheckpoint.begin(tmp_path, PLAN, ROWS, 3)
    checkpoint.add(batch(0, [1], 1.0))
    checkpoint.close()
    (tmp_path / PLAN_FILE).unlink()
    again = SurveyCheckpoint.begin(tmp_path, PLAN, ROWS, 3)
    assert np.isnan(again.arrays["embeddings"]).all()
    again.close()


@pytest.mark.parametrize("cut", [10, 130])
def test_damaged_rows_are_refused(tmp_path: Path, cut: int) -> None:
    SurveyCheckpoint.begin(tmp_path, PLAN, ROWS, 3).close()
    path = tmp_path / "embeddings.npy"
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(RunError, match=r"embeddings.npy is damaged: .*run the survey again"):
        SurveyCheckpoint.begin(tmp_path, PLAN, ROWS, 3)


def test_a_damaged_plan_is_refused(tmp_path: Path) -> None:
    SurveyCheckpoint.begin(tmp_path, PLAN, ROWS, 3).close()
    (tmp_path / PLAN_FILE).write_text(json.dumps(PLAN)[:-5])
    with pytest.raises(RunError, match=r"plan.json is damaged"):
        SurveyCheckpoint.begin(tmp_path, PLAN, ROWS, 3)


def test_rows_of_an_image_that_is_lost_meanwhile_are_blank(tmp_path: Path) -> None:
    checkpoint = SurveyCheckpoint.begin(tmp_path, PLAN, ROWS, 3)
    checkpoint.add(batch(1, [4, 0], 2.0))  # and then a kill, before a state was saved
    assert checkpoint.arrays["embeddings"][0].tolist() == [2.0] * 3
    lost = Batch(1, np.array([], np.int64), torch.zeros(0), {}, {}, {0: "gone"})
    checkpoint.add(lost)
    assert np.isnan(checkpoint.arrays["embeddings"][0]).all()
    checkpoint.close()


def test_states_without_their_plan_are_not_believed(tmp_path: Path) -> None:
    network = nets.build("gap")
    images = list_images(photographs(tmp_path / "photos", 10))
    plan = SurveyPlan.of(network, images, default_accumulators(network, k=3))
    for kept in (True, False):
        fold = Fold(plan)
        checkpoint = SurveyCheckpoint.begin(tmp_path / "run", plan.describe(network, images), fold.row_shapes(), 3)
        checkpoint.restore(fold)
        assert not checkpoint.done.any()
        if kept:
            checkpoint.done[:] = True
            checkpoint.save(fold)
            (tmp_path / "run" / PLAN_FILE).unlink()
        checkpoint.close()


def test_what_kills_left_of_half_written_states_is_removed(tmp_path: Path) -> None:
    SurveyCheckpoint.begin(tmp_path, PLAN, ROWS, 3).close()
    for folder in (tmp_path, tmp_path / STATE):
        (folder / ".phosphene-0123456789abcdef.tmp").write_text("half")
    SurveyCheckpoint.begin(tmp_path, PLAN, ROWS, 3).close()
    assert not list(tmp_path.rglob("*.tmp"))


def test_tables_of_others_are_neither_written_over_nor_taken(tmp_path: Path) -> None:
    (tmp_path / "images.parquet").write_text("mine")
    with pytest.raises(FolderError, match=r"holds images.parquet, .*choose another folder with -o"):
        SurveyCheckpoint.begin(tmp_path, PLAN, ROWS, 3)
    assert [path.name for path in tmp_path.iterdir()] == ["images.parquet"]


def test_a_survey_that_another_process_has_just_finished_is_left_alone(tmp_path: Path) -> None:
    own_folder(tmp_path).claim("result.json")
    (tmp_path / "result.json").write_text("{}")
    with pytest.raises(RunError, match=r"another process has just finished .*run the same command again"):
        SurveyCheckpoint.begin(tmp_path, PLAN, ROWS, 3)
    assert not list(tmp_path.glob("*.npy"))


def test_a_full_disk_is_told_before_the_work_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(files, "reserve", full)
        with pytest.raises(OutputError, match="the disk is full"):
            SurveyCheckpoint.begin(tmp_path, PLAN, ROWS, 3)
    checkpoint = SurveyCheckpoint.begin(tmp_path, PLAN, ROWS, 3)
    assert np.isnan(checkpoint.arrays["embeddings"]).all()
    checkpoint.close()


def test_damaged_facts_name_the_folder_to_delete(tmp_path: Path) -> None:
    SurveyCheckpoint.begin(tmp_path, PLAN, ROWS, 3).close()
    (tmp_path / STATE / "facts.npy").unlink()
    with pytest.raises(RunError, match=f"facts.npy is damaged: .* Delete {tmp_path} and run the survey again"):
        SurveyCheckpoint.begin(tmp_path, PLAN, ROWS, 3)


def test_another_torch_or_device_is_remarked(tmp_path: Path) -> None:
    SurveyCheckpoint.begin(tmp_path, {**PLAN, "torch": "2.6", "device": "cpu"}, ROWS, 3).close()
    checkpoint = SurveyCheckpoint.begin(tmp_path, {**PLAN, "torch": "2.7", "device": "cpu"}, ROWS, 3)
    assert checkpoint.notes == ("begun with torch 2.6, finished with 2.7: last bits may differ",)
    checkpoint.close()
