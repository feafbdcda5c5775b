"""Fused copies of fused copies: all layers that are read are there, and the modes of the caller do not matter."""

from __future__ import annotations

import pytest
import torch

import nets
from phosphene.core.errors import NetworkError
from phosphene.core.networks.fuse import fused
from phosphene.core.networks.network import Network


def norms(network: Network) -> int:
    """The number of batch norms that are not folded."""
    return sum(getattr(module, "running_var", None) is not None for module in network.module.modules())


@pytest.mark.parametrize(("name", "conv"), [("gap", "features.0"), ("residual", "conv")])
def test_a_folded_convolution_is_unfolded_once_it_is_read(name: str, conv: str) -> None:
    network, images = nets.build(name), nets.pictures()
    folded = fused(network)
    fast = fused(folded, [conv])
    assert (norms(folded), norms(fast)) == (0, 1)
    read, truth, lost = (variant.tap(images, [conv, "logits"]) for variant in (fast, network, folded))
    assert torch.allclose(read[conv], truth[conv], atol=1e-5)
    assert torch.allclose(read["logits"], truth["logits"], atol=1e-5)
    assert not torch.allclose(lost[conv], truth[conv], atol=1e-2)


def test_fused_copies_of_fused_copies_are_made_of_the_original() -> None:
    network = nets.build("gap")
    first = fused(network, ["features.0"])
    assert fused(first, ["features.0"]) is fused(first) is first
    second = fused(fused(first, ["features.2"]), ["features.0", "features.5"])
    assert second.module.features[1].running_var is network.module.features[1].running_var
    assert fused(second, ["features.5"]) is second


def test_a_network_that_cannot_be_copied_is_returned_whatever_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Network) -> Network:
        raise NetworkError("no")

    network = nets.build("gap")
    with monkeypatch.context() as patch:
        patch.setattr(Network, "replicate", refuse)
        assert fused(network) is fused(network, ["features.0"]) is network
    assert norms(fused(network)) == 0  # nothing of it was kept: now that it can be copied, it is


@pytest.mark.parametrize("name", ["gap", "residual", "tokens"])
def test_a_copy_fused_within_inference_mode_is_differentiable(name: str) -> None:
    network, usual = nets.build(name), fused(nets.build(name))
    with torch.inference_mode():
        fast = fused(network)
    weights = [*fast.module.parameters(), *fast.module.buffers()]
    assert not any(weight.is_inference() for weight in weights)
    slopes = []
    for variant in (fast, usual):
        leaf = nets.pictures().requires_grad_()
        slopes.append(torch.autograd.grad(variant(leaf)[:, 0].sum(), leaf)[0])
    assert torch.equal(*slopes)


def test_a_copy_fused_within_inference_mode_runs_there_too() -> None:
    network, images = nets.build("gap"), nets.pictures()
    usual = fused(network)(images)
    with torch.inference_mode():
        assert torch.equal(fused(network)(images), usual)
