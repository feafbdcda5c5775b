from __future__ import annotations

import gc
import weakref
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

import nets
from phosphene.attribution.baseline import fill_image
from phosphene.attribution.forward_pass import ForwardPass
from phosphene.attribution.perturbation.copies import Masks, Patches
from phosphene.attribution.perturbation.engine import CPU_BATCH, SETUP_PASSES, Engine
from phosphene.core.errors import OptionError
from phosphene.core.networks.network import Network, Preprocess
from phosphene.core.objectives.classes import Logit
from phosphene.core.objectives.units import Channel

CORNERS = torch.cartesian_prod(torch.arange(0, 32, 8), torch.arange(0, 32, 8))


def covered(image: Tensor) -> Patches:
    return Patches(CORNERS, (11, 9), torch.full_like(image, 0.3))


@pytest.mark.parametrize("name", nets.NETS)
@pytest.mark.parametrize("batch", [1, 3, 64])
def test_the_engine_is_the_network_one_copy_at_a_time(name, batch):
    network, image = nets.build(name, torch.float64), nets.pictures(1, torch.float64)
    copies = covered(image)
    engine = Engine(network, batch=batch)
    truth = torch.cat([network(copies.apply(image, slice(i, i + 1))) for i in range(len(copies))]).detach()
    values = engine.run(image, copies, {"logits"}, lambda activations: activations["logits"])
    assert (values - truth).abs().max() <= 1e-12 * truth.abs().max()


@pytest.mark.parametrize("layer", ["conv", "bn", "cap", "relu"])
def test_what_is_read_keeps_its_meaning(layer):
    network, image = nets.build("residual", torch.float64), nets.pictures(1, torch.float64)
    target, copies = Channel(layer, 3), covered(image)
    truth = target(network.tap(copies.apply(image, slice(0, 16)), target.reads))
    values = Engine(network, target.reads).run(image, copies, target.reads, target)
    assert (values - truth).abs().max() <= 1e-12
    assert truth.std() > 1e-6


def test_single_precision_fuses_and_agrees():
    network, image = nets.build("gap"), nets.pictures(1)
    engine = Engine(network)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in engine.network.module.modules())
    assert (engine.network(image) - network(image)).abs().max() < 1e-5
    assert engine.network.module.head.weight is network.module.head.weight
    assert engine.network.module.features[4].weight is not network.module.features[4].weight


class Viewing(nets.Gap):
    """Takes memory as it lies, which channels last does not allow."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(12 * 64, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        return self.head(x.view(len(x), -1))


def test_a_network_that_needs_channels_first_is_fused_too():
    network, image = Network(Viewing().eval(), Preprocess((32, 32))), nets.pictures(1)
    engine = Engine(network)
    assert engine.network is not network
    assert torch.allclose(engine.network(image), network(image), atol=1e-5)


class Counting(nets.Gap):
    seen: ClassVar[list[int]] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(len(x))
        return super().forward(x)


def test_the_engine_of_a_pass_is_made_once_and_runs_each_copy_once():
    network, image = Network(Counting().eval(), Preprocess((32, 32))), nets.pictures(1)
    run = ForwardPass(network, image, ["logits"])
    assert network.layers  # the table is made once, for all passes
    Counting.seen.clear()
    engine = run.engine
    assert sum(Counting.seen) == SETUP_PASSES
    Counting.seen.clear()
    assert run.engine is engine
    engine.run(image, covered(image), {"logits"}, Logit(0))
    assert Counting.seen == [CPU_BATCH] * 4


def test_the_engine_is_freed_with_its_pass():
    run = ForwardPass(nets.build("gap"), nets.pictures(1), ["logits"])
    engine = weakref.ref(run.engine)
    del run
    gc.collect()
    assert engine() is None


def test_the_next_pass_uses_weights_that_changed_unrecorded():
    network, image = nets.build("gap"), nets.pictures(1)
    before = ForwardPass(network, image, ["logits"]).engine.network(image)
    network.module.features[0].weight.data.mul_(2)
    after = ForwardPass(network, image, ["logits"]).engine.network(image)
    assert torch.allclose(after, network(image), atol=1e-5)
    assert not torch.allclose(after, before, atol=1e-3)


def snapshot(module: nn.Module) -> list[object]:
    states: list[object] = [value.clone() for value in module.state_dict().values()]
    states += [
        (parameter.requires_grad, parameter.grad, parameter.data_ptr(), parameter.stride())
        for parameter in module.parameters()
    ]
    return states + [
        (child.training, len(child._forward_hooks), len(child._forward_pre_hooks)) for child in module.modules()
    ]


@pytest.mark.parametrize("breaks", [False, True])
def test_the_network_is_left_as_it_was(breaks):
    network, image = nets.build("residual"), nets.pictures(1)
    network.module.train()
    before, random = snapshot(network.module), torch.get_rng_state()

    def read(seen):
        return seen["logits"][:, 99 if breaks else 0]

    if breaks:
        with pytest.raises(IndexError):
            Engine(network).run(image, covered(image), {"logits"}, read)
    else:
        Engine(network).run(image, covered(image), {"logits"}, read)
    for now, then in zip(snapshot(network.module), before, strict=True):
        assert torch.equal(now, then) if isinstance(now, Tensor) else now == then
    assert torch.equal(torch.get_rng_state(), random)
    assert not network.module.bn._forward_pre_hooks


def test_watch_is_called_after_every_batch():
    network, image, told = nets.build("linear"), nets.pictures(1), []
    engine = Engine(network, batch=6)
    engine.run(image, covered(image), {"logits"}, Logit(0), watch=lambda *counts: told.append(counts))
    assert told == [(6, 16), (12, 16), (16, 16)]


def test_masks_show_the_image_where_they_are_one_and_the_fill_where_zero():
    image, fill = nets.pictures(1), torch.full((1, 3, 32, 32), 0.2)
    masks = torch.tensor([0.0, 0.5, 1.0]).view(3, 1, 1, 1).expand(3, 1, 32, 32)
    copies = Masks(3, masks.__getitem__, fill).apply(image, slice(0, 3))
    assert torch.equal(copies[:1], fill)
    assert torch.allclose(copies[1:2], (image + fill) / 2)
    assert torch.equal(copies[2:], image)


def test_fills():
    network = Network(nn.Flatten(), Preprocess((32, 32), mean=(0.1, 0.2, 0.3), order="bgr"))
    image = nets.pictures(1)
    mean = fill_image("mean", network, image)
    assert network.preprocess.normalize(mean).abs().max() < 1e-6
    assert (
        fill_image("grey", network, image).unique().tolist()
        == fill_image(0.5, network, image).unique().tolist()
        == [0.5]
    )
    noise = fill_image("noise", network, image, seed=1)
    assert torch.equal(noise, fill_image("noise", network, image, seed=1))
    assert not torch.equal(noise, fill_image("noise", network, image, seed=2))
    for wrong in ("gray", 1.5, -0.1):
        with pytest.raises(OptionError, match="grey level in"):
            fill_image(wrong, network, image)


def test_inference_mode_makes_no_difference():
    network, image = nets.build("residual"), nets.pictures(1)
    plain = Engine(network).run(image, covered(image), {"logits"}, Logit(0))
    with torch.inference_mode():
        engine = Engine(network)
        values = engine.run(image.clone(), covered(image.clone()), {"logits"}, Logit(0))
    assert torch.equal(values, plain)
