"""Randomized weights: maps that explain the network change, drawings of edges stay."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest
import skimage.data
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

import nets
import phosphene as ph
from phosphene.attribution.attribution import Attribution
from phosphene.attribution.evaluate.sanity import rank_correlation, sanity, sanity_all
from phosphene.attribution.forward_pass import ForwardPass
from phosphene.core.errors import OptionError
from phosphene.core.objectives.objective import Objective

SEEN: list[nn.Module] = []


@pytest.fixture
def edges() -> Iterator[type[Attribution]]:
    SEEN.clear()

    @dataclasses.dataclass(frozen=True)
    class Edges(Attribution, name="edges-test"):
        """The edges of the image, whatever the network."""

        def map(self, run: ForwardPass, target: Objective) -> Tensor:
            SEEN.append(run.network.module)
            return run.images.diff(dim=3, prepend=run.images[..., :1])

    yield Edges
    del Attribution.table["edges-test"]


@pytest.mark.parametrize("levels", [3, 10, 1000])
def test_rank_correlation_is_that_of_scipy_with_ties(levels: int) -> None:
    random = torch.Generator().manual_seed(levels)
    one, other = (torch.randint(levels, (4, 1, 8, 8), generator=random).float() for _ in range(2))
    truth = [spearmanr(a.flatten(), b.flatten()).statistic for a, b in zip(one, other, strict=True)]
    torch.testing.assert_close(rank_correlation(one, other), torch.tensor(truth, dtype=torch.float64))


def test_a_blank_map_correlates_with_nothing() -> None:
    assert rank_correlation(torch.zeros(1, 1, 4, 4), torch.randn(1, 1, 4, 4)).tolist() == [0]


def test_an_edge_detector_stays_at_one(edges: Any) -> None:
    result = sanity(nets.build("residual"), nets.pictures(), edges(), 1)
    torch.testing.assert_close(result.signed, torch.ones(5, 2, dtype=torch.float64))
    torch.testing.assert_close(result.absolute, torch.ones(5, 2, dtype=torch.float64))


@pytest.mark.parametrize("name", nets.NETS)
def test_the_network_is_not_changed_and_every_weight_of_its_copy_is(name: str, edges: Any) -> None:
    network = nets.build(name)
    before = {key: tensor.clone() for key, tensor in network.module.state_dict().items()}
    sanity(network, nets.pictures(), edges(), 1, stages=(1,))
    intact, randomized = SEEN
    assert intact is network.module
    assert all(torch.equal(tensor, before[key]) for key, tensor in network.module.state_dict().items())
    for key, parameter in randomized.named_parameters():
        constant = before[key].unique().numel() == 1
        assert constant or not torch.equal(parameter, before[key]), f"{key} was not randomized"
        torch.testing.assert_close(parameter.flatten().sort().values, before[key].flatten().sort().values, msg=key)


def test_randomization_goes_down_from_the_head() -> None:
    result = sanity(nets.build("gap"), nets.pictures(), "gradient", 1, stages=(0.1, 0.5, 0.75, 1))
    assert result.reached == ("head", "features.4", "features.1", "features.0")
    attention = sanity(nets.build("tokens"), nets.pictures(), "gradient", 1, stages=(0.1, 1))
    assert attention.reached == ("head", ""), "the class token belongs to the network itself and enters at the bottom"


def test_results_are_plain_repeatable_and_counted() -> None:
    one, same = (sanity(nets.build("gap"), nets.pictures(), "grad-cam", "tabby", seed=4).as_dict() for _ in range(2))
    one["cost"]["seconds"] = same["cost"]["seconds"] = 0
    assert one == same
    assert one["target"] == "tabby"
    assert (one["cost"]["forwards"], one["cost"]["backwards"]) == (12, 12)


def test_several_methods_share_the_copies() -> None:
    network, images = nets.build("gap"), nets.pictures()
    methods = [Attribution.find(name)() for name in ("gradient", "layer-cam")]
    together = sanity_all(network, images, methods, 1)
    for method, result in zip(methods, together, strict=True):
        alone = sanity(network, images, method, 1)
        assert result.method == method
        assert torch.equal(result.signed, alone.signed)
        assert torch.equal(result.absolute, alone.absolute)


def test_inference_mode_of_the_caller_makes_no_difference() -> None:
    network = nets.build("gap")
    with torch.inference_mode():
        result = sanity(network, nets.pictures(), "gradient", 1, stages=(1,))
    assert result.signed.shape == (1, 2)


@pytest.mark.parametrize("stages", [(), (0.5, 0.2), (0, 1), (1.5,)])
def test_stages_must_increase_within_one(stages: tuple[float, ...]) -> None:
    with pytest.raises(OptionError, match="increasing shares"):
        sanity(nets.build("gap"), nets.pictures(), "gradient", 1, stages=stages)


def test_on_a_real_network_gradients_change_and_guided_backprop_does_not() -> None:
    network = ph.load()
    cat = network.prepare(ph.Picture.from_array(skimage.data.chelsea())).images
    halves = {name: sanity(network, cat, name, stages=(0.5,)) for name in ("gradient", "grad-cam", "guided-backprop")}
    assert halves["gradient"].signed.abs().item() < 0.1
    assert halves["gradient"].absolute.item() < 0.5
    assert halves["grad-cam"].signed.abs().item() < 0.5
    assert halves["guided-backprop"].signed.item() > 0.7, "known of the method: it draws edges"
