"""Deletion and insertion: closed forms on a linear network, a peer, and the laws of the curves."""

from __future__ import annotations

import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchcam.methods import GradCAM
from torchcam.metrics import DeletionInsertionMetric

import nets
from phosphene.attribution.evaluate.deletion import Curves, deletion, insertion, pixel_ranks
from phosphene.attribution.perturbation.engine import SETUP_PASSES, Engines
from phosphene.core.errors import ImageError, OptionError, TargetError
from phosphene.core.networks.network import Network, Preprocess
from phosphene.core.objectives.classes import Logit
from phosphene.core.objectives.units import Channel


def contributions(network: Network, images: Tensor, index: int) -> Tensor:
    """What each pixel adds to a logit of the linear network, against its mean color, (N, 1, H, W)."""
    weight = network.module.head.weight[index].detach().view(1, 3, nets.SIZE, nets.SIZE)
    return (weight * network.preprocess.normalize(images)).sum(1, keepdim=True)


def linear() -> tuple[Network, Tensor, Tensor]:
    network, images = nets.build("linear", torch.float64), nets.pictures(dtype=torch.float64)
    return network, images, contributions(network, images, 2)


def test_ranks_of_three_channels_follow_their_magnitude_and_of_one_its_values() -> None:
    values = torch.tensor([[1.0, -3.0], [0.0, 2.0]]).view(1, 1, 2, 2)
    assert pixel_ranks(values).tolist() == [[[1, 3], [2, 0]]]
    assert pixel_ranks(values.expand(1, 3, 2, 2)).tolist() == [[[2, 0], [3, 1]]]


