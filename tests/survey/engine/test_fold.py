"""The states of a survey: decoding, reading, updating, merging."""

from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

import nets
from phosphene.core.errors import RunError
from phosphene.core.networks.network import Network
from phosphene.survey.accumulators import default_accumulators
from phosphene.survey.accumulators.histogram import Histogram
from phosphene.survey.engine import fold as module
from phosphene.survey.engine.batch_sink import CheckpointSink, wait_for
from phosphene.survey.engine.checkpoint import SurveyCheckpoint
from phosphene.survey.engine.fold import Batch, Fold, States, decode
from phosphene.survey.engine.plan import SurveyPlan
from phosphene.survey.engine.ray_workers import ShareSink
from phosphene.survey.engine.threads import label_places
from phosphene.survey.sources.image_list import ImageList, list_images
from survey.photographs import photographs


@pytest.fixture(scope="module")
def network() -> Network:
    return nets.build("gap")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> ImageList:
    return list_images(photographs(tmp_path_factory.mktemp("photos"), 22, broken=(3, 6)))


@pytest.fixture
def plan(network: Network, images: ImageList) -> SurveyPlan:
    return SurveyPlan.of(network, images, default_accumulators(network, k=3))


def add_batch(network: Network, images: ImageList, plan: SurveyPlan, fold: Fold, index: int) -> Batch:
    batch = decode(network, images, index, plan.batches()[index])
    fold.add(fold.read(network, batch, label_places(images)))
    return batch


def equal(one: States, other: States) -> bool:
    return all(torch.equal(tensor, other[key][name]) for key, state in one.items() for name, tensor in state.items())


def test_batches_hold_every_image_once_in_an_order_of_the_seed(
    plan: SurveyPlan, network: Network, images: ImageList
) -> None:
    batches = plan.batches()
    assert sorted(np.concatenate(batches).tolist()) == list(range(22))
    assert [len(batch) for batch in batches] == [4, 4, 4, 4, 4, 2]
    other = SurveyPlan.of(network, images, default_accumulators(network, k=3), seed=1).batches()
    assert np.concatenate(batches).tolist() != np.concatenate(other).tolist()


def test_what_cannot_be_read_is_named_and_the_rest_is_decoded(network: Network, images: ImageList) -> None:
    sources = [Path(source).name for source in images.sources]
    numbers = np.array([sources.index(name) for name in ("0000.png", "0003.png", "0005.png")])
    batch = decode(network, images, 0, numbers)
    assert batch.numbers.tolist() == [numbers[0], numbers[2]]
    assert batch.images.shape == (2, 3, *network.preprocess.size)
    assert list(batch.failures) == [numbers[1]]
    assert "0003.png" in batch.failures[int(numbers[1])]
    assert [int(batch.facts[number]["status"]) for number in numbers.tolist()] == [1, 2, 1]


def test_a_batch_without_a_readable_image_is_empty(network: Network, images: ImageList, plan: SurveyPlan) -> None:
    sources, fold = [Path(source).name for source in images.sources], Fold(plan)
    batch = decode(network, images, 0, np.array([sources.index("0003.png"), sources.index("0006.png")]))
    fold.add(fold.read(network, batch, label_places(images)))
    assert len(batch.numbers) == 0
    assert equal(fold.compact(), Fold(plan).compact())


def test_folds_of_some_batches_merge_to_the_fold_of_all(network: Network, images: ImageList, plan: SurveyPlan) -> None:
    whole, parts = Fold(plan), [Fold(plan), Fold(plan)]
    for index in range(6):
        add_batch(network, images, plan, whole, index)
        add_batch(network, images, plan, parts[index % 2], index)
    for first, second in (parts, parts[::-1]):
        merged = Fold(plan)
        merged.merge(first.compact())
        merged.merge(second.compact())
        assert equal(merged.compact(), whole.compact())


def test_how_many_batches_are_folded_at_once_changes_nothing(
    network: Network, images: ImageList, plan: SurveyPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = []
    for together in (1, 3, 8):
        monkeypatch.setattr(module, "BATCHES_PER_UPDATE", together)
        fold = Fold(plan)
        for index in range(6):
            add_batch(network, images, plan, fold, index)
        states.append(fold.compact())
    assert equal(states[0], states[1])
    assert equal(states[0], states[2])


def test_rows_and_facts_of_a_batch(network: Network, images: ImageList, plan: SurveyPlan) -> None:
    batch = add_batch(network, images, plan, Fold(plan), 0)
    assert {name: rows.shape[1:] for name, rows in batch.rows.items()} == {"pixels": (32, 32, 3), "embeddings": (12,)}
    logits = network(batch.images)
    for row, number in enumerate(batch.numbers.tolist()):
        assert int(batch.facts[number]["predicted"]) == logits[row].argmax().item()
    assert {name: kind for name, (_, kind) in Fold(plan).row_shapes().items()} == {"pixels": "u1", "embeddings": "<f2"}


def test_too_many_open_files_is_not_an_error_of_an_image(
    network: Network, images: ImageList, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(Path, "open", exhausted)
    with pytest.raises(RunError, match=r"too many open files.* Allow more open files"):
        decode(network, images, 0, np.array([0]))


def test_nothing_is_saved_of_a_fold_that_failed_halfway(
    network: Network, images: ImageList, plan: SurveyPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCHES_PER_UPDATE", 1)
    fold = Fold(plan)
    checkpoint = SurveyCheckpoint.begin(tmp_path / "run", plan.describe(network, images), fold.row_shapes(), 9)
    sink = CheckpointSink(checkpoint, fold, len(images), save_every=0, watch=None)
    first, second = (decode(network, images, index, plan.batches()[index]) for index in (0, 1))
    sink.add(first, fold.read(network, first, label_places(images)))
    saved = (tmp_path / "run" / ".phosphene" / "state" / "states").read_bytes()
    statistics = fold.read(network, second, label_places(images))
    with monkeypatch.context() as patch:
        patch.setattr(Histogram, "update", _fail)
        with pytest.raises(MemoryError):
            sink.add(second, statistics)
    sink.add(second, statistics)  # by another thread
    sink.save()
    assert (tmp_path / "run" / ".phosphene" / "state" / "states").read_bytes() == saved
    checkpoint.close()


def _fail(*_: object) -> None:
    raise MemoryError


def test_a_thread_that_fails_stops_the_others_at_once(network: Network, images: ImageList, plan: SurveyPlan) -> None:
    sink = ShareSink(plan)

    def go_on() -> None:
        assert sink.stop.wait(10)

    with ThreadPoolExecutor(2) as pool, pytest.raises(MemoryError):
        wait_for([pool.submit(go_on), pool.submit(_fail)], sink)
