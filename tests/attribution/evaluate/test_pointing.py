"""The grid pointing game, on a network whose evidence is known pixel by pixel."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import nets
from phosphene.attribution.attribution import Attribution
from phosphene.attribution.cams.cam import GradCAM
from phosphene.attribution.evaluate.pointing import pointing_game
from phosphene.attribution.forward_pass import ForwardPass
from phosphene.core.errors import ImageError, OptionError
from phosphene.core.networks.network import Network, Preprocess
from phosphene.core.objectives.objective import Objective


@pytest.fixture
def flat() -> Iterator[type[Attribution]]:
    @dataclasses.dataclass(frozen=True)
    class Flat(Attribution, name="flat-test"):
        """The same everywhere."""

        level: float = 1.0

        def map(self, run: ForwardPass, target: Objective) -> Tensor:
            return torch.full_like(run.images[:, :1], self.level)

    yield Flat
    del Attribution.table["flat-test"]


def colors() -> tuple[Network, Tensor]:
    """Four classes, red, green, blue and black, each read off its own pixels alone; and pictures of them."""
    conv = nn.Conv2d(3, 4, 1)
    conv.weight.data = (2 * torch.eye(4, 3) - 1).view(4, 3, 1, 1)
    conv.bias.data = torch.tensor([0.0, 0, 0, 1])
    module = nn.Sequential(conv, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    pictures = torch.eye(4, 3).view(4, 3, 1, 1).expand(4, 3, 8, 8).clone()
    return Network(module, Preprocess((8, 8), (0.0,) * 3, (1.0,) * 3)), pictures


def test_a_map_that_is_right_scores_one() -> None:
    network, images = colors()
    game = pointing_game(network, images, GradCAM(layer="1"))
    assert game.mosaics.shape == (1, 3, 16, 16)
    assert game.shares.tolist() == [[1, 1, 1, 1]]
    assert game.mean == 1
    assert game.notes == ()
    assert sorted(game.members[0].tolist()) == [0, 1, 2, 3]


def test_a_constant_map_scores_chance(flat: Any) -> None:
    network, images = colors()
    game = pointing_game(network, images, flat())
    assert game.mean == pytest.approx(game.chance) == 0.25
    assert pointing_game(network, images, flat(level=0.0)).mean == 0
    assert game.as_dict()["method"] == {"name": "flat-test", "level": 1.0}


def test_cells_lie_row_by_row() -> None:
    network, images = colors()
    game = pointing_game(network, images, "grad-cam", seed=3)
    cells = [game.mosaics[0, :, top : top + 8, left : left + 8] for top in (0, 8) for left in (0, 8)]
    for cell, member in zip(cells, game.members[0].tolist(), strict=True):
        assert torch.equal(cell, images[member])


def test_no_mosaic_shows_a_class_twice_and_as_many_as_possible_are_made() -> None:
    network, images = colors()
    game = pointing_game(network, images[[0, 0, 1, 1, 2, 2, 3, 3, 3]], "grad-cam")
    assert [sorted(row) for row in game.classes.tolist()] == [[0, 1, 2, 3]] * 2
    assert game.notes == ("1 of 9 pictures are in no mosaic",)
    assert len(set(game.members.flatten().tolist())) == 8


def test_nine_cells_need_nine_classes() -> None:
    network, images = colors()
    with pytest.raises(ImageError, match="9 pictures of different classes; the network sees 4"):
        pointing_game(network, images, "grad-cam", cells=3)


def test_a_network_of_one_size_sees_smaller_cells(flat: Any) -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 4))
    templates = torch.eye(4, 3) - torch.tensor([0.0, 0, 0, 0.5]).view(4, 1)
    module[1].weight.data, module[1].bias.data = templates.repeat_interleave(64, 1), torch.tensor([0.0, 0, 0, 10])
    images = colors()[1]
    game = pointing_game(Network(module, Preprocess((8, 8), (0.0,) * 3, (1.0,) * 3)), images, flat())
    assert game.mosaics.shape == (1, 3, 8, 8)
    assert game.notes == ("network takes images of 8×8 only, so cells are shrunk to 1/2",)
    assert game.mean == pytest.approx(0.25)


def test_pictures_below_the_confidence_are_left_out() -> None:
    network, images = colors()
    dim = images.clone()
    dim[0] *= 0.1
    with pytest.raises(ImageError, match="sees 3 of them"):
        pointing_game(network, dim, "grad-cam", confidence=0.45)
    assert pointing_game(network, images, "grad-cam", confidence=0.45).mean > 0.25


def test_tokens_accept_mosaics_where_the_network_does() -> None:
    network = nets.build("tokens")
    noise = torch.rand(64, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    noise = noise ** torch.linspace(0.1, 6, 64).view(-1, 1, 1, 1)
    network.module.head.bias.data -= network(noise).mean(0).detach()
    game = pointing_game(network, noise, "grad-cam")
    assert game.mosaics.shape[1:] == (3, 64, 64)
    assert ((game.shares >= 0) & (game.shares <= 1)).all()


def test_one_cell_is_refused() -> None:
    network, images = colors()
    with pytest.raises(OptionError, match="at least 2"):
        pointing_game(network, images, "grad-cam", cells=1)
    with pytest.raises(OptionError, match="did you mean 'grad-cam'"):
        pointing_game(network, images, "gradcam")
