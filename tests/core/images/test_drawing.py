"""Colors preserve order, sign and zero of the values; no map divides by zero; pictures fit into grids."""

import numpy as np
import pytest
import skimage
import torch

from phosphene.core.errors import ImageError, OptionError
from phosphene.core.images.drawing import (
    Scale,
    colors,
    grid,
    heatmap,
    label,
    legend,
    magnitude,
    outline,
    overlay,
    signed,
    transparent_outside,
)
from phosphene.core.images.image import encode_png
from phosphene.core.images.palette import TABLES

CAT = skimage.data.chelsea()
RAMP = np.linspace(0, 1, 256)[None].repeat(4, 0)
GREY = np.full((4, 256, 3), 128, np.uint8)


def lightness(pixels):
    return skimage.color.rgb2lab(pixels.reshape(1, -1, 3))[0, :, 0]


@pytest.mark.parametrize("map", ["viridis", "ember", "grey"])
def test_sequential_maps_rise_in_lightness(map):
    steps = np.diff(lightness(colors(RAMP[:1], map)))
    assert steps.min() > -0.35  # half a level of rounding
    assert np.diff(lightness(colors(RAMP[:1, ::16], map))).min() > 1


def test_viridis_rises_evenly():
    light = lightness(colors(np.linspace(0, 1, 17)[None]))
    wanted = np.linspace(light[0], light[-1], 17)
    assert abs(light - wanted).max() < 3
    assert light[0] < 20
    assert light[-1] > 90


def test_the_diverging_map_is_symmetric_about_a_white_zero():
    values = np.linspace(-1, 1, 65)[None]
    picture = colors(values, "blue-red")
    light = lightness(picture)
    assert abs(light - light[::-1]).max() < 4
    assert light.argmax() == 32
    assert picture[0, 32].tolist() == [250, 250, 250]
    assert picture[0, 0, 2] > picture[0, 0, 0] + 80
    assert picture[0, -1, 0] > picture[0, -1, 2] + 80


def test_scale_clips_and_does_not_stretch():
    assert np.array_equal(colors(RAMP * 3, scale=1.0)[:, 86:], colors(RAMP * 0 + 1, scale=1.0)[:, 86:])
    assert np.array_equal(colors(RAMP / 2, scale=1.0)[0, -1], TABLES["viridis"][128])
    with pytest.raises(OptionError, match="no color map is called 'virdis'; did you mean 'viridis'"):
        colors(RAMP, "virdis")


@pytest.mark.parametrize("draw", [heatmap, signed, magnitude, lambda values: overlay(GREY, values)])
@pytest.mark.parametrize("value", [0.0, 1.0, -1.0, 1e-310, 3e38])
@pytest.mark.parametrize("channels", [1, 3])
def test_constant_maps_do_not_divide_by_zero(draw, value, channels):
    picture, scale = draw(np.full((channels, 4, 256), value))
    assert picture.shape == (4, 256, 3)
    assert picture.dtype == np.uint8
    assert np.isfinite([scale.low, scale.high]).all()
    assert (picture == picture[0, 0]).all()
    assert scale.clipped == 0


def test_heatmap_chooses_by_sign_and_channels():
    assert heatmap(RAMP)[1].map == "viridis"
    assert heatmap(RAMP - 0.5)[1].map == "blue-red"
    picture, scale = heatmap(np.stack([RAMP, -RAMP, 0 * RAMP]), quantile=1)
    assert scale == Scale(-1.0, 1.0, map="grey")
    assert picture[0, 0].tolist() == [128] * 3
    assert picture[0, -1].tolist() == [255, 0, 128]


def test_a_scale_states_the_share_that_it_clips():
    values = np.ones((1, 100, 100))
    values[0, 0, :20] = 1000
    _, scale = heatmap(values, unit="logit")
    assert scale == Scale(0.0, 1.0, "logit", 0.002)
    assert str(scale) == "0 … 1 logit, 0.2 % beyond"
    assert heatmap(values, quantile=1)[1].high == 1000


def test_a_sparse_map_is_not_clipped_to_nothing():
    values = np.zeros((1, 100, 100))
    values[0, 50, 50] = 7
    picture, scale = heatmap(values)
    assert scale.high == 7
    assert picture[50, 50].tolist() == TABLES["viridis"][-1].tolist()


def test_signed_and_magnitude():
    values = torch.zeros(3, 2, 2)
    values[0, 0, 0], values[1, 0, 1] = -4, 2
    picture, scale = signed(values, quantile=1)
    assert picture[0].tolist() == [[0, 128, 128], [128, 191, 128]]
    assert (scale.low, scale.high) == (-4, 4)
    picture, scale = magnitude(values, quantile=1)
    assert picture[..., 0].tolist() == [[255, 128], [0, 0]]
    assert scale.low == 0


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, torch.float32, torch.bfloat16])
def test_an_overlay_covers_more_the_larger_the_value(sign, kind):
    values = torch.from_numpy(RAMP * sign).to(kind) if isinstance(kind, torch.dtype) else (RAMP * sign).astype(kind)
    picture, _ = overlay(GREY, values, quantile=1)
    away = abs(picture[0].astype(int) - 128).sum(1)
    assert picture[0, 0].tolist() == [128] * 3
    assert np.diff(away).min() >= -3  # rounding
    assert np.diff(away[::32]).min() > 0


