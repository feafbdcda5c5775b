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

import phosphene.survey.accumulators  # noqa: F401  # registers all
from phosphene.survey.accumulators.accumulator import Accumulator, AccumulatorState, BatchStatistics
from survey.layer_maps import LayerMaps, fold, layer_maps

FEW: dict[str, Any] = {"k": 5, "per_octave": 2}
"""Options that make an accumulator keep little, so that much is turned away."""

NAMES = sorted(Accumulator.table)

every = pytest.mark.parametrize("accumulator", [Accumulator.find(n)() for n in NAMES], ids=NAMES)
shapes = pytest.mark.parametrize("grid", [(5, 4), (1, 1)], ids=["maps", "vectors"])


def few(accumulator: Accumulator) -> Accumulator:
    cls = type(accumulator)
    return cls(**{option.name: FEW[option.name] for option in cls.options() if option.name in FEW})


def data(accumulator: Accumulator, state: AccumulatorState) -> bytes:
    """The settled state as it would be saved."""
    return save({name: tensor.contiguous() for name, tensor in accumulator.compact(state).items()})


def merged(accumulator: Accumulator, case: LayerMaps, *states: AccumulatorState) -> AccumulatorState:
    state = accumulator.start(case.layer)
    for other in states:
        accumulator.merge(state, load(data(accumulator, other)))
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
    case, accumulator = layer_maps(grid=grid), few(accumulator)
    plain = fold(accumulator, case, torch.arange(150).split(4))
    other = fold(accumulator, case, shuffled(150, size))
    assert data(accumulator, plain) == data(accumulator, other)
    equal(*(accumulator.result(accumulator.compact(state), case.layer) for state in (plain, other)))


@every
def test_parts_merge_to_the_whole_in_any_order_and_grouping(accumulator: Accumulator) -> None:
    case, accumulator = layer_maps(), few(accumulator)
    whole = data(accumulator, fold(accumulator, case, torch.arange(150).split(4)))
    a, b, c = (fold(accumulator, case, shuffled(150, 50)[part].split(7)) for part in range(3))
    for order in itertools.permutations((a, b, c)):
        assert data(accumulator, merged(accumulator, case, *order)) == whole
    left = merged(accumulator, case, merged(accumulator, case, a, b), c)
    right = merged(accumulator, case, a, merged(accumulator, case, b, c))
    assert data(accumulator, left) == data(accumulator, right) == whole


@every
def test_nothing_is_the_identity(accumulator: Accumulator) -> None:
    case, accumulator = layer_maps(), few(accumulator)
    state = fold(accumulator, case, torch.arange(150).split(4))
    before = data(accumulator, state)
    assert data(accumulator, merged(accumulator, case, state)) == before
    accumulator.merge(state, accumulator.compact(accumulator.start(case.layer)))
    assert data(accumulator, state) == before


@every
def test_a_survey_goes_on_from_what_was_saved(accumulator: Accumulator) -> None:
    case, accumulator = layer_maps(), few(accumulator)
    first, second = torch.arange(66).split(4), torch.arange(66, 150).split(4)
    saved = data(accumulator, fold(accumulator, case, first))
    state = accumulator.start(case.layer)
    accumulator.merge(state, pickle.loads(pickle.dumps(load(saved))))
    for which in second:
        statistics = case.statistics(which)
        accumulator.update(state, statistics)
        accumulator.compact(state)  # looking changes nothing
    whole = data(accumulator, fold(accumulator, case, [*first, *second]))
    assert data(accumulator, state) == whole


@every
def test_joined_batches_are_one_batch(accumulator: Accumulator) -> None:
    case, accumulator = layer_maps(), few(accumulator)
    apart, together, waiting = accumulator.start(case.layer), accumulator.start(case.layer), list[BatchStatistics]()
    for which in shuffled(150, 7):
        statistics = case.statistics(which)
        accumulator.update(apart, statistics)
        waiting.append(statistics)
    accumulator.update(together, BatchStatistics.joined(waiting))
    assert data(accumulator, apart) == data(accumulator, together)


@every
def test_what_others_will_read_is_left_alone(accumulator: Accumulator) -> None:
    case = layer_maps()
    statistics, state = case.statistics(range(20)), accumulator.start(case.layer)
    before = copy.deepcopy(vars(statistics))
    accumulator.update(state, statistics)
    for name, value in before.items():
        if isinstance(value, torch.Tensor):
            assert value.numpy().tobytes() == getattr(statistics, name).numpy().tobytes(), name
    settled = accumulator.compact(state)
    kept = data(accumulator, state)
    accumulator.result(settled, case.layer)
    assert data(accumulator, state) == kept


@every
def test_of_a_broken_map_nothing_counts_but_that_it_broke(accumulator: Accumulator) -> None:
    one, other = layer_maps(), layer_maps()
    broken = ~one.finite
    other.maps[broken] = torch.tensor([torch.inf, -torch.inf, 7.0, torch.nan]).expand_as(other.maps)[broken]
    states = [fold(accumulator, maps, torch.arange(150).split(4)) for maps in (one, other)]
    assert data(accumulator, states[0]) == data(accumulator, states[1])


@every
@pytest.mark.parametrize("images", [0, 1, 150])
def test_tables_keep_the_contract(accumulator: Accumulator, images: int) -> None:
    case = layer_maps()
    state = fold(accumulator, case, torch.arange(images).split(4) if images else ())
    returned = accumulator.result(accumulator.compact(state), case.layer)
    assert set(returned) == set(accumulator.tables)
    for table, columns in returned.items():
        lengths = {len(column) for column in columns.values()}
        assert len(lengths) == 1
        if table == "units":
            assert lengths == {case.layer.channels}
        else:
            assert columns["channel"].dtype == np.int32
            assert (np.diff(columns["channel"]) >= 0).all() or "side" in columns
        for name, column in columns.items():
            assert column.dtype == object or column.dtype.kind in "ifb", (table, name)
            assert column.dtype.kind == "b" or column.dtype == object or not np.signbit(column[column == 0]).any(), name


@every
def test_every_channel_has_rows_of_its_own(accumulator: Accumulator) -> None:
    case = layer_maps()
    state = accumulator.start(case.layer)
    for name, tensor in accumulator.compact(state).items():
        assert tensor.ndim == 0 or tensor.shape[0] == case.layer.channels, name


@every
def test_options_survive_a_copy(accumulator: Accumulator) -> None:
    assert pickle.loads(pickle.dumps(accumulator)) == accumulator == few(accumulator).__class__()
    assert accumulator.manifest()["name"] == accumulator.name
    assert type(accumulator).summary().endswith((".", ":"))


def test_the_world_is_as_bad_as_it_claims() -> None:
    case = layer_maps()
    finite = case.finite
    assert finite.any(1).all()
    assert not finite.all(0)[[0, 2, 12, 13]].any()
    assert finite.all(0)[[1, 3, 4, 5]].all()
    most = case.maps.amax((2, 3))
    assert len(most[:, 3].unique()) == 2
    assert len(most[:, 8].abs().clamp(max=2**20).unique()) == 1
    numbers: Sequence[int] = case.numbers.tolist()
    assert len(set(numbers)) == 150
    assert numbers != sorted(numbers)
