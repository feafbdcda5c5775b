"""Layers by name and pattern."""

from __future__ import annotations

import pytest

import nets
from phosphene.core.errors import LayerError
from phosphene.core.networks.layer_patterns import match_layers


@pytest.mark.parametrize(
    ("name", "expected"),
    [("gap", ("features.2", "features.5")), ("functional", ("one", "two")), ("shared", ("relu", "relu#1"))],
)
def test_without_blocks_it_is_relus_or_else_convolutions(name: str, expected: tuple[str, ...]) -> None:
    assert match_layers(nets.build(name)) == (*expected, "logits")


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["features.*"], [f"features.{number}" for number in range(6)]),
        (["features.?"], [f"features.{number}" for number in range(6)]),
        (["**"], [*(f"features.{number}" for number in range(6)), "pool", "head", "logits"]),
        (["logits, features.2", "features.2"], ["features.2", "logits"]),
        (["pool"], ["pool"]),
    ],
)
def test_patterns(patterns: list[str], expected: list[str]) -> None:
    assert [name for name in match_layers(nets.build("gap"), patterns) if name != "features"] == expected


def test_a_star_stays_within_a_step() -> None:
    with pytest.raises(LayerError, match=r"no layer of .* matches 'f\*.x'; .*phosphene layers"):
        match_layers(nets.build("gap"), ["f*.x"])
