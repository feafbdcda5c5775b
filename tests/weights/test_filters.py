"""Kernels as pictures: known weights give known pixels; duplicates, negatives and dead kernels are detected."""

import json

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nets import build
from phosphene import zoo
from phosphene.core.errors import LayerError, NetworkError, OptionError
from phosphene.core.images import image
from phosphene.core.networks.network import Network, Preprocess
from phosphene.weights import filters

PLAIN = Preprocess((8, 8), (0.5,) * 3, (0.25,) * 3)


def holding(weights: Tensor, preprocess: Preprocess = PLAIN, groups: int = 1) -> Network:
    """A network whose first and only convolution has these weights."""
    count, wide, *size = weights.shape
    conv = nn.Conv2d(wide * groups, count, size, groups=groups)
    conv.weight.data = weights.clone()
    return Network(nn.Sequential(conv, nn.AdaptiveAvgPool2d(1), nn.Flatten()), preprocess)


def deep(second: nn.Module) -> Network:
    """Eight channels of the pixels, and a layer that reads them."""
    return Network(nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), second, nn.Flatten()).eval(), PLAIN)


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_a_known_kernel_gives_known_pixels() -> None:
    weights = torch.zeros(1, 3, 2, 2)
    weights[0, 0, 0, 0], weights[0, 2, 1, 1] = 1.0, -1.0
    grid = filters(holding(weights)).grid()
    # A label of 20 rows, a frame of 1 pixel, and each weight 24 pixels wide.
    assert grid.shape == (20 + 50, 50, 3)
    corners = grid[[21, 21, 68, 68], [1, 48, 1, 48]].tolist()
    assert corners == [[255, 128, 128], [128, 128, 128], [128, 128, 128], [128, 128, 0]]


def test_each_kernel_reaches_black_and_white() -> None:
    pictures = filters(build("gap"), "features.0").scaled()
    assert pictures.shape == (8, 3, 3, 3)
    assert (pictures.amin((1, 2, 3)) == 0).all()
    assert (pictures.amax((1, 2, 3)) == 1).all()


def test_a_scale_over_all_kernels_shows_their_strengths() -> None:
    weights = noise(4, 3, 3, 3)
    weights[1] = 0.5 * weights[0]
    scaled = filters(holding(weights), scaling="all").scaled()
    low, high = weights.min(), weights.max()
    torch.testing.assert_close(scaled, (weights - low) / (high - low))


@pytest.mark.parametrize("scaling", ["per-kernel", "all"])
def test_a_layer_of_zeros_is_plain_grey(scaling: str) -> None:
    result = filters(holding(torch.zeros(4, 3, 3, 3)), scaling=scaling)
    assert (result.scaled() == 0.5).all()
    assert result.dead == (0, 1, 2, 3)
    assert result.duplicates == ()


def test_bgr_networks_are_shown_as_rgb() -> None:
    weights = noise(4, 3, 3, 3)
    result = filters(holding(weights, Preprocess((8, 8), (0.5,) * 3, (0.25,) * 3, order="bgr")))
    assert result.weights.equal(weights.flip(1))
    assert any("BGR" in note for note in result.notes)


def test_a_grey_first_layer_is_grey_and_0_is_mid_grey() -> None:
    weights = torch.tensor([[[[0.0, 1.0, 0.5, -0.5]]]])
    result = filters(holding(weights, Preprocess((8, 8), (0.5,), (0.25,), order="grey")))
    assert not result.colored
    assert result.scaled().flatten().tolist() == [0.5, 1.0, 0.75, 0.25]


def test_the_first_convolution_is_chosen_and_said() -> None:
    result = filters(build("residual"))
    assert result.layer == "stem"
    assert result.notes[0] == "stem: the first convolution, as no layer was named"
    assert any("normalized channels" in note for note in result.notes)


