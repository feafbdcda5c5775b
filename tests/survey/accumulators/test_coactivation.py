"""Correlations of units, against numpy in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from phosphene.survey.accumulators.accumulator import SurveyLayer
from phosphene.survey.accumulators.coactivation import CoActivation
from survey.layer_maps import LayerMaps, fold, layer_maps


def vectors(values: torch.Tensor) -> LayerMaps:
    """Images whose only place says `values`, (N, C)."""
    layer = SurveyLayer("logits", values.shape[1], (1, 1))
    return LayerMaps(layer, torch.arange(len(values)), torch.full((len(values),), -1), values[:, :, None, None])


def correlations(case: LayerMaps, size: int) -> np.ndarray:
    """The array after all images, in batches of a size."""
    state = fold(CoActivation(), case, torch.arange(len(case.numbers)).split(size))
    return CoActivation().layer_arrays(CoActivation().compact(state), case.layer)["similar"]


@pytest.mark.parametrize("size", [1, 4, 63, 64, 65, 300])
def test_equal_to_the_correlation_of_what_was_rounded(size: int) -> None:
    values = torch.randn(300, 9, generator=torch.Generator().manual_seed(0))
    values[:, 1] = 2 * values[:, 0] - 100
    values[:, 2] = -values[:, 0] + 0.1 * values[:, 2]
    rounded = (values.double() * 2**14).round().numpy()
    correlation = correlations(vectors(values), size)
    np.testing.assert_allclose(correlation, np.corrcoef(rounded.T), atol=1e-6)
    assert correlation.dtype == np.float32
    assert correlation[0, 1] == pytest.approx(1, abs=1e-6)


def test_sums_of_products_are_exact_at_the_limit() -> None:
    values = torch.tensor([[1e9, -1e9]]).expand(200, -1)
    state = CoActivation().compact(fold(CoActivation(), vectors(values), torch.arange(200).split(64)))
    assert state["gram"].tolist() == [[200 * 2**44, -200 * 2**44], [-200 * 2**44, 200 * 2**44]]
    assert state["sum"].tolist() == [200 * 2**22, -200 * 2**22]


def test_a_unit_that_never_varies_or_broke_has_none_and_the_others_have() -> None:
    correlation = correlations(layer_maps(), 4)
    unknown = [0, 2, 4, 5, 6, 7, 9, 12, 13]  # 7 lies beyond the limit everywhere
    known = np.setdiff1d(np.arange(14), unknown)
    assert np.isnan(correlation[unknown]).all()
    assert np.isnan(correlation[:, unknown]).all()
    assert np.isfinite(correlation[np.ix_(known, known)]).all()


def test_no_image_no_correlation() -> None:
    state = CoActivation().compact(CoActivation().start(SurveyLayer("logits", 2, (1, 1))))
    assert np.isnan(CoActivation().layer_arrays(state, SurveyLayer("logits", 2, (1, 1)))["similar"]).all()
