from __future__ import annotations

import captum.attr
import pytest
import torch
from torch import nn

import nets
from phosphene.attribution.attribution import forward_pass
from phosphene.attribution.baseline import fill_image
from phosphene.attribution.heatmap import attribute_all
from phosphene.attribution.perturbation.engine import SETUP_PASSES
from phosphene.attribution.perturbation.occlusion import Occlusion, OcclusionClass
from phosphene.core.errors import ImageError, OptionError
from phosphene.core.networks.network import Network, Preprocess
from phosphene.core.objectives.classes import Logit, Probability
from phosphene.core.objectives.units import Channel


def linear(height: int, width: int) -> Network:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(3 * height * width, 2)).double().eval()
    return Network(module, Preprocess((height, width), (0.5,) * 3, (0.25,) * 3))


@pytest.mark.parametrize(("size", "patch"), [((12, 12), 4), ((5, 5), 2), ((7, 10), 3), ((6, 6), 6)])
@pytest.mark.parametrize("fill", ["grey", "mean", "blur", "noise", 0.0])
def test_on_a_linear_network_the_fall_is_the_sum_under_the_patch(size, patch, fill):
    network, image = linear(*size), torch.rand(1, 3, *size, dtype=torch.float64)
    method = Occlusion(patch=patch, stride=patch, fill=fill, seed=3)
    values = method(network, image, Logit(1))[0, 0]
    picture = fill_image(fill, network, image, sigma=patch / 4, seed=3)
    weights = network.module[1].weight[1].detach().view(3, *size) / 0.25
    shares = (weights * (image - picture)[0]).sum(0)
    truth = torch.zeros(size, dtype=torch.float64)
    for top in range(0, size[0], patch):
        for left in range(0, size[1], patch):
            window = slice(top, top + patch), slice(left, left + patch)
            truth[window] = shares[window].sum()
    assert (values - truth).abs().max() < 1e-12


@pytest.mark.parametrize(("patch", "stride"), [(8, 8), (8, 4), (9, 4), (7, 5), (32, 16), (5, 1)])
def test_equals_captum_where_patches_overlap_and_do_not_divide(patch, stride):
    network, images = nets.build("residual", torch.float64), nets.pictures(1, torch.float64)
    values = Occlusion(patch=patch, stride=stride, fill="mean")(network, images, Logit(2))
    theirs = captum.attr.Occlusion(network.module).attribute(
        network.preprocess.normalize(images),
        sliding_window_shapes=(3, patch, patch),
        strides=(3, stride, stride),
        baselines=0,
        target=2,
        perturbations_per_eval=8,
    )
    # Their sums are in single precision.
    assert (values - theirs[:, :1]).abs().max() <= 1e-6 * theirs.abs().max()
    assert values.abs().max() > 1e-3


@pytest.mark.parametrize("method", [Occlusion(patch=10, stride=6, fill="noise"), OcclusionClass(patch=10, stride=6)])
def test_a_batch_equals_its_images_and_the_same_seed_gives_the_same_bytes(method):
    network, images = nets.build("gap"), nets.pictures(3)
    together = method(network, images, Logit(0))
    assert together.shape == (3, 1, 32, 32)
    assert torch.allclose(
        together, torch.cat([method(network, image, Logit(0)) for image in images[:, None]]), atol=1e-6
    )
    assert torch.equal(together, method(network, images, Logit(0)))


@pytest.mark.parametrize("target", [Probability(1), Logit(0) - 0.5 * Logit(1), Channel("features.4", 3)])
def test_the_target_is_any_objective(target):
    network, image = nets.build("gap", torch.float64), nets.pictures(1, torch.float64)
    values = Occlusion(patch=8, stride=8, fill=0.0)(network, image, target)
    score = target(network.tap(image, target.reads)).item()
    for top, left in ((0, 0), (8, 24), (16, 8)):
        copy = image.clone()
        copy[..., top : top + 8, left : left + 8] = 0
        fall = score - target(network.tap(copy, target.reads)).item()
        assert values[0, 0, top, left].item() == pytest.approx(fall, abs=1e-12)


def test_a_channel_falls_only_within_its_receptive_fields():
    network, image = nets.build("functional", torch.float64), nets.pictures(1, torch.float64)
    values = Occlusion(patch=4, stride=4)(network, image, Channel("one", 2))
    assert values.abs().min() > 0
    assert attribute_all(network, image, [Channel("one", 2)], [Occlusion(patch=4, stride=4)])[0].unit == "activation"


def test_the_cost_is_the_number_of_positions():
    network, images = nets.build("gap"), nets.pictures(2)
    for patch, stride, side in ((8, 8, 4), (8, 4, 7), (9, 4, 7), (32, 16, 1), (7, 7, 5)):
        method = Occlusion(patch=patch, stride=stride)
        assert method.cost(network, images).forwards == 2 * side**2 + SETUP_PASSES
        assert method.grid(32, 32) == (side, side)
    assert Occlusion().grid(224, 224) == (13, 13)
    assert Occlusion(patch=9).grid(32, 24) == (7, 5)
    assert Occlusion(patch=1).grid(3, 4) == (3, 4)


def test_the_most_probable_class_at_each_position():
    network, image = nets.build("gap", torch.float64), nets.pictures(1, torch.float64)
    values = OcclusionClass(patch=8, stride=4, fill=1.0)(network, image, Logit(0))
    assert set(values.flatten().tolist()) <= {0.0, 1.0, 2.0, 3.0, 4.0}
    for y, x in ((0, 0), (13, 6), (31, 31), (18, 22)):
        centers = [4 * i + 4 for i in range(7)]
        top, left = (min(centers, key=lambda center, at=at: abs(at + 0.5 - center)) - 4 for at in (y, x))
        copy = image.clone()
        copy[..., top : top + 8, left : left + 8] = 1
        assert values[0, 0, y, x].item() == network(copy).argmax().item()


def test_the_notes_of_the_map_of_classes_name_the_classes():
    network, images = nets.build("gap"), nets.pictures(1)
    heatmap = attribute_all(network, images, [Logit(0)], [OcclusionClass(patch=8, stride=8)])[0]
    assert heatmap.unit == "class index"
    assert heatmap.notes[0].startswith("the most probable class changes on ")
    assert network.label(int(network(images).argmax())) in heatmap.notes[0]


def test_many_targets_and_methods_share_one_engine():
    network, images = nets.build("gap"), nets.pictures(1)
    targets, methods = [Logit(0), Channel("features.0", 1)], [Occlusion(patch=8), OcclusionClass(patch=8)]
    run = forward_pass(network, images, targets, methods)
    kept = run.engine
    maps = [method.map(run, target) for target in targets for method in methods]
    assert run.engine is kept
    assert isinstance(kept.network.module.features[1], nn.BatchNorm2d)  # the convolution before it is read
    alone = [method(network, images, target) for target in targets for method in methods]
    assert all(torch.allclose(*pair, atol=1e-5) for pair in zip(maps, alone, strict=True))


def test_errors_say_what_to_do():
    network, image = nets.build("gap"), nets.pictures(1)
    with pytest.raises(ImageError, match=r"patch of 33 × 33 is larger than the image of 32 × 32; .* at most 32"):
        Occlusion(patch=33, stride=8)(network, image, Logit(0))
    for stride in (0, 9):
        with pytest.raises(OptionError, match="choose a stride in 1 … 8"):
            Occlusion(patch=8, stride=stride)(network, image, Logit(0))
    with pytest.raises(OptionError, match="gray"):
        Occlusion(patch=8, stride=8, fill="gray")(network, image, Logit(0))