def test_on_a_linear_network_the_curves_are_running_sums() -> None:
    network, images, parts = linear()
    values = torch.rand(2, 1, nets.SIZE, nets.SIZE, dtype=torch.float64)
    ranked = parts.flatten(1).gather(1, values.flatten(1).argsort(1, descending=True))
    sums = F.pad(ranked.cumsum(1), (1, 0))[:, :: nets.SIZE * nets.SIZE // 16]
    bias, whole = network.module.head.bias[2], sums[:, -1:]
    inserted = insertion(network, images, values, 2, steps=16, fill="mean")
    deleted = deletion(network, images, values, 2, steps=16, fill="mean")
    torch.testing.assert_close(inserted.values["logit"], bias + sums)
    torch.testing.assert_close(deleted.values["logit"], bias + whole - sums)
    weights = torch.tensor([0.5, *[1.0] * 15, 0.5], dtype=torch.float64) / 16
    torch.testing.assert_close(inserted.areas["logit"], ((bias + sums) * weights).sum(1))


def test_no_random_ranking_beats_the_perfect_one() -> None:
    network, images, parts = linear()
    low, high = (run(network, images, parts, 2, fill="mean").areas["logit"] for run in (deletion, insertion))
    for seed in range(5):
        values = torch.rand(parts.shape, generator=torch.Generator().manual_seed(seed))
        assert (deletion(network, images, values, 2, fill="mean").areas["logit"] > low).all()
        assert (insertion(network, images, values, 2, fill="mean").areas["logit"] < high).all()


@pytest.mark.parametrize("name", ["gap", "residual", "tokens"])
def test_insertion_is_the_deletion_of_the_reversed_map_read_backwards(name: str) -> None:
    network, images, values = nets.build(name), nets.pictures(), torch.randn(2, 1, 32, 32)
    forwards, backwards = insertion(network, images, values, 1), deletion(network, images, -values, 1, fill="blur")
    for unit in ("logit", "probability"):
        torch.testing.assert_close(forwards.values[unit], backwards.values[unit].flip(1))
        torch.testing.assert_close(forwards.areas[unit], backwards.areas[unit])


def test_the_ends_are_the_image_and_the_fill() -> None:
    network, images = nets.build("gap"), nets.pictures()
    values = deletion(network, images, torch.rand(2, 1, 32, 32), 3, steps=5, fill=0.25).values
    for at, seen in ((0, images), (-1, torch.full_like(images, 0.25))):
        logits = network(seen).detach()
        torch.testing.assert_close(values["logit"][:, at], logits[:, 3], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(values["probability"][:, at], logits.softmax(1)[:, 3], rtol=1e-4, atol=1e-5)


def test_areas_are_those_of_torchcam() -> None:
    network, images = nets.build("gap"), nets.pictures(4)
    module, batch = network.module, network.preprocess.normalize(images)
    with GradCAM(module, target_layer="features.5") as extractor, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = DeletionInsertionMetric(extractor, lambda logits: logits.softmax(1), steps=16)
        peer.update(batch, class_idx=1)
        maps = extractor([1] * 4, module(batch).softmax(1))[0].detach()
    values = F.interpolate(maps[:, None], (32, 32), mode="bilinear", align_corners=False)
    ours = [
        run(network, images, values, 1, steps=16, fill="mean").areas["probability"] for run in (deletion, insertion)
    ]
    assert ours[0].mean().item() == pytest.approx(peer.summary()["deletion_auc"], abs=1e-6)
    assert ours[1].mean().item() == pytest.approx(peer.summary()["insertion_auc"], abs=1e-6)


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_the_size_of_batches_changes_nothing(batch: int) -> None:
    network, images, values = nets.build("residual"), nets.pictures(), torch.randn(2, 3, 32, 32)
    usual = deletion(network, images, values, "tabby")
    other = deletion(network, images, values, "tabby", engines=Engines(network, batch=batch))
    torch.testing.assert_close(usual.values["logit"], other.values["logit"])


def test_a_batch_equals_its_images_one_by_one() -> None:
    network, images, values = nets.build("gap"), nets.pictures(3), torch.randn(3, 3, 32, 32)
    together = insertion(network, images, values, 0)
    alone = [insertion(network, images[i : i + 1], values[i : i + 1], 0).values["logit"] for i in range(3)]
    torch.testing.assert_close(together.values["logit"], torch.cat(alone))
    assert together.cost.forwards == 3 * 21 + SETUP_PASSES


def test_other_targets_are_measured_in_their_own_unit() -> None:
    network, images, values = nets.build("gap"), nets.pictures(), torch.rand(2, 1, 32, 32)
    assert deletion(network, images, values, Channel("features.5", 3)).values.keys() == {"activation"}
    assert deletion(network, images, values, "tabby - goldfish").values.keys() == {"logit"}
    assert deletion(network, images, values, "p(tabby)").values.keys() == {"probability"}
    assert deletion(network, images, values, Logit("tabby")).target == "tabby"


def test_a_blank_map_ranks_pixels_row_by_row() -> None:
    network, images, _ = linear()
    curves = insertion(network, images, torch.zeros(2, 1, 32, 32), 2, steps=32, fill="mean").values["logit"]
    rows = contributions(network, images, 2)[:, 0].sum(2).cumsum(1)
    torch.testing.assert_close(curves[:, 1:], network.module.head.bias[2] + rows)


def test_as_dict_holds_plain_values() -> None:
    network, images = nets.build("gap"), nets.pictures()
    curves: Curves = deletion(network, images, torch.rand(2, 1, 32, 32), 1, steps=4)
    plain = curves.as_dict()
    assert plain["shares"] == [0, 0.25, 0.5, 0.75, 1]
    assert plain["areas"]["probability"] == curves.areas["probability"].tolist()
    assert len(plain["values"]["logit"]) == 2


def test_what_makes_no_sense_is_refused() -> None:
    network, images, values = nets.build("gap"), nets.pictures(), torch.rand(2, 1, 32, 32)
    with pytest.raises(ImageError, match="one map of its size for each"):
        deletion(network, images, values[:1], 1)
    with pytest.raises(ImageError, match="one map of its size for each"):
        insertion(network, images, values[..., :16], 1)
    with pytest.raises(OptionError, match="1 … 1024"):
        deletion(network, images, values, 1, steps=0)
    with pytest.raises(OptionError, match="choose mean, black"):
        deletion(network, images, values, 1, fill="glitter")
    with pytest.raises(TargetError, match="no class 9"):
        deletion(network, images, values, 9)


def test_the_network_is_left_as_it_was() -> None:
    network = nets.build("residual")
    network.module.train()
    before = {name: tensor.clone() for name, tensor in network.module.state_dict().items()}
    deletion(network, nets.pictures(), torch.rand(2, 1, 32, 32), 1, steps=3)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.module.state_dict().items())
    assert all(module.training for module in network.module.modules())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in network.module.parameters())


def test_a_network_that_reads_one_pixel_falls_when_it_is_removed() -> None:
    class OnePixel(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([x[:, 0, 5, 7], x[:, 1, 0, 0]], 1)

    network = Network(OnePixel(), Preprocess((8, 8), (0.0,) * 3, (1.0,) * 3))
    values = torch.zeros(1, 1, 8, 8)
    values[..., 5, 7] = 1
    curves = deletion(network, torch.ones(1, 3, 8, 8), values, 0, steps=64)
    assert curves.values["logit"][0].tolist() == [1.0] + [0.0] * 64
    assert curves.areas["logit"].item() == pytest.approx(0.5 / 64)
