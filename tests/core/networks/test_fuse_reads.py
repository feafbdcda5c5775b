"""Twins of twins: whatever is read of them is there, and the mode of the caller leaves nothing in them."""

from __future__ import annotations

import pytest
import torch

import nets
from phosphene.core.errors import NetworkError
from phosphene.core.networks.fuse import fused
from phosphene.core.networks.network import Network


def norms(network: Network) -> int:
    """How many batch norms still do something."""
    return sum(getattr(each, "running_var", None) is not None for each in network.module.modules())


@pytest.mark.parametrize(("name", "conv"), [("gap", "features.0"), ("residual", "conv")])
def test_a_convolution_that_a_twin_has_folded_is_unfolded_once_it_is_read(name: str, conv: str) -> None:
    network, images = nets.build(name), nets.pictures()
    folded = fused(network)
    twin = fused(folded, [conv])
    assert (norms(folded), norms(twin)) == (0, 1)
    read, truth, lost = (each.tap(images, [conv, "logits"]) for each in (twin, network, folded))
    assert torch.allclose(read[conv], truth[conv], atol=1e-5)
    assert torch.allclose(read["logits"], truth["logits"], atol=1e-5)
    assert not torch.allclose(lost[conv], truth[conv], atol=1e-2)


def test_twins_of_twins_are_made_of_the_original() -> None:
    network = nets.build("gap")
    first = fused(network, ["features.0"])
    assert fused(first, ["features.0"]) is fused(first) is first
    second = fused(fused(first, ["features.2"]), ["features.0", "features.5"])
    assert second.module.features[1].running_var is network.module.features[1].running_var
    assert fused(second, ["features.5"]) is second


def test_a_network_that_cannot_be_copied_stays_its_own_twin_whatever_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Network) -> Network:
        raise NetworkError("no")

    network = nets.build("gap")
    with monkeypatch.context() as patch:
        patch.setattr(Network, "replicate", refuse)
        assert fused(network) is fused(network, ["features.0"]) is network
    assert norms(fused(network)) == 0  # nothing of it was kept: now that it can be copied, it is


@pytest.mark.parametrize("name", ["gap", "residual", "tokens"])
def test_a_twin_made_within_inference_mode_lets_gradients_through(name: str) -> None:
    network, usual = nets.build(name), fused(nets.build(name))
    with torch.inference_mode():
        twin = fused(network)
    weights = [*twin.module.parameters(), *twin.module.buffers()]
    assert not any(each.is_inference() for each in weights)
    slopes = []
    for each in (twin, usual):
        leaf = nets.pictures().requires_grad_()
        slopes.append(torch.autograd.grad(each(leaf)[:, 0].sum(), leaf)[0])
    assert torch.equal(*slopes)


def test_a_twin_made_within_inference_mode_may_be_asked_there_too() -> None:
    network, images = nets.build("gap"), nets.pictures()
    usual = fused(network)(images)
    with torch.inference_mode():
        assert torch.equal(fused(network)(images), usual)
