"""Tiles: every pixel is seen and moved once, wherever the tiles lie, and nothing passes from edge to edge."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import nets
from phosphene.core.errors import OptionError
from phosphene.synthesis.losses.dream_targets import Energy
from phosphene.synthesis.transforms.tiles import Tiles

SIZES = [(40, 60), (64, 64), (32, 32), (33, 7), (1, 1), (5, 100), (24, 130)]


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("overlap", [1, 8, 16])
def test_the_shares_of_all_tiles_in_a_pixel_sum_to_one(size: tuple[int, int], overlap: int) -> None:
    tiles = Tiles((32, 32), overlap)
    for seed in range(12):
        images = torch.rand(2, 3, *size).requires_grad_()
        seen = tiles(images, draw(seed))
        assert len(seen) == 2 * tiles.count(size)
        seen.sum().backward()
        assert images.grad is not None
        whole = torch.isclose(images.grad, torch.ones(()), atol=1e-5)
        assert (whole | (images.grad == 0)).all()
        left_out = (~whole)[:, 0]
        reach = overlap // 2 + 1
        assert not left_out[:, reach : max(reach, size[0] - reach), reach : max(reach, size[1] - reach)].any()


def test_where_there_is_room_to_move_no_edge_is_left_out() -> None:
    for seed in range(30):
        images = torch.rand(1, 3, 70, 24).requires_grad_()
        Tiles((32, 32), 8)(images, draw(seed)).sum().backward()
        assert images.grad is not None
        assert torch.allclose(images.grad, torch.ones(()), atol=1e-5)


def test_a_tile_is_what_the_image_shows_there_mirrored_beyond_its_edges() -> None:
    column = torch.arange(50.0).view(1, 1, 50, 1).expand(1, 3, 50, 40)
    seen = Tiles((32, 32), 8)(column, draw(4))
    assert seen.shape == (4, 3, 32, 32)
    for tile in seen:
        rows = tile[0, :, 0]
        assert (rows.diff().abs() == 1).all()  # neighbors stay neighbors: no wrap
        assert torch.equal(tile, rows.view(1, 32, 1).expand(3, 32, 32))
    assert seen.min() == 0
    assert seen.max() == 49


def test_borders_lie_somewhere_else_at_each_step_at_every_phase() -> None:
    image = torch.arange(224.0).view(1, 1, 224, 1).expand(1, 3, 224, 8) / 224
    tiles, tops = Tiles((64, 64), 16), set()
    for seed in range(400):
        tops.add(round(tiles(image, draw(seed))[0, 0, 32, 0].item() * 224) % 16)
    assert len(tops) == 16


def seam(overlap: int) -> float:
    """The mean change of the gradient across the borders of tiles, against that across all other lines."""
    network, tiles = nets.build("gap"), Tiles((32, 32), overlap)
    across, others = [], []
    for seed in range(40):
        images = F.interpolate(nets.pictures(1), (150, 40), mode="bilinear").requires_grad_()
        start = tiles._positions(150, 32, torch.rand(1, 2, generator=draw(seed))[0, 0].item(), images).places
        Energy("features.5")(
            {"features.5": network.tap(tiles(images, draw(seed)), ["features.5"])["features.5"]}
        ).sum().backward()
        assert images.grad is not None
        change = images.grad[..., 8:-8].diff(dim=2).abs().mean((0, 1, 3))
        border = torch.zeros(149, dtype=torch.bool)
        for tile in range(1, len(start)):
            border[int(start[tile, 0]) - 1] = border[int(start[tile - 1, -1])] = True
        across.append(change[border].mean())
        others.append(change[~border].mean())
    return (torch.stack(across).mean() / torch.stack(others).mean()).item()


def test_no_seam_where_neighbors_share_a_margin() -> None:
    assert seam(8) == pytest.approx(1, abs=0.15)
    assert abs(seam(1) - 1) > 0.2  # hard borders show: the test would see them


def test_images_of_a_batch_are_laid_each_in_its_own_way() -> None:
    images = torch.rand(1, 3, 64, 64).expand(2, -1, -1, -1)
    one, two = Tiles((32, 32), 8)(images, draw()).chunk(2)
    assert not torch.equal(one, two)


def test_the_values_are_exact() -> None:
    images = torch.rand(1, 3, 20, 20, requires_grad=True)
    seen = Tiles((20, 20), 1)(images, draw())
    assert set(seen.unique().tolist()) <= set(images.unique().tolist())


@pytest.mark.parametrize("overlap", [0, 17])
def test_margins_that_would_leave_holes_or_meet(overlap: int) -> None:
    with pytest.raises(OptionError, match=r"share 1 … 16 pixels"):
        Tiles((32, 32), overlap)
