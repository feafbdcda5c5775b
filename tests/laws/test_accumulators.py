"""What holds for every registered accumulator: the same images give the same bytes, in whatever order and company."""

from __future__ import annotations

import copy
import itertools
import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

import phosphene.survey.accumulators.coactivation
import phosphene.survey.engine.survey  # noqa: F401  # all the others
from phosphene.survey.accumulators.accumulator import Accumulator, Seen, State
from survey.worlds import World, fold, world

FEW: dict[str, Any] = {"k": 5, "each": 2}
"""Options that make an accumulator keep little, so that much is turned away."""

NAMES = sorted(Accumulator.table)
TABLES = {"units", "patches", "classes", "histograms", "samples", "similar"}

every = pytest.mark.parametrize("accumulator", [Accumulator.find(n)() for n in NAMES], ids=NAMES)
shapes = pytest.mark.parametrize("grid", [(5, 4), (1, 1)], ids=["maps", "vectors"])


def few(accumulator: Accumulator) -> Accumulator:
    cls = type(accumulator)
    return cls(**{option.name: FEW[option.name] for option in cls.options() if option.name in FEW})


def data(accumulator: Accumulator, state: State) -> bytes:
    """The settled state as it would be saved."""
    return save({name: each.contiguous() for name, each in accumulator.settle(state).items()})


def merged(accumulator: Accumulator, world: World, *states: State) -> State:
    state = accumulator.start(world.site)
    for each in states:
        accumulator.merge(state, load(data(accumulator, each)))
    return state


def shuffled(count: int, size: int, seed: int = 1) -> tuple[torch.Tensor, ...]:
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed)).split(size)


def equal(one: Any, other: Any) -> None:
    for table in set(one) | set(other):
        assert list(one[table]) == list(other[table])
        for name, column in one[table].items():
            assert column.dtype == other[table][name].dtype
            np.testing.assert_array_equal(column, other[table][name], strict=True)


def test_there_are_some() -> None:
    assert len(NAMES) >= 8


@every
@shapes
@pytest.mark.parametrize("size", [1, 2, 7, 37, 150])
def test_order_and_size_of_batches_do_not_matter(accumulator: Accumulator, grid: tuple[int, int], size: int) -> None:
    every, accumulator = world(grid=grid), few(accumulator)
    plain = fold(accumulator, every, torch.arange(150).split(4))
    other = fold(accumulator, every, shuffled(150, size))
    assert data(accumulator, plain) == data(accumulator, other)
    equal(*(accumulator.result(accumulator.settle(each), every.site) for each in (plain, other)))


@every
def test_parts_merge_to_the_whole_in_any_order_and_grouping(accumulator: Accumulator) -> None:
    every, accumulator = world(), few(accumulator)
    whole = data(accumulator, fold(accumulator, every, torch.arange(150).split(4)))
    a, b, c = (fold(accumulator, every, shuffled(150, 50)[part].split(7)) for part in range(3))
    for order in itertools.permutations((a, b, c)):
        assert data(accumulator, merged(accumulator, every, *order)) == whole
    left = merged(accumulator, every, merged(accumulator, every, a, b), c)
    right = merged(accumulator, every, a, merged(accumulator, every, b, c))
    assert data(accumulator, left) == data(accumulator, right) == whole


@every
def test_nothing_is_the_identity(accumulator: Accumulator) -> None:
    every, accumulator = world(), few(accumulator)
    state = fold(accumulator, every, torch.arange(150).split(4))
    before = data(accumulator, state)
    assert data(accumulator, merged(accumulator, every, state)) == before
    accumulator.merge(state, accumulator.settle(accumulator.start(every.site)))
    assert data(accumulator, state) == before


