"""What a survey keeps while it runs: decoding, listening, folding, merging."""

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
from phosphene.survey.accumulators.accumulator import State
from phosphene.survey.accumulators.histogram import Histogram
from phosphene.survey.engine import fold as module
from phosphene.survey.engine.checkpoint import Work
from phosphene.survey.engine.fold import Batch, Fold, Plan, decode
from phosphene.survey.engine.progress import Progress, wait
from phosphene.survey.engine.ray_workers import Done
from phosphene.survey.engine.survey import default, described, plan_of
from phosphene.survey.engine.threads import labels_of
from phosphene.survey.sources.image_list import Roll, roll
from survey.photographs import photographs

States = dict[tuple[str, str], State]


@pytest.fixture(scope="module")
def network() -> Network:
    return nets.build("gap")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Roll:
    return roll(photographs(tmp_path_factory.mktemp("photos"), 22, broken=(3, 6)))


@pytest.fixture
def plan(network: Network, images: Roll) -> Plan:
    return plan_of(network, images, default(network, 3))


def heard(network: Network, images: Roll, plan: Plan, fold: Fold, index: int) -> Batch:
    batch = decode(network, images, index, plan.batches()[index])
    fold.add(fold.listen(network, batch, labels_of(images)))
    return batch


def alike(one: States, other: States) -> bool:
    return all(torch.equal(each, other[key][name]) for key, state in one.items() for name, each in state.items())


def test_batches_hold_every_image_once_in_an_order_of_the_seed(plan: Plan, network: Network, images: Roll) -> None:
    batches = plan.batches()
    assert sorted(np.concatenate(batches).tolist()) == list(range(22))
    assert [len(each) for each in batches] == [4, 4, 4, 4, 4, 2]
    other = plan_of(network, images, default(network, 3), seed=1).batches()
    assert np.concatenate(batches).tolist() != np.concatenate(other).tolist()


def test_what_cannot_be_read_is_named_and_the_rest_is_decoded(network: Network, images: Roll) -> None:
    sources = [Path(each).name for each in images.sources]
    numbers = np.array([sources.index(name) for name in ("0000.png", "0003.png", "0005.png")])
    batch = decode(network, images, 0, numbers)
    assert batch.numbers.tolist() == [numbers[0], numbers[2]]
    assert batch.images.shape == (2, 3, *network.preprocess.size)
    assert list(batch.failures) == [numbers[1]]
    assert "0003.png" in batch.failures[int(numbers[1])]
    assert [int(batch.facts[number]["seen"]) for number in numbers.tolist()] == [1, 2, 1]


def test_a_batch_of_which_nothing_can_be_read_is_no_trouble(network: Network, images: Roll, plan: Plan) -> None:
    sources, fold = [Path(each).name for each in images.sources], Fold(plan)
    batch = decode(network, images, 0, np.array([sources.index("0003.png"), sources.index("0006.png")]))
    fold.add(fold.listen(network, batch, labels_of(images)))
    assert len(batch.numbers) == 0
    assert alike(fold.settled(), Fold(plan).settled())


def test_folds_of_some_batches_merge_to_the_fold_of_all(network: Network, images: Roll, plan: Plan) -> None:
    whole, parts = Fold(plan), [Fold(plan), Fold(plan)]
    for index in range(6):
        heard(network, images, plan, whole, index)
        heard(network, images, plan, parts[index % 2], index)
    for first, second in (parts, parts[::-1]):
        merged = Fold(plan)
        merged.merge(first.settled())
        merged.merge(second.settled())
        assert alike(merged.settled(), whole.settled())


def test_how_many_batches_are_folded_at_once_changes_nothing(
    network: Network, images: Roll, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for together in (1, 3, 8):
        monkeypatch.setattr(module, "TOGETHER", together)
        fold = Fold(plan)
        for index in range(6):
            heard(network, images, plan, fold, index)
        found.append(fold.settled())
    assert alike(found[0], found[1])
    assert alike(found[0], found[2])


def test_rows_and_facts_of_a_batch(network: Network, images: Roll, plan: Plan) -> None:
    batch = heard(network, images, plan, Fold(plan), 0)
    assert {name: rows.shape[1:] for name, rows in batch.rows.items()} == {"pixels": (32, 32, 3), "embeddings": (12,)}
    logits = network(batch.images)
    for row, number in enumerate(batch.numbers.tolist()):
        assert int(batch.facts[number]["predicted"]) == logits[row].argmax().item()
    assert {name: kind for name, (_, kind) in Fold(plan).arrays().items()} == {"pixels": "u1", "embeddings": "<f2"}


def test_running_out_of_files_is_no_fault_of_an_image(
    network: Network, images: Roll, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(Path, "open", exhausted)
    with pytest.raises(RunError, match=r"too many open files.* Allow more open files"):
        decode(network, images, 0, np.array([0]))


def test_nothing_is_saved_of_a_fold_that_failed_halfway(
    network: Network, images: Roll, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TOGETHER", 1)
    fold = Fold(plan)
    work = Work.begin(tmp_path / "run", described(network, images, plan), fold.arrays(), 9)
    progress = Progress(work, fold, len(images), every=0, watch=None)
    first, second = (decode(network, images, index, plan.batches()[index]) for index in (0, 1))
    progress.add(first, fold.listen(network, first, labels_of(images)))
    saved = (tmp_path / "run" / "work" / "state").read_bytes()
    seen = fold.listen(network, second, labels_of(images))
    with monkeypatch.context() as patch:
        patch.setattr(Histogram, "update", _fail)
        with pytest.raises(MemoryError):
            progress.add(second, seen)
    progress.add(second, seen)  # by another thread
    progress.save()
    assert (tmp_path / "run" / "work" / "state").read_bytes() == saved
    work.close()


def _fail(*_: object) -> None:
    raise MemoryError


def test_a_thread_that_fails_stops_the_others_at_once(network: Network, images: Roll, plan: Plan) -> None:
    done = Done(plan)

    def go_on() -> None:
        assert done.stop.wait(10)

    with ThreadPoolExecutor(2) as pool, pytest.raises(MemoryError):
        wait([pool.submit(go_on), pool.submit(_fail)], done)
