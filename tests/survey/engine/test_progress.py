"""Where finished batches go, when taking them in fails halfway."""

from __future__ import annotations

from pathlib import Path

import pytest

import nets
from phosphene.survey.engine.fold import Batch, Fold, decode
from phosphene.survey.engine.progress import Progress
from phosphene.survey.engine.survey import default, ours, plan_of
from phosphene.survey.engine.threads import labels_of
from phosphene.survey.sources.image_list import roll
from survey.photographs import photographs


def test_states_whose_rows_could_not_be_written_are_not_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = nets.build("gap")
    images = roll(photographs(tmp_path / "photos", 8))
    plan = plan_of(network, images, default(network, 3))
    elsewhere, batches = Fold(plan), list[Batch]()
    for index, numbers in enumerate(plan.batches()):
        batches.append(decode(network, images, index, numbers))
        elsewhere.add(elsewhere.listen(network, batches[-1], labels_of(images)))
    with ours(tmp_path / "run", network, images, plan) as (work, fold):
        progress = Progress(work, fold, len(images), every=1e9, watch=None)
        progress.save()
        before = (tmp_path / "run" / "work" / "state").read_bytes()

        def full(_batch: Batch) -> None:
            raise OSError("no room")

        monkeypatch.setattr(work, "keep", full)
        with pytest.raises(OSError, match="no room"):
            progress.merge(elsewhere.settled(), batches)
        progress.save()
        assert (tmp_path / "run" / "work" / "state").read_bytes() == before
