"""Receptive fields in the pixels of a photograph: against changing the photograph, place by place."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import nets
from phosphene.core.images.image import Picture
from phosphene.core.networks.network import Box
from phosphene.survey.engine.patch_boxes import boxes, input_box, place_box

SHOWN = Box(10.0, 0.0, 106.0, 64.0)


def test_a_column_of_places_equals_them_one_by_one() -> None:
    network, rows, columns = nets.build("residual"), np.array([0, 3, 7]), np.array([5, 0, 7])
    shown = np.array([SHOWN, (0, 0, 32, 32), (1, 2, 3, 4)])
    edges, whole = boxes(network, "pool", rows, columns, shown)
    for i in range(3):
        assert place_box(network, "pool", rows[i], columns[i], Box(*shown[i])) == (tuple(edges[i]), whole[i])
    assert not whole.any()


def test_edges_go_back_through_resize_and_crop() -> None:
    # Conv of 3, stride 2, padding 1: place (4, 4) sees input pixels 7 … 9, and an input pixel is 3 rows and 2 columns.
    assert input_box(nets.build("gap"), "features.0", 4, 4) == Box(7, 7, 10, 10)
    assert place_box(nets.build("gap"), "features.0", 4, 4, SHOWN) == (Box(10 + 21, 14, 10 + 30, 20), False)


def test_no_field_leaves_what_the_network_saw() -> None:
    network = nets.build("gap")
    _, height, width = network.shape("features.4")
    rows, columns = (indices.ravel() for indices in np.indices((height, width)))
    edges, _ = boxes(network, "features.4", rows, columns, np.tile(np.array(SHOWN), (len(rows), 1)))
    assert edges.min(0)[:2].tolist() == [SHOWN.top, SHOWN.left]
    assert edges.max(0)[2:].tolist() == [SHOWN.bottom, SHOWN.right]
    assert (edges[:, :2] < edges[:, 2:]).all()


@pytest.mark.parametrize(("name", "layer"), [("gap", "logits"), ("gap", "pool"), ("gap", "head"), ("tokens", "mlp")])
def test_a_field_that_is_everything_or_not_known_is_the_whole_picture(name: str, layer: str) -> None:
    assert place_box(nets.build(name), layer, 0, 0, SHOWN) == (SHOWN, True)


def test_no_place_gives_no_box() -> None:
    edges, whole = boxes(nets.build("gap"), "features.0", np.zeros(0, int), np.zeros(0, int), np.zeros((0, 4)))
    assert edges.shape == (0, 4)
    assert whole.shape == (0,)


def test_the_photograph_outside_the_box_changes_nothing_and_inside_it_does() -> None:
    network = nets.build("gap")
    levels = np.random.default_rng(0).integers(0, 256, (70, 100, 3), np.uint8)
    before = network.prepare(Picture.from_array(levels))
    row, column = 3, 2
    box, whole = place_box(network, "features.5", row, column, before.box)
    assert not whole
    # The resize reaches a little beyond an edge: two pixels of the input, here under three of the photograph each.
    top, left, bottom, right = int(box.top) - 6, int(box.left) - 6, int(box.bottom) + 7, int(box.right) + 7
    outside = 255 - levels
    outside[max(0, top) : bottom, max(0, left) : right] = levels[max(0, top) : bottom, max(0, left) : right]
    inside = levels.copy()
    inside[int(box.top) + 2 : int(box.bottom) - 2, int(box.left) + 2 : int(box.right) - 2] = 0
    with torch.no_grad():
        here, same, other = (
            network.tap(network.prepare(Picture.from_array(pixels)).images, ["features.4"])["features.4"]
            for pixels in (levels, outside, inside)
        )
    assert torch.equal(here[:, :, row, column], same[:, :, row, column])
    assert not torch.equal(here, same)
    assert not torch.equal(here[:, :, row, column], other[:, :, row, column])