def test_duplicates_have_either_sign_and_dead_kernels_are_none() -> None:
    weights = noise(6, 3, 3, 3)
    weights[2], weights[4], weights[5] = 2 * weights[0], -weights[1], 1e-9 * weights[3]
    result = filters(holding(weights))
    assert {(pair.first, pair.second, round(pair.cosine, 5)) for pair in result.duplicates} == {(0, 2, 1), (1, 4, -1)}
    assert result.dead == (5,)
    assert (result.scaled()[5] == 0.5).all()
    assert [kernel.most_similar for kernel in result.kernels][:3] == [2, 4, 0]
    assert (result.kernels[5].most_similar, result.kernels[5].cosine) == (None, 0.0)
    assert [kernel.norm for kernel in result.kernels] == pytest.approx(weights.flatten(1).norm(dim=1).tolist())


def test_cosines_equal_those_of_torch_and_the_threshold_selects_them() -> None:
    weights = noise(12, 3, 2, 2)
    cosines = torch.cosine_similarity(weights.flatten(1)[:, None], weights.flatten(1)[None], dim=2).triu(1)
    result = filters(holding(weights), threshold=0.3)
    expected = {(i, j): cosines[i, j].item() for i, j in (cosines.abs() >= 0.3).nonzero().tolist()}
    assert {(pair.first, pair.second): pytest.approx(pair.cosine, abs=1e-5) for pair in result.duplicates} == expected
    assert [abs(pair.cosine) for pair in result.duplicates] == pytest.approx(
        sorted(map(abs, expected.values()), reverse=True), abs=1e-5
    )


def test_depthwise_kernels_are_one_slice_each_and_no_duplicates_across_groups() -> None:
    network = deep(nn.Conv2d(8, 8, 3, groups=8))
    network.module[2].weight.data[1] = network.module[2].weight.data[0]
    result = filters(network, "2")
    assert result.scaled().shape == (8, 1, 3, 3)
    assert result.duplicates == ()
    assert any("8 groups" in note for note in result.notes)


def test_indices_of_duplicates_in_groups_count_all_kernels() -> None:
    network = deep(nn.Conv2d(8, 6, 3, groups=2))
    network.module[2].weight.data[5] = -network.module[2].weight.data[3]
    result = filters(network, "2")
    assert [(pair.first, pair.second) for pair in result.duplicates] == [(3, 5)]
    assert (result.kernels[3].most_similar, result.kernels[5].most_similar) == (5, 3)


def test_slices_come_strongest_first_under_the_channels_they_read() -> None:
    network = deep(nn.Conv2d(8, 4, 3, groups=2))
    weights = network.module[2].weight.data
    weights[3] = torch.tensor([1.0, 3.0, 0.5, 2.0])[:, None, None].expand(4, 3, 3)
    result = filters(network, "2", channels=3)
    assert result.channels is not None
    assert result.channels[3].tolist() == [5, 7, 4]  # kernel 3 is of the second group, which reads channels 4 … 7
    assert result.scaled()[3, :, 0, 0].tolist() == pytest.approx([1.0, 0.5 + 2 / 6, 0.5 + 1 / 6])
    assert any("hard to read" in note for note in result.notes)
    assert result.grid().shape == (4 * (57 + 2 + 20 + 4) - 4, 3 * (57 + 2 + 4) - 4, 3)


def test_the_number_of_kernels_and_columns_can_be_chosen() -> None:
    result = filters(build("gap"), top=5, columns=2)
    assert result.shown == (0, 1, 2, 3, 4)
    assert len(result.kernels) == 8
    assert result.grid().shape == (3 * (50 + 20 + 4) - 4, 2 * (50 + 4) - 4, 3)


def test_a_linear_layer_on_the_pixels_is_one_picture_for_each_class() -> None:
    network = build("linear")
    result = filters(network)
    assert result.colored
    assert result.weights.equal(network.module.head.weight.reshape(5, 3, 32, 32))
    assert result.notes[0] == "head: the first linear layer, as no layer was named"


