"""Preferences for a class, against their definition in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from phosphene.core.errors import OptionError
from phosphene.survey.accumulators.accumulator import SurveyLayer
from phosphene.survey.accumulators.selectivity import ClassSelectivity
from survey.layer_maps import LABELS, LayerMaps, layer_maps, tables


def vectors(values: list[list[float]], labels: list[int], names: tuple[str, ...] = LABELS) -> LayerMaps:
    """Images whose only place says `values`, (N, C)."""
    maps = torch.tensor(values)[:, :, None, None]
    return LayerMaps(
        SurveyLayer("logits", maps.shape[1], (1, 1), names), torch.arange(len(maps)), torch.tensor(labels), maps
    )


def contrast(one: np.ndarray, rest: np.ndarray) -> tuple[float, float]:
    """Selectivity and d′ by definition."""
    gap, size = one.mean() - rest.mean(), abs(one.mean()) + abs(rest.mean())
    within = (len(one) * one.var() + len(rest) * rest.var()) / (len(one) + len(rest))
    return gap / size, gap / np.sqrt(within)


def test_equal_to_the_definition() -> None:
    case = layer_maps()
    classes = tables(ClassSelectivity(), case)["classes"]
    for channel in (0, 1, 2, 3, 10, 12):
        finite = case.finite[:, channel].numpy()
        most = case.maps[:, channel].amax((1, 2)).double().numpy()
        for number, label in enumerate(LABELS):
            mine = case.labels.numpy() == number
            one, rest = most[finite & mine], most[finite & ~mine]
            (row,) = ((classes["channel"] == channel) & (classes["class"] == label)).nonzero()[0]
            assert classes["images"][row] == len(one)
            measured = [classes[name][row] for name in ("mean_max", "selectivity", "d_prime")]
            np.testing.assert_allclose(measured, [one.mean(), *contrast(one, rest)], rtol=1e-5, atol=1e-6)


def test_a_small_difference_of_large_values_is_not_lost() -> None:
    random = np.random.default_rng(0)
    values = np.float32(1e4 + 1e-2 * random.standard_normal((300, 1)) + np.repeat([[0.02], [0.0], [0.0]], 100, 0))
    classes = tables(ClassSelectivity(), vectors(values.tolist(), np.repeat(range(3), 100).tolist()))["classes"]
    dense = values.astype(float)
    np.testing.assert_allclose(classes["d_prime"][0], contrast(dense[:100], dense[100:])[1], rtol=1e-4)


def test_where_classes_are_of_one_size_the_rest_is_that_of_morcos() -> None:
    values = np.random.default_rng(1).random((30, 1)).astype(np.float32)
    labels = [0, 1, 2] * 10
    classes = tables(ClassSelectivity(), vectors(values.tolist(), labels))["classes"]
    means = np.array([values[number::3].mean(dtype=float) for number in range(3)])
    rest = np.array([np.delete(means, number).mean() for number in range(3)])
    np.testing.assert_allclose(classes["selectivity"], (means - rest) / (means + rest), rtol=1e-4)


def test_an_image_without_a_label_belongs_to_the_rest() -> None:
    classes = tables(ClassSelectivity(), vectors([[3.0], [3.0], [1.0], [1.0]], [0, 0, -1, -1]))["classes"]
    assert classes["class"].tolist() == ["cat"]
    assert classes["images"].tolist() == [2]
    assert classes["selectivity"].tolist() == [0.5]


def test_the_most_selective_class_of_each_unit() -> None:
    values = [[9.0, 0.0, 5.0], [8.0, 0.0, 5.0], [1.0, 3.0, 5.0], [1.0, 4.0, 5.0], [2.0, 0.0, 5.0], [1.0, 0.0, 5.0]]
    units = tables(ClassSelectivity(), vectors(values, [0, 0, 1, 1, 2, 2]))["units"]
    assert units["class"].tolist()[:2] == ["cat", "dog"]
    assert units["selectivity"][1] == 1
    assert units["selectivity"][2] == 0
    assert np.isnan(units["d_prime"][2])  # nothing varies
    assert units["d_prime"][0] == pytest.approx(contrast(np.array([9.0, 8]), np.array([1.0, 1, 2, 1]))[1])


def test_a_class_of_too_few_images_names_no_unit() -> None:
    case = vectors([[9.0], [1.0], [1.0], [2.0], [2.0]], [0, 1, 1, 2, 2])
    assert tables(ClassSelectivity(), case)["units"]["class"].tolist() == ["quay"]
    assert tables(ClassSelectivity(min_images=1), case)["units"]["class"].tolist() == ["cat"]
    assert tables(ClassSelectivity(), case)["classes"]["class"].tolist() == list(LABELS)
    units = tables(ClassSelectivity(min_images=3), case)["units"]
    assert units["class"].tolist() == [""]
    assert np.isnan([units["selectivity"], units["d_prime"]]).all()


def test_of_classes_as_selective_the_more_distinct_one_is_named() -> None:
    # Logits: the rest's mean is negative for both, so both selectivities are 1.
    values = [[0.1], [0.5], [9.0], [8.0], *[[-7.0]] * 6]
    units = tables(ClassSelectivity(), vectors(values, [0, 0, 1, 1, *[2] * 6]))["units"]
    assert units["selectivity"].tolist() == [1]
    assert units["class"].tolist() == ["dog"]


def test_without_labels_or_without_others_nothing_is_known() -> None:
    alone = vectors([[1.0], [2.0]], [0, 0])
    assert np.isnan(tables(ClassSelectivity(), alone)["classes"]["selectivity"]).all()
    assert tables(ClassSelectivity(), alone)["units"]["class"].tolist() == [""]
    written = tables(ClassSelectivity(), vectors([[1.0], [2.0]], [-1, -1], ()))
    assert len(written["classes"]["channel"]) == 0
    assert written["units"]["class"].tolist() == [""]


def test_broken_images_count_in_no_class() -> None:
    case = vectors([[1.0], [torch.nan], [3.0], [1.0]], [0, 0, 1, 1])
    assert tables(ClassSelectivity(), case)["classes"]["images"].tolist() == [1, 2]


def test_memory_is_what_it_says() -> None:
    state = ClassSelectivity().start(SurveyLayer("layer", 50, (7, 7), tuple(map(str, range(1000)))))
    assert sum(tensor.nbytes for tensor in state.values()) == 50 * (12 * 1001 + 32)


def test_none_is_too_few() -> None:
    with pytest.raises(OptionError, match=r"min_images is 0; .* at least 1"):
        ClassSelectivity(0)