@every
def test_a_survey_goes_on_from_what_was_saved(accumulator: Accumulator) -> None:
    every, accumulator = world(), few(accumulator)
    first, second = torch.arange(66).split(4), torch.arange(66, 150).split(4)
    saved = data(accumulator, fold(accumulator, every, first))
    state = accumulator.start(every.site)
    accumulator.merge(state, pickle.loads(pickle.dumps(load(saved))))
    for which in second:
        seen = every.see(which)
        accumulator.update(state, seen)
        accumulator.settle(state)  # looking changes nothing
    whole = data(accumulator, fold(accumulator, every, [*first, *second]))
    assert data(accumulator, state) == whole


@every
def test_joined_batches_are_one_batch(accumulator: Accumulator) -> None:
    every, accumulator = world(), few(accumulator)
    apart, together, waiting = accumulator.start(every.site), accumulator.start(every.site), list[Seen]()
    for which in shuffled(150, 7):
        seen = every.see(which)
        accumulator.update(apart, seen)
        waiting.append(seen)
    accumulator.update(together, Seen.joined(waiting))
    assert data(accumulator, apart) == data(accumulator, together)


@every
def test_what_others_will_read_is_left_alone(accumulator: Accumulator) -> None:
    every = world()
    seen, state = every.see(range(20)), accumulator.start(every.site)
    before = copy.deepcopy(vars(seen))
    accumulator.update(state, seen)
    for name, value in before.items():
        if isinstance(value, torch.Tensor):
            assert value.numpy().tobytes() == getattr(seen, name).numpy().tobytes(), name
    settled = accumulator.settle(state)
    kept = data(accumulator, state)
    accumulator.result(settled, every.site)
    assert data(accumulator, state) == kept


@every
def test_of_a_broken_map_nothing_counts_but_that_it_broke(accumulator: Accumulator) -> None:
    one, other = world(), world()
    broken = ~one.finite
    other.maps[broken] = torch.tensor([torch.inf, -torch.inf, 7.0, torch.nan]).expand_as(other.maps)[broken]
    states = [fold(accumulator, each, torch.arange(150).split(4)) for each in (one, other)]
    assert data(accumulator, states[0]) == data(accumulator, states[1])


@every
@pytest.mark.parametrize("images", [0, 1, 150])
def test_tables_keep_the_contract(accumulator: Accumulator, images: int) -> None:
    every = world()
    state = fold(accumulator, every, torch.arange(images).split(4) if images else ())
    found = accumulator.result(accumulator.settle(state), every.site)
    assert set(found) <= TABLES
    for table, columns in found.items():
        lengths = {len(column) for column in columns.values()}
        assert len(lengths) == 1
        if table in ("units", "similar"):
            assert lengths == {every.site.channels}
        else:
            assert columns["channel"].dtype == np.int32
            assert (np.diff(columns["channel"]) >= 0).all() or "side" in columns
        for name, column in columns.items():
            assert column.dtype == object or column.dtype.kind in "ifb", (table, name)
            assert column.dtype.kind == "b" or column.dtype == object or not np.signbit(column[column == 0]).any(), name


@every
def test_every_channel_has_rows_of_its_own(accumulator: Accumulator) -> None:
    every = world()
    state = accumulator.start(every.site)
    for name, tensor in accumulator.settle(state).items():
        assert tensor.ndim == 0 or tensor.shape[0] == every.site.channels, name


@every
def test_options_survive_a_copy(accumulator: Accumulator) -> None:
    assert pickle.loads(pickle.dumps(accumulator)) == accumulator == few(accumulator).__class__()
    assert accumulator.manifest()["name"] == accumulator.name
    assert type(accumulator).summary().endswith((".", ":"))


def test_the_world_is_as_bad_as_it_claims() -> None:
    every = world()
    finite = every.finite
    assert finite.any(1).all()
    assert not finite.all(0)[[0, 2, 12, 13]].any()
    assert finite.all(0)[[1, 3, 4, 5]].all()
    most = every.maps.amax((2, 3))
    assert len(most[:, 3].unique()) == 2
    assert len(most[:, 8].abs().clamp(max=2**20).unique()) == 1
    numbers: Sequence[int] = every.rows.tolist()
    assert len(set(numbers)) == 150
    assert numbers != sorted(numbers)
