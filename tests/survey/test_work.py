"""An unfinished survey on the disk: begun, found again, refused, restored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nets
from phosphene.core.errors import RunError
from phosphene.survey.fold import Batch, Fold, decode
from phosphene.survey.here import labels_of
from phosphene.survey.roll import roll
from phosphene.survey.scan import default, described, plan_of
from phosphene.survey.work import Work
from survey.photographs import photographs

ROWS = {"pixels": ((2, 2), "u1"), "embeddings": ((3,), "<f2")}
PLAN: dict[str, Any] = dict.fromkeys("digest model preprocess layers accumulators labels seed".split(), 0)
PLAN |= {"images": 5, "batch": 2}


def batch(index: int, numbers: list[int], value: float) -> Batch:
    rows = {"embeddings": np.full((len(numbers), 3), value, np.float16)}
    return Batch(index, np.array(numbers), None, {}, rows, {4: "cut off"})  # type: ignore[arg-type]


def test_rows_stay_where_they_were_written(tmp_path: Path) -> None:
    work = Work.begin(tmp_path, PLAN, ROWS, 3)
    assert np.isnan(work.arrays["embeddings"]).all()
    work.keep(batch(1, [3, 0], 2.0))
    work.close()
    again = Work.begin(tmp_path, PLAN, ROWS, 3)
    assert again.arrays["embeddings"][[3, 0]].tolist() == [[2.0] * 3] * 2
    assert np.isnan(again.arrays["embeddings"][[1, 2, 4]]).all()
    assert not again.done.any()  # rows are there, but no state was saved with them
    again.close()


def test_states_come_back_with_what_was_done_and_what_failed(tmp_path: Path) -> None:
    network = nets.build("gap")
    images = roll(photographs(tmp_path / "photos", 10, broken=(1,)))
    plan = plan_of(network, images, default(network, 3))
    fold = Fold(plan)
    work = Work.begin(tmp_path / "run", described(network, images, plan), fold.arrays(), 3)
    for index in (0, 2):
        found = decode(network, images, index, plan.batches()[index])
        fold.add(fold.listen(network, found, labels_of(images)))
        work.keep(found)
    work.save(fold)
    work.close()
    restored = Fold(plan)
    again = Work.begin(tmp_path / "run", described(network, images, plan), fold.arrays(), 3)
    assert again.restore(restored) == ""
    assert again.done.tolist() == [True, False, True]
    assert again.failures == work.failures
    for key, state in fold.settled().items():
        for name, each in state.items():
            assert each.equal(restored.settled()[key][name]), (key, name)
    again.finish()
    assert not (tmp_path / "run" / "work").exists()
    assert not (tmp_path / "run" / "survey.json").exists()
    again.close()


@pytest.mark.parametrize("key", ["images", "digest", "model", "layers", "accumulators", "seed", "batch"])
def test_another_plan_is_refused(tmp_path: Path, key: str) -> None:
    Work.begin(tmp_path, PLAN, ROWS, 3).close()
    with pytest.raises(RunError, match=f"holds a survey of other {key} .*; asked for other"):
        Work.begin(tmp_path, {**PLAN, key: "other"}, ROWS, 3)
    Work.begin(tmp_path, PLAN, ROWS, 3).close()  # the folder was let go


def test_a_kill_before_the_plan_was_written_leaves_a_fresh_start(tmp_path: Path) -> None:
    work = Work.begin(tmp_path, PLAN, ROWS, 3)
    work.keep(batch(0, [1], 1.0))
    work.close()
    (tmp_path / "survey.json").unlink()
    again = Work.begin(tmp_path, PLAN, ROWS, 3)
    assert np.isnan(again.arrays["embeddings"]).all()
    again.close()


@pytest.mark.parametrize("cut", [10, 130])
def test_damaged_rows_are_refused(tmp_path: Path, cut: int) -> None:
    Work.begin(tmp_path, PLAN, ROWS, 3).close()
    path = tmp_path / "embeddings.npy"
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(RunError, match=r"embeddings.npy is damaged: .*run the survey again"):
        Work.begin(tmp_path, PLAN, ROWS, 3)


def test_a_damaged_plan_is_refused(tmp_path: Path) -> None:
    Work.begin(tmp_path, PLAN, ROWS, 3).close()
    (tmp_path / "survey.json").write_text(json.dumps(PLAN)[:-5])
    with pytest.raises(RunError, match=r"survey.json is damaged"):
        Work.begin(tmp_path, PLAN, ROWS, 3)
