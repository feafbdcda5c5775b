"""Objects cut out of their pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from torch import Tensor

import nets
from phosphene.attribution.attribution import upsample
from phosphene.attribution.localize.cutout import cutout, regions
from phosphene.core.errors import ImageError, LayerError, OptionError, TargetError
from phosphene.core.images.image import load, resize


def disc(radius: float, size: int = 64) -> Tensor:
    y, x = torch.meshgrid(torch.arange(size) - 30.0, torch.arange(size) - 34.0, indexing="ij")
    return (x**2 + y**2).sqrt() <= radius


def scene() -> Tensor:
    """A red disc on green, with grain."""
    colors = torch.where(
        disc(18), torch.tensor([0.8, 0.2, 0.1]).view(3, 1, 1), torch.tensor([0.2, 0.6, 0.3]).view(3, 1, 1)
    )
    grain = 0.1 * torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    return (colors + grain).clamp(0, 1)


def blob() -> Tensor:
    """A map that only knows about where the disc is."""
    y, x = torch.meshgrid(torch.arange(64) - 33.0, torch.arange(64) - 31.0, indexing="ij")
    return torch.exp(-(x**2 + y**2) / 200)[None, None]


@pytest.mark.parametrize("smooth", [0.0, 4.0])
def test_grabcut_finds_the_edge_that_is_not_in_the_map(smooth: float) -> None:
    result, truth = cutout(scene(), blob(), smooth=smooth), disc(18)
    assert (result.mask & truth).sum() / (result.mask | truth).sum() > 0.98
    assert result.share == pytest.approx(truth.float().mean().item(), rel=0.02)
    assert np.array_equal(result.rgba[..., 3] == 255, result.mask.numpy())
    assert np.array_equal(np.unique(result.rgba[..., 3]), [0, 255])


def test_a_noisy_map_needs_the_blur() -> None:
    grain = blob() * (torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(1)) < 0.5)
    truth = disc(18)
    smooth, grainy = (cutout(scene(), grain, smooth=sigma).mask for sigma in (4.0, 0.0))
    overlap = [((mask & truth).sum() / (mask | truth).sum()).item() for mask in (smooth, grainy)]
    assert overlap[0] > 0.9 > overlap[1]


def test_the_same_twice_whatever_was_drawn_before() -> None:
    picture = torch.from_numpy(skimage.data.coffee()).permute(2, 0, 1)[None].float() / 255
    picture = resize(picture, (96, 96))
    values = torch.zeros(1, 1, 96, 96)
    values[..., 30:50, 30:60] = torch.rand(20, 30)
    assert torch.equal(cutout(picture, values).mask, cutout(picture, values).mask)


def test_threshold_takes_the_largest_component_of_the_seeds() -> None:
    values = torch.zeros(1, 1, 64, 64)
    values[..., 5:15, 5:20], values[..., 40:42, 40:42] = 2.0, 3.0
    result = cutout(scene(), values, method="threshold", smooth=0)
    assert result.box == (5, 5, 15, 20)
    assert result.facts() == {"share": 150 / 4096, "box": [5, 5, 15, 20]}
    assert result.notes == ()


@pytest.mark.parametrize("level", [0.0, 0.3, -1.0])
@pytest.mark.parametrize("method", ["grabcut", "threshold"])
def test_a_blank_map_gives_an_empty_mask_and_a_note(level: float, method: str) -> None:
    result = cutout(scene(), torch.full((1, 1, 64, 64), level), method=method)
    assert "nothing to cut out" in result.notes[0]
    assert not result.mask.any()
    assert result.box is None
    assert not result.rgba[..., 3].any()


def test_the_file_keeps_its_transparency(tmp_path: Path) -> None:
    cutout(scene(), blob()).save(tmp_path / "disc")
    pixels = load(tmp_path / "disc" / "cutout.png", background=(0, 0, 255)).pixels
    assert pixels[0, 0].tolist() == [0, 0, 255]
    assert pixels[30, 34, 0] > 190


def test_options_that_make_no_sense_are_refused() -> None:
    with pytest.raises(OptionError, match="background < foreground"):
        cutout(scene(), blob(), foreground=0.2, background=0.3)
    with pytest.raises(OptionError, match="grabcut, threshold"):
        cutout(scene(), blob(), method="magic")
    with pytest.raises(ImageError, match="of one size"):
        cutout(scene(), blob()[..., :32, :32])
    with pytest.raises(ImageError, match="method='threshold'"):
        cutout(scene()[..., :4, :4], blob()[..., :4, :4], smooth=0)


def test_a_region_is_where_the_upsampled_map_of_the_channel_is_high() -> None:
    network, images = nets.build("gap"), nets.pictures()
    activation = network.tap(images, ["features.5"])["features.5"][:, 3:4].detach()
    for i, region in enumerate(regions(network, images, "features.5", 3, threshold=0.6)):
        response = upsample(activation[i : i + 1], (32, 32))[0, 0]
        assert torch.equal(region.response, response)
        assert torch.equal(region.mask, response > 0.6 * response.max())
        assert region.peak == activation[i].max().item()
        assert region.positions == pytest.approx((activation[i] > 0.6 * activation[i].max()).float().mean().item())
        assert region.facts()["unit"] == "features.5:3"
        assert region.notes == ()


def test_an_inactive_channel_has_no_region() -> None:
    (region, _) = regions(nets.build("dead"), nets.pictures(), "features.5", 0)
    assert region.box is None
    assert region.notes == ("features.5:0 is not active in this image: its largest activation is 0",)
    assert region.positions == 0


def test_regions_of_tokens_lie_on_their_grid() -> None:
    (region, _) = regions(nets.build("tokens"), nets.pictures(), "norm", 2)
    assert region.response.shape == (32, 32)


def test_regions_need_a_spatial_layer_and_a_channel_of_it() -> None:
    network, images = nets.build("gap"), nets.pictures()
    with pytest.raises(LayerError, match="is not spatial"):
        regions(network, images, "pool", 0)
    with pytest.raises(TargetError, match="no channel 12"):
        regions(network, images, "features.5", 12)
    with pytest.raises(OptionError, match="share of the maximum"):
        regions(network, images, "features.5", 1, threshold=1)