def test_a_linear_layer_on_a_flattened_map_is_reshaped() -> None:
    inner = nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(8 * 64, 6), nn.ReLU(), nn.Linear(6, 2))
    network = deep(inner)
    result = filters(network, "2.2")
    assert result.weights.equal(inner[2].weight.reshape(6, 8, 8, 8))
    with pytest.raises(LayerError, match=r"2\.4 of network reads a vector of 6, which is no picture.*'0'"):
        filters(network, "2.4")


def test_a_hidden_vector_as_long_as_a_map_is_not_taken_for_it() -> None:
    network = deep(nn.Sequential(nn.Flatten(), nn.Linear(512, 512), nn.Linear(512, 2)))
    assert filters(network, "2.1").weights.shape == (512, 8, 8, 8)
    with pytest.raises(LayerError, match="reads a vector of 512"):
        filters(network, "2.2")


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        ("stem.0", "has no layer 'stem.0'; did you mean 'stem'"),
        ("bn", "bn of residual is a BatchNorm2d without kernels of its own; .*'conv'"),
        ("head", "reads a vector of 8"),
        ("logits", "has no layer 'logits'"),
    ],
)
def test_layers_that_cannot_be_shown_say_which_can(layer: str, words: str) -> None:
    with pytest.raises(LayerError, match=words):
        filters(build("residual"), layer)


def test_a_container_names_the_layers_inside_it() -> None:
    with pytest.raises(LayerError, match=r"Sequential without kernels of its own; .*'features\.\d'"):
        filters(build("gap"), "features")


def test_networks_that_cannot_be_shown_say_why() -> None:
    with pytest.raises(NetworkError, match="no convolution and no linear layer"):
        filters(Network(nn.Sequential(nn.AvgPool2d(8), nn.Flatten()), PLAIN))
    with pytest.raises(NetworkError, match="not finite"):
        filters(holding(torch.full((2, 3, 3, 3), torch.nan)))


@pytest.mark.parametrize("wrong", [{"scaling": "log"}, {"top": 0}, {"columns": 0}, {"channels": 0}, {"threshold": 0.0}])
def test_options_that_make_no_sense_are_refused(wrong: dict) -> None:
    with pytest.raises(OptionError, match=next(iter(wrong))):
        filters(build("gap"), **wrong)


def test_later_training_does_not_change_the_result() -> None:
    network = build("gap")
    result = filters(network)
    before = result.weights.clone()
    nn.init.zeros_(network.module.features[0].weight)
    assert result.weights.equal(before)


def test_files_read_back(tmp_path) -> None:
    result = filters(build("gap"))
    saved = result.save(tmp_path / "out")["files"]
    assert [(file["path"], file["kind"]) for file in saved] == [
        ("weights.png", "picture"),
        ("weights.json", "table"),
        ("weights.npy", "state"),
    ]
    assert all(file["layer"] == "features.0" and file["shape"] == [8, 3, 3, 3] for file in saved)
    assert np.array_equal(image.load(tmp_path / "out" / "weights.png").pixels, result.grid())
    assert np.array_equal(np.load(tmp_path / "out" / "weights.npy"), result.weights.numpy())
    table = json.loads((tmp_path / "out" / "weights.json").read_text())
    assert [kernel["norm"] for kernel in table["kernels"]] == [kernel.norm for kernel in result.kernels]


def test_the_embedded_network_has_four_dead_kernels_and_edges_of_opposite_colors() -> None:
    result = filters(zoo.load())
    assert result.layer == "conv_stem"
    assert result.dead == (11, 16, 28, 31)
    assert max(abs(kernel.cosine) for kernel in result.kernels) < 0.95
    assert result.duplicates == ()
    # Kernel 21: green over purple, a horizontal edge.
    above, below = result.weights[21, :, :2].sum((1, 2)), result.weights[21, :, 2].sum(1)
    assert above[1] > 0 > below[1]