def test_bytes_do_not_wrap_around():
    levels = np.arange(256, dtype=np.uint8)[None].repeat(4, 0)
    assert np.array_equal(overlay(GREY, levels)[0], overlay(GREY, levels.astype(float))[0])
    assert np.array_equal(heatmap(levels)[0], heatmap(levels.astype(float))[0])


def test_overlay_covers_only_where_the_map_is():
    values = np.zeros(CAT.shape[:2])
    values[100:120, 100:120] = 1
    bare, _ = overlay(CAT, np.zeros(CAT.shape[:2]))
    covered, _ = overlay(CAT, values)
    changed = (covered != bare).any(2)
    assert changed[100:120, 100:120].all()
    assert changed.sum() == 400
    assert np.array_equal(overlay(CAT, values, alpha=0.0)[0], bare)


def test_overlay_takes_small_maps_and_keeps_their_place():
    small = np.zeros((1, 3, 4))
    small[0, 1, 2] = 1
    covered, _ = overlay(GREY.repeat(30, 0), small)
    changed = abs(covered.astype(int) - 128).sum(2)
    row, column = np.unravel_index(changed.argmax(), changed.shape)
    assert abs(row - 60) <= 20
    assert abs(column - 160) <= 32


def test_legend():
    sequential, both = legend(Scale(0, 2, "logit")), legend(Scale(-2, 2, map="blue-red"), width=301)
    assert sequential.shape == (30, 256, 3)
    assert sequential[0, 0].tolist() == TABLES["viridis"][0].tolist()
    assert sequential[0, -1].tolist() == TABLES["viridis"][-1].tolist()
    assert both[0, 150].tolist() == [250, 250, 250]
    assert (sequential[10:] < 100).any()


def test_grid_places_tiles_in_reading_order_and_centers_small_ones():
    tiles = [np.full((6, 8, 3), value, np.uint8) for value in (10, 20, 30)]
    sheet = grid([*tiles, np.full((2, 2), 40, np.uint8)], columns=2, gap=2)
    assert sheet.shape == (14, 18, 3)
    assert [sheet[y, x, 0] for y, x in [(3, 3), (3, 13), (11, 3), (11, 13), (9, 11)]] == [10, 20, 30, 40, 255]
    assert grid(tiles, columns=9, gap=0).shape == (6, 24, 3)
    assert grid(tiles, 3, labels=["a", "b", "c"]).shape[0] > 6


def test_labels_of_any_length_fit():
    tile = np.zeros((10, 60, 3), np.uint8)
    for text in ("", "cat", "a very long label that does not fit", "line\nbreak\ttab", "3×3", "猫"):
        assert label(tile, text).shape == (30, 60, 3)
    assert (label(tile, "cat")[:20] < 100).any()
    assert np.array_equal(label(tile, "x" * 99), label(tile, "x" * 500))


def test_outline_draws_the_edge_of_the_box_only():
    drawn = outline(np.zeros((50, 60, 3), np.uint8), (10, 20, 30, 50), (255, 0, 0))
    assert (drawn[..., 0] > 0).sum() == 2 * 30 + 2 * 18
    assert drawn[10, 20].tolist() == drawn[29, 49].tolist() == [255, 0, 0]
    assert drawn[11, 21].tolist() == drawn[9, 20].tolist() == [0, 0, 0]
    assert outline(CAT, (-50, -50, 9999, 9999)).shape == CAT.shape
    assert CAT.flags.writeable


def test_transparent_outside():
    mask = np.zeros(CAT.shape[:2], bool)
    mask[:10] = True
    drawn = transparent_outside(CAT, mask)
    assert np.array_equal(drawn[..., :3], CAT)
    assert drawn[:10, :, 3].min() == 255
    assert drawn[10:, :, 3].max() == 0
    assert encode_png(drawn)
    with pytest.raises(ImageError, match="resize the mask"):
        transparent_outside(CAT, mask[:5])


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.zeros((2, 4, 4)), r"shape \(2, 4, 4\) cannot be drawn"),
        (np.zeros((2, 3, 4, 4)), r"shape \(2, 3, 4, 4\)"),
        (np.zeros((0, 4)), r"shape \(0, 4\)"),
        (np.array([[0, np.nan]]), "holds 1 numbers that are not finite"),
        (torch.tensor([[0, float("inf")]]), "not finite"),
    ],
)
def test_other_values_are_refused(values, words):
    for draw in (heatmap, signed, magnitude, lambda values: overlay(CAT, values)):
        with pytest.raises(ImageError, match=words):
            draw(values)
    with pytest.raises(ImageError, match="one number per pixel, not 3"):
        colors(np.zeros((3, 4, 4)))


def test_the_values_are_not_changed():
    values = torch.rand(3, 8, 8, requires_grad=True)
    before = values.detach().clone()
    for draw in (heatmap, signed, magnitude):
        draw(values)
    assert torch.equal(values, before)
