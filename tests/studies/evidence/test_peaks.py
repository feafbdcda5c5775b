"""Images that nobody picked, and where a unit answers in them."""

from __future__ import annotations

import pytest

from phosphene.core.networks.network import Box, Network
from phosphene.studies.evidence.peaks import peak_patches, random_images
from phosphene.survey.store.run import Run
from surveys import surveyed


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Network]:
    return surveyed(tmp_path_factory.mktemp("survey"))


def test_images_are_drawn_once_and_by_the_seed(made: tuple[Run, Network]) -> None:
    run, _ = made
    assert random_images(run) == random_images(run) != random_images(run, seed=1)
    assert sorted(random_images(run, count=99)) == list(range(12))
    assert len(set(random_images(run))) == 9


@pytest.mark.parametrize("layer", ["features.3", "logits"])
def test_a_unit_is_located_where_its_map_is_greatest(made: tuple[Run, Network], layer: str) -> None:
    run, network = made
    for patch in peak_patches(run, network, layer, 2, (5, 3)):
        images, seen = network.prepare(run.picture(patch.image))
        maps = network.tap(images, [layer])[layer][0, 2].reshape(-1)
        assert patch.activation == pytest.approx(maps.max().item(), rel=1e-5)
        width = run.grid(layer)[1]
        assert patch.row * width + patch.column == maps.argmax().item()
        assert patch.whole == (layer == "logits")
        assert not patch.whole or patch.box == Box(*seen)


def test_the_located_place_is_the_recorded_one(made: tuple[Run, Network]) -> None:
    run, network = made
    recorded = run.patches("features.3", 1)
    located = peak_patches(run, network, "features.3", 1, [strong_patch.image for strong_patch in recorded])
    assert [(patch.row, patch.column, patch.box) for patch in located] == [(p.row, p.column, p.box) for p in recorded]
    assert [patch.activation for patch in located] == pytest.approx(
        [strong_patch.activation for strong_patch in recorded], rel=1e-5
    )
