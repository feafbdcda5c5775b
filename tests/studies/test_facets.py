"""Kinds of image that a unit fires for: found again where they were planted, and told honestly where there are few."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from phosphene.core.errors import ImageError, OptionError, RunError
from phosphene.core.images import image
from phosphene.core.images.image import blurred
from phosphene.core.networks.network import Network, Preprocess
from phosphene.core.objectives.classes import Logit
from phosphene.core.objectives.units import Channel, Neuron
from phosphene.studies.facets import AVERAGED, Facets, facets
from phosphene.survey.engine.survey import survey
from phosphene.survey.store.run import Run
from phosphene.synthesis.recipes.visualize import visualize
from phosphene.synthesis.settings.preset import Lecture

EACH = 20


class Either(nn.Module):
    """Fires for red and for blue alike: its one class has two facets."""

    def __init__(self) -> None:
        super().__init__()
        self.colors, self.pool, self.head = nn.Conv2d(3, 3, 1), nn.AdaptiveAvgPool2d(1), nn.Linear(3, 2)
        with torch.no_grad():
            self.colors.weight.copy_(torch.tensor([[1.0, -1, -1], [-1, 1, -1], [-1, -1, 1]])[:, :, None, None])
            self.head.weight.copy_(torch.tensor([[1.0, -1, 1], [-1, 1, -1]]))
            self.colors.bias.zero_()
            self.head.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.pool(torch.relu(self.colors(x))).flatten(1))


@pytest.fixture(scope="module")
def network() -> Network:
    preprocess = Preprocess((16, 16), mean=(0.0,) * 3, std=(1.0,) * 3, crop=1.0)
    return Network(Either().eval(), preprocess, labels=("either", "green"), name="either")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("facets")
    for number in range(3 * EACH):
        channel, random = number % 3, np.random.default_rng(number)
        pixels = random.integers(0, 50, (16, 16, 3), np.uint8)
        pixels[..., channel] += np.uint8(150 + number)
        Image.fromarray(pixels).save(root / f"{'rgb'[channel]}-{number:02}.png")
    return root


@pytest.fixture(scope="module")
def run(network: Network, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return survey(network, folder, tmp_path_factory.mktemp("run") / "run", layers=["colors", "logits"], workers=1)


def kinds(result: Facets) -> Iterator[set[str]]:
    """First letters of the images of each facet."""
    return ({Path(source).name[0] for source in facet.sources} for facet in result.facets)


def test_both_kinds_are_found_in_a_survey_and_in_a_folder(network: Network, folder: Path, run: Run) -> None:
    looked, surveyed = (facets(source, network, Logit(0), 2) for source in (folder, run))
    for result in (looked, surveyed):
        assert sorted(map(sorted, kinds(result))) == [["b"], ["r"]]
        assert sum(facet.images for facet in result.facets) == 2 * AVERAGED
        assert result.facets[0].activation >= result.facets[1].activation
        assert result.notes == ("30 of 60 images reach half of what the first does, or more",)
    assert [set(facet.sources) for facet in looked.facets] == [set(facet.sources) for facet in surveyed.facets]
    assert torch.allclose(looked.starts, surveyed.starts, atol=1e-6)
    assert torch.equal(looked.starts, facets(folder, network, Logit(0), 2).starts)


def test_a_start_is_the_blurred_mean_of_its_images(network: Network, folder: Path) -> None:
    for facet in facets(folder, network, Logit(0), 2).facets:
        mean = torch.stack([image.load(path).tensor()[0] for path in facet.sources]).mean(0, keepdim=True)
        sigma = 16 / 64 * (AVERAGED / len(facet.sources)) ** 0.5
        assert len(facet.sources) == min(facet.images, AVERAGED)
        assert torch.allclose(facet.start, blurred(mean, sigma)[0], atol=1e-6)


def test_the_most_typical_come_first_and_the_label_is_theirs(network: Network, folder: Path) -> None:
    for facet in facets(folder, network, Logit(0), 2).facets:
        assert facet.label == Path(facet.sources[0]).stem


def test_labels_of_the_source_name_the_facets(network: Network, folder: Path, tmp_path: Path) -> None:
    for path in folder.iterdir():
        there = tmp_path / {"r": "fire", "g": "grass", "b": "sea"}[path.name[0]] / path.name
        there.parent.mkdir(exist_ok=True)
        there.write_bytes(path.read_bytes())
    assert {facet.label for facet in facets(tmp_path, network, Logit(0), 2).facets} == {"fire", "sea"}


def test_of_few_images_there_are_few_facets(network: Network, folder: Path) -> None:
    kinds_of_image = facets(folder, network, Logit(0), 4, limit=2)
    assert len(kinds_of_image.facets) <= 2
    assert "too few for 4 facets" in kinds_of_image.notes[0]


def test_copies_are_one_kind(network: Network, tmp_path: Path) -> None:
    for number in range(3):
        Image.new("RGB", (16, 16), (200, 0, 0)).save(tmp_path / f"{number}.png")
    (facet,) = facets(tmp_path, network, Logit(0), 3).facets
    assert facet.images == 3


def test_a_neuron_has_the_facets_of_its_channel(network: Network, folder: Path, run: Run) -> None:
    kinds_of_image = facets(run, network, Neuron("colors", 2, 3, 3), 1)
    assert list(kinds(kinds_of_image)) == [{"b"}]
    assert torch.allclose(kinds_of_image.starts, facets(folder, network, Channel("colors", 2), 1).starts, atol=1e-6)


def test_a_sum_is_looked_at_anew(network: Network, run: Run) -> None:
    assert list(kinds(facets(run, network, Logit(1) - Logit(0), 1))) == [{"g"}]


def test_a_photograph_that_is_gone_is_told(network: Network, folder: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for path in sorted(folder.iterdir())[:6]:
        (photos / path.name).write_bytes(path.read_bytes())
    surveyed = survey(network, photos, tmp_path / "run", layers=["logits"], workers=1)
    lost = Path(facets(surveyed, network, Logit(0), 1).facets[0].sources[0])
    lost.unlink()
    less = facets(surveyed, network, Logit(0), 1)
    assert str(lost) not in less.facets[0].sources
    assert any(str(lost) in note for note in less.notes)


@pytest.mark.parametrize("wanted", [0, -1])
def test_no_facet_is_refused(network: Network, folder: Path, wanted: int) -> None:
    with pytest.raises(OptionError, match="give at least one of each"):
        facets(folder, network, Logit(0), wanted)


def test_what_fires_for_nothing_has_no_facet(network: Network, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="fires for none of 60 images"):
        facets(folder, network, 0.0 * Logit(0), 2)
    (tmp_path / "bad.png").write_bytes(b"no picture")
    with pytest.raises(ImageError, match="none of 1 images can be read"):
        facets(tmp_path, network, Logit(0), 2)


def test_the_survey_of_another_network_is_refused(network: Network, run: Run) -> None:
    other = Network(network.module, network.preprocess, name="other")
    with pytest.raises(RunError, match="is a survey of either"):
        facets(run, other, Logit(0))


def test_a_synthesis_begins_where_the_facets_are(network: Network, folder: Path) -> None:
    kinds_of_image = facets(folder, network, Logit(0), 2)
    made = visualize(network, 0, preset=Lecture(steps=1, lr=1e-6, decay=0, blur=0), starts=kinds_of_image.starts)
    assert torch.allclose(made.images, kinds_of_image.starts, atol=1e-4)
    assert kinds_of_image.picture().shape[2] == 3


def test_only_images_that_reach_half_of_the_largest_activation_count(network: Network, tmp_path: Path) -> None:
    for level in (200, 110, 90):
        Image.new("RGB", (16, 16), (level, 0, 0)).save(tmp_path / f"{level}.png")
    result = facets(tmp_path, network, Logit(0), 1)
    assert result.notes == ("2 of 3 images reach half of what the first does, or more",)
    assert {Path(source).stem for source in result.facets[0].sources} == {"200", "110"}
