from __future__ import annotations

import pytest
import torch
import torchcam.methods

import nets
from phosphene.attribution.attribution import upsample
from phosphene.attribution.cams.score_cam import ScoreCAM
from phosphene.attribution.heatmap import attribute_all
from phosphene.attribution.perturbation.engine import SETUP_PASSES
from phosphene.core.errors import LayerError, OptionError
from phosphene.core.objectives.classes import Logit


def test_equals_torchcam_on_eight_channels():
    network, image = nets.build("functional", torch.float64), nets.pictures(1, torch.float64)
    batch = network.preprocess.normalize(image)
    with torchcam.methods.ScoreCAM(network.module, "one", input_shape=(3, 32, 32)) as extractor, torch.no_grad():
        network.module(batch)
        (theirs,) = extractor(1, normalized=False)
    values = ScoreCAM(layer="one", channels=None)(network, image, Logit(1))
    # They add 1e-8 to the range of each map; where maps are enlarged they scale first, the paper scales last.
    assert (values[0] - theirs).abs().max() <= 1e-6 * theirs.abs().max()
    assert values.max() > 0.01


@pytest.mark.parametrize("channels", [None, 5])
def test_equals_the_formula_on_upsampled_maps(channels):
    network, image = nets.build("gap", torch.float64), nets.pictures(1, torch.float64)
    maps = network.tap(image, {"features.5"})["features.5"][0].detach()
    best = sorted(range(12), key=lambda k: -maps[k].mean().item())[: channels or 12]
    scores = []
    for k in best:
        mask = upsample(maps[None, k : k + 1], (32, 32))
        mask = (mask - mask.min()) / (mask.max() - mask.min()) if mask.max() > mask.min() else mask * 0
        scores.append(network(mask * image + (1 - mask) * 0.5)[0, 2].detach() - network(image * 0 + 0.5)[0, 2].detach())
    weights = torch.stack(scores).softmax(0)
    truth = sum(weight * maps[k] for weight, k in zip(weights, best, strict=True)).relu()
    values = ScoreCAM(layer="features.5", channels=channels)(network, image, Logit(2))
    assert (values - upsample(truth[None, None], (32, 32))).abs().max() < 1e-12


def test_the_default_layer_is_named_and_the_cost_known():
    network, images = nets.build("gap"), nets.pictures(3)
    heatmap = attribute_all(network, images, [Logit(0)], [ScoreCAM(channels=5)])[0]
    assert heatmap.layer == ScoreCAM().layer_for(network, Logit(0))[0]
    assert heatmap.cost.forwards == 15 + SETUP_PASSES
    assert heatmap.unit == "activation"
    assert ScoreCAM().cost(network, images).forwards == 36 + SETUP_PASSES


def test_a_batch_equals_its_images_and_the_second_call_the_first():
    network, images = nets.build("residual"), nets.pictures(3)
    method = ScoreCAM()
    together = method(network, images, Logit(0))
    assert torch.allclose(
        together, torch.cat([method(network, image, Logit(0)) for image in images[:, None]]), atol=1e-6
    )
    assert torch.equal(together, method(network, images, Logit(0)))


def test_a_blank_map_says_why():
    heatmap = attribute_all(nets.build("dead"), nets.pictures(1), [Logit(0)], [ScoreCAM(layer="features.5")])[0]
    assert "all activations of features.5 are zero" in heatmap.notes[0]


def test_errors():
    with pytest.raises(OptionError, match="at least one"):
        ScoreCAM(channels=0)
    with pytest.raises(LayerError, match="is not spatial"):
        ScoreCAM(layer="pool")(nets.build("gap"), nets.pictures(1), Logit(0))
