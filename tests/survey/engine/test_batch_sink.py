"""The sink of finished batches, when adding them fails halfway."""

from __future__ import annotations

from pathlib import Path

import pytest

import nets
from phosphene.survey.accumulators import default_accumulators
from phosphene.survey.engine.batch_sink import CheckpointSink
from phosphene.survey.engine.fold import Batch, Fold, decode
from phosphene.survey.engine.plan import SurveyPlan
from phosphene.survey.engine.survey import resumed
from phosphene.survey.engine.threads import label_places
from phosphene.survey.sources.image_list import list_images
from survey.photographs import photographs


def test_states_whose_rows_could_not_be_written_are_not_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = nets.build("gap")
    images = list_images(photographs(tmp_path / "photos", 8))
    plan = SurveyPlan.of(network, images, default_accumulators(network, k=3))
    elsewhere, batches = Fold(plan), list[Batch]()
    for index, numbers in enumerate(plan.batches()):
        batches.append(decode(network, images, index, numbers))
        elsewhere.add(elsewhere.read(network, batches[-1], label_places(images)))
    with resumed(tmp_path / "run", network, images, plan) as (checkpoint, fold):
        sink = CheckpointSink(checkpoint, fold, len(images), save_every=1e9, watch=None)
        sink.save()
        before = (tmp_path / "run" / ".phosphene" / "state" / "states").read_bytes()

        def full(_batch: Batch) -> None:
            raise OSError("no room")

        monkeypatch.setattr(checkpoint, "add", full)
        with pytest.raises(OSError, match="no room"):
            sink.merge(elsewhere.compact(), batches)
        sink.save()
        assert (tmp_path / "run" / ".phosphene" / "state" / "states").read_bytes() == before
