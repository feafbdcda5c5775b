"""Activation maps: values of the pass, in the documented order and scale."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from skimage import data
from torch import Tensor, nn

from nets import build, pictures
from phosphene import zoo
from phosphene.core.errors import ImageError, LayerError, OptionError, TargetError
from phosphene.core.images import image
from phosphene.core.images.image import Picture
from phosphene.core.networks.network import Network, Preprocess
from phosphene.weights import ActivationMaps, activations, activations_all


def showing(values: Tensor, **options) -> ActivationMaps:
    """Maps made by hand."""
    images = torch.zeros(len(values), 3, 8, 8)
    return ActivationMaps(values=values, images=images, network=build("gap"), layer="hand", **options)


def reds() -> Network:
    """Channel 0 is how red a pixel is, channel 1 the negative of it; nothing is shrunk."""
    conv = nn.Conv2d(3, 2, 1, bias=False)
    conv.weight.data = torch.tensor([[1.0, 0, 0], [-1.0, 0, 0]])[:, :, None, None]
    return Network(
        nn.Sequential(conv, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()), Preprocess((16, 16), (0,) * 3, (1,) * 3)
    )


def spot() -> Tensor:
    images = torch.zeros(1, 3, 16, 16)
    images[0, 0, 3:7, 5:12] = 0.75
    return images


@pytest.mark.parametrize("name", ["gap", "in-place", "residual", "tokens", "tuple"])
def test_values_are_those_of_the_pass(name: str) -> None:
    network, images = build(name), pictures()
    layers = [name for name, layer in network.layers.items() if layer.layout != "other"]
    with torch.no_grad():
        expected = network.tap(images, layers)
    result = activations_all(network, images, layers)
    assert [maps.layer for maps in result] == layers
    for maps in result:
        assert maps.values.equal(expected[maps.layer])
        assert not maps.values.requires_grad


def test_several_layers_take_one_pass() -> None:
    network, calls = build("gap"), []
    network.layers  # noqa: B018  the table is made first; it takes a pass of its own
    handle = network.module.features[0].register_forward_hook(lambda *_: calls.append(1))
    result = activations_all(network, pictures(2), ["features.0", "features.5", "head"])
    handle.remove()
    assert len(calls) == 1
    assert {maps.cost.forwards for maps in result} == {2}


def test_channels_are_ordered_by_maximum_or_mean_and_ties_by_index() -> None:
    values = torch.tensor([[0.0, 9.0], [5.0, 5.0], [5.0, 5.0], [1.0, 1.0]]).view(1, 4, 1, 2)
    assert showing(values).order() == (0, 1, 2, 3)
    assert showing(values, sort="mean").order() == (1, 2, 0, 3)
    assert showing(values, sort="index").order() == (0, 1, 2, 3)
    assert showing(values, sort="mean", top=2).order() == (1, 2)
    assert showing(values.flip(1)).order() == (3, 1, 2, 0)


def test_each_image_has_its_own_order() -> None:
    values = torch.tensor([[1.0, 2.0], [2.0, 1.0]])
    maps = showing(values)
    assert (maps.order(0), maps.order(1)) == ((1, 0), (0, 1))


def test_brighter_is_stronger_and_black_is_zero_where_nothing_is_below_it() -> None:
    values = torch.tensor([[[4.0, 8.0]], [[2.0, 2.0]], [[0.0, 0.0]]])[None]
    assert showing(values).scaled().flatten().tolist() == [0.5, 1, 0.25, 0.25, 0, 0]
    # A constant channel is not stretched into a pattern, and a blank one stays black.
    assert showing(values, scaling="per-channel").scaled().flatten().tolist() == [0.5, 1, 1, 1, 0, 0]


def test_signed_maps_run_from_the_lowest_and_say_so() -> None:
    maps = showing(torch.tensor([[[-2.0, 6.0]], [[0.0, 2.0]]])[None])
    assert maps.scaled().flatten().tolist() == [0, 1, 0.25, 0.5]
    assert maps.notes == ("hand: black is -2 and white 6; 0 of 2 channels are nowhere above 0",)


def test_responses_are_the_statistics_of_each_channel() -> None:
    values = torch.tensor([[[-1.0, 3.0, 0.0, 2.0]], [[-1.0, -1.0, 0.0, 0.0]]])[None]
    first, second = showing(values).responses()
    assert (first.max, first.mean, first.active, first.inactive) == (3, 1, 0.5, False)
    assert (second.channel, second.max, second.active, second.inactive) == (1, 0, 0, True)


def test_inactive_channels_are_counted() -> None:
    maps = activations(build("dead"), pictures(2), "features.5")
    assert all("12 of 12 channels are nowhere above 0" in note for note in maps.notes)
    assert maps.notes[1].startswith("image 1, ")


def test_the_grid_holds_every_shown_channel_enlarged() -> None:
    values = torch.rand(1, 5, 7, 7, generator=torch.Generator().manual_seed(0))
    maps = showing(values)
    grid, strongest = maps.grid(), maps.scaled()[0, 0]
    assert grid.shape == (2 * (20 + 58 + 4) - 4, 3 * (58 + 4) - 4, 3)
    assert np.array_equal(grid[21:77:8, 1:57:8, 0], image.levels(strongest))


def test_a_vector_gives_one_square_for_each_channel_and_no_overlay(tmp_path) -> None:
    maps = activations(build("gap"), pictures(1), "logits")
    assert maps.values.shape == (1, 5)
    assert maps.scaled().shape == (5, 1, 1, 1)
    assert maps.grid().shape == (2 * (20 + 42 + 4) - 4, 3 * (42 + 4) - 4, 3)
    with pytest.raises(LayerError, match="is not spatial"):
        maps.overlay(0)
    assert [file["kind"] for file in maps.save(tmp_path)["files"]] == ["heatmap", "table", "picture"]


def test_upsampling_is_bilinear_and_keeps_positions() -> None:
    values = torch.zeros(1, 1, 4, 4)
    values[0, 0, 1, 2] = 1
    maps = showing(values)
    expected = F.interpolate(values, (8, 8), mode="bilinear", align_corners=False)[0, 0]
    assert maps.upsampled(0).equal(expected)
    assert (expected[2:4, 4:6] == expected.max()).all()
    overlay, scale = maps.overlay(0)
    assert overlay.shape == (8, 8, 3)
    assert scale.unit == "activation"


@pytest.mark.parametrize("channel", [-1, 2])
def test_a_channel_that_is_not_there_is_named(channel: int) -> None:
    with pytest.raises(TargetError, match=f"has no channel {channel}; its 2 are 0 … 1"):
        activations(reds(), spot(), "1").upsampled(channel)


@pytest.mark.parametrize(
    "wrong", [{"sort": "best"}, {"scaling": "log"}, {"top": 0}], ids=lambda wrong: next(iter(wrong))
)
def test_options_that_make_no_sense_are_refused(wrong: dict) -> None:
    with pytest.raises(OptionError, match=next(iter(wrong))):
        activations(reds(), spot(), "1", **wrong)


def test_layer_lists_that_make_no_sense_are_refused() -> None:
    for layers in ([], "features.0"):
        with pytest.raises(OptionError, match="a list of at least one name"):
            activations_all(build("gap"), pictures(), layers)


def test_layers_and_images_that_cannot_be_shown_are_refused() -> None:
    odd = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Unflatten(1, (2, 2)), nn.Flatten())
    with pytest.raises(LayerError, match=r"1 of network returns \(2, 2, 2, 32, 32\), neither maps"):
        activations(Network(odd, Preprocess((32, 32))), pictures(), "1")
    with pytest.raises(LayerError, match=r"has no layer 'features\.9'"):
        activations(build("gap"), pictures(), "features.9")
    broken = build("gap")
    nn.init.constant_(broken.module.features[0].weight, torch.nan)
    with pytest.raises(LayerError, match=r"features\.0 of gap returns values that are not finite"):
        activations(broken, pictures(), "features.0")
    with pytest.raises(ImageError, match="Undo your Normalize"):
        activations(build("gap"), pictures() * 4 - 2, "features.0")


def test_files_read_back(tmp_path) -> None:
    maps = activations(build("gap"), pictures(2), "features.5", top=4, overlays=1)
    saved = {file["path"]: file for file in maps.save(tmp_path)["files"]}
    assert all((tmp_path / path).is_file() for path in saved)
    assert {file["layer"] for file in saved.values()} == {"features.5"}
    assert np.array_equal(np.load(tmp_path / "activations-features.5.npy"), maps.values.numpy())
    for at in range(2):
        grid = image.load(tmp_path / f"activations-features.5-{at}.png").pixels
        assert np.array_equal(grid, maps.grid(at))
        strongest = maps.order(at)[0]
        overlay = image.load(tmp_path / f"activations-features.5-{at}-channel-{strongest}.png").pixels
        assert np.array_equal(overlay, maps.overlay(strongest, at)[0])
    table = json.loads((tmp_path / "activations-features.5.json").read_text())
    assert [row["order"] for row in table["images"]] == [list(maps.order(0)), list(maps.order(1))]
    assert len(table["images"][0]["channels"]) == 12


def test_a_channel_of_the_embedded_network_is_active_at_the_eyes_of_a_cat() -> None:
    network = zoo.load()
    images = network.prepare(Picture.from_array(data.chelsea())).images
    maps = activations(network, images, "bn1")
    inactive = {response.channel for response in maps.responses() if response.inactive}
    assert inactive >= {11, 16, 28, 31}  # the dead kernels of the first layer
    eyes = maps.upsampled(20)
    rows, columns = (eyes >= eyes.max() / 2).nonzero().unbind(1)
    assert 50 < rows.min() < rows.max() < 112  # in the band of the eyes
    assert columns.min() < 90 < 150 < columns.max()  # in both
    assert not ((columns > 90) & (columns < 150)).any()  # and not between them
