"""Devices without float64, such as those of Apple: what is computed in float64 is first moved to the CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import nets
from phosphene.attribution.evaluate.sanity import rank_correlation
from phosphene.attribution.localize.cutout import cutout
from phosphene.core.networks.network import Box
from phosphene.studies.evidence.neurons import effective_field
from phosphene.weights.response import channel_responses


class Narrow(torch.Tensor):
    """A tensor on such a device: operations on it that return float64 fail until it is moved to the CPU."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = super().__torch_function__(func, types, args, kwargs or {})
        if func is torch.Tensor.cpu:
            return result.as_subclass(torch.Tensor)
        if isinstance(result, Narrow) and result.dtype == torch.float64:
            raise TypeError("the device has no float64")
        return result


WORK: dict[str, Callable[[Tensor], object]] = {
    "predictions": lambda values: nets.build("gap").top_classes(values.view(2, -1)[:, :5]),
    "responses": lambda values: channel_responses(values.view(2, 4, 9)),
    "ranks": lambda values: rank_correlation(values.view(2, -1), values.view(2, -1)),
    "effective field": lambda values: effective_field(values.view(2, 6, 6), Box(0, 0, 6, 6)),
    "cut-out": lambda values: cutout(torch.linspace(0, 1, 108).view(1, 3, 6, 6), values.view(2, 1, 6, 6)[:1]).mask,
}


@pytest.mark.parametrize("name", WORK)
def test_nothing_is_float64_on_the_device(name: str) -> None:
    values = torch.rand(72, generator=torch.Generator().manual_seed(0))
    narrow, usual = (WORK[name](given) for given in (values.as_subclass(Narrow), values))
    assert str(narrow) == str(usual)


def test_the_device_of_these_tests_has_none() -> None:
    with pytest.raises(TypeError, match="no float64"):
        torch.rand(3).as_subclass(Narrow).double()
