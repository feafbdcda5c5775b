"""What natural images reach: by hand, from a survey and from a folder alike; and what another network thinks."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

import nets
from phosphene.core.errors import ImageError, NetworkError, OptionError, RunError
from phosphene.core.images import image
from phosphene.core.images.image import Picture
from phosphene.core.networks.network import Network
from phosphene.core.objectives.classes import Logit
from phosphene.core.objectives.objective import Objective
from phosphene.core.objectives.units import Channel, ChannelMax, Neuron
from phosphene.studies.evidence.reference_levels import ReferenceLevel, peak_activations, recognize, reference_levels
from phosphene.survey.store.run import Run
from surveys import surveyed

LAYER = "features.3"
UNITS: tuple[Objective, ...] = (Channel(LAYER, 1), ChannelMax(LAYER, 6), Neuron(LAYER, 3, 2, 2), Logit(2))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("natural")


@pytest.fixture(scope="module")
def made(folder: Path) -> tuple[Run, Network]:
    return surveyed(folder)


def by_hand(folder: Path, network: Network, objective: Objective) -> np.ndarray:
    """The greatest value of each photograph, image by image."""
    values = []
    for path in sorted((folder / "photos").rglob("*.png")):
        images = network.prepare(image.load(path)).images
        with torch.no_grad():
            if isinstance(objective, Logit):
                values.append(network(images)[0, objective.index].item())
            else:
                values.append(network.tap(images, [LAYER])[LAYER][0, objective.channel].max().item())
    return np.array(values)


@pytest.mark.parametrize("objective", UNITS, ids=str)
@pytest.mark.parametrize("quantile", [0.999, 0.7])
def test_levels_are_those_of_all_images_one_by_one(
    made: tuple[Run, Network], folder: Path, objective: Objective, quantile: float
) -> None:
    run, network = made
    expected = by_hand(folder, network, objective)
    for source in (run, folder / "photos"):
        (level,) = reference_levels(source, network, [objective], quantile=quantile).levels
        assert level.images == 12
        assert level.level == pytest.approx(np.quantile(expected, quantile), rel=1e-4, abs=1e-6)
        assert level.maximum == pytest.approx(expected.max(), rel=1e-4, abs=1e-6)
        assert not level.note


@pytest.mark.parametrize("objective", UNITS, ids=str)
def test_below_the_patches_the_histogram_answers_to_a_bin(
    made: tuple[Run, Network], folder: Path, objective: Objective
) -> None:
    run, network = made
    (level,) = reference_levels(run, network, [objective], quantile=0.3).levels
    low, high = np.quantile(by_hand(folder, network, objective), [0.2, 0.4])
    assert level.note == "from the bins of a histogram"
    assert low - 0.25 * abs(low) - 1e-6 <= level.level <= high + 0.25 * abs(high) + 1e-6


def test_a_sum_is_looked_at_anew(made: tuple[Run, Network], folder: Path) -> None:
    run, network = made
    expected = by_hand(folder, network, Logit(2)) - 0.5 * by_hand(folder, network, Logit(0))
    mixed, plain = reference_levels(run, network, [Logit(2) - 0.5 * Logit(0), Logit(2)]).levels
    assert mixed.maximum == pytest.approx(expected.max(), rel=1e-4)
    assert plain == reference_levels(run, network, [Logit(2)]).levels[0]


def test_a_limit_draws_some_by_the_seed(made: tuple[Run, Network], folder: Path) -> None:
    draws = {
        reference_levels(folder / "photos", made[1], [Logit(0)], limit=5, seed=seed).levels[0].maximum
        for seed in range(6)
    }
    assert len(draws) > 1
    assert reference_levels(folder / "photos", made[1], [Logit(0)], limit=5).levels[0].images == 5


def test_a_bad_file_is_left_out_and_told(made: tuple[Run, Network], folder: Path, tmp_path: Path) -> None:
    good = next((folder / "photos").rglob("*.png"))
    (tmp_path / "a.png").write_bytes(good.read_bytes())
    (tmp_path / "z.png").write_bytes(b"no picture")
    (level,) = reference_levels(tmp_path, made[1], [Logit(0)]).levels
    assert level.images == 1
    assert level.note.startswith("1 of 2 images cannot be read; the first: ")
    assert "z.png is no PNG" in level.note
    (tmp_path / "a.png").unlink()
    with pytest.raises(ImageError, match="no natural image can be read; the first of 1"):
        reference_levels(tmp_path, made[1], [Logit(0)])


def test_another_network_and_no_quantile_are_refused(made: tuple[Run, Network]) -> None:
    with pytest.raises(RunError, match="is a survey of"):
        reference_levels(made[0], dataclasses.replace(made[1], name="other"), [Logit(0)])
    with pytest.raises(OptionError, match=r"quantile is 99\.9"):
        reference_levels(made[0], made[1], [Logit(0)], quantile=99.9)
    with pytest.raises(OptionError, match="limit 0"):
        reference_levels(made[0], made[1], [Logit(0)], limit=0)


def test_a_picture_reaches_what_its_png_reaches(made: tuple[Run, Network], tmp_path: Path) -> None:
    network = made[1]
    images = torch.rand(len(UNITS), 3, 32, 32, generator=torch.Generator().manual_seed(1))
    for objective, pixels, value in zip(UNITS, images, peak_activations(network, UNITS, images), strict=True):
        loaded = image.load(image.save(tmp_path / "it.png", pixels)).tensor()

        maps = network.tap(loaded, [LAYER, "logits"])
        wanted = maps["logits"][0, 2] if isinstance(objective, Logit) else maps[LAYER][0, objective.channel].max()
        assert value == wanted.item()


def _level(*values: float) -> ReferenceLevel:
    return ReferenceLevel(Logit(0), *values)  # type: ignore[arg-type]  # images, quantile, level, maximum


@pytest.mark.parametrize(
    ("level", "value", "line"),
    [
        (_level(200, 0.9, 5.9, 8), 12.4, "12.4, 210 % of the 90th percentile of 200 natural images (5.9)"),
        (_level(500, 0.99, 2.0, 8.0), 1.0, "1, 50 % of the 99th percentile of 500 natural images (2)"),
        (_level(9, 0.5, -1.0, 8.0), 1.0, "1; the 50th percentile of 9 natural images is -1"),
        (_level(500, 0.999, 0.0, 0.0), 0.0, "0, where 500 natural images all stay at 0"),
        (_level(6, 0.999, 3.9, 4.0), 8.0, "8, 200 % of the greatest of 6 natural images (4)"),
        (_level(6, 0.999, 3.9, 4.0), -1.0, "-1; the greatest of 6 natural images is 4"),
        (_level(99, 0.999, 3.9, 4.0), 8.0, "8, 200 % of the greatest of 99 natural images (4)"),
        (_level(100, 0.999, 4.0, 5.0), 8.0, "8, 200 % of the 99.9th percentile of 100 natural images (4; of so few "
         "that is all but their greatest, 5)"),
        (_level(1000, 0.999, 4.0, 5.0), 8.0, "8, 200 % of the 99.9th percentile of 1,000 natural images (4)"),
        (_level(6, 0.999, -2.0, -1.0), 8.0, "8; the greatest of 6 natural images is -1"),
        (_level(400, 0.999, 4.0, 5.0), 8.0,
         "8, 200 % of the 99.9th percentile of 400 natural images (4; of "
         "so few that is all but their greatest, 5)"),
    ],
)  # fmt: skip
def test_lines_say_what_the_figure_means(level: ReferenceLevel, value: float, line: str) -> None:
    assert level.compare(value) == line


def named(name: str, labels: tuple[str, ...]) -> Network:
    return dataclasses.replace(nets.build(name), labels=labels)


def test_another_network_finds_the_class_by_its_label() -> None:
    mine, other = named("gap", tuple("abcde")), named("functional", tuple("edcbz"))
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    wanted = [Logit(1).bind(mine), Logit(0).bind(mine), Channel(LAYER, 0)]
    recognition, unknown, no_class = recognize(other, mine, wanted, images)
    assert (unknown, no_class) == (None, None)
    logits = other(other.prepare(Picture.from_array(images[0])).images)[0].detach()
    assert recognition is not None
    assert recognition.rank == logits.argsort(descending=True).tolist().index(3) + 1
    assert recognition.probability == pytest.approx(logits.softmax(0)[3].item())
    assert recognition.best.index == logits.argmax()


def test_networks_of_the_same_classes_agree_on_those_of_one_name() -> None:
    mine, other = nets.build("gap"), nets.build("functional")
    cranes = [Logit(3).bind(mine), Logit(4).bind(mine)]
    recognitions = recognize(other, mine, cranes, torch.rand(1, 3, 32, 32).expand(2, -1, -1, -1))
    assert all(recognition is not None for recognition in recognitions)
    assert recognitions[0] != recognitions[1]


def test_without_labels_classes_are_matched_by_index_where_there_are_as_many() -> None:
    mine, other = named("gap", ()), named("functional", tuple("edcbz"))
    images = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    (recognition,) = recognize(other, mine, [Logit(4)], images)
    logits = other(other.prepare(Picture.from_array(images[0])).images)[0].detach()
    assert recognition is not None
    assert recognition.probability == pytest.approx(logits.softmax(0)[4].item())
    more = dataclasses.replace(other, module=torch.nn.Sequential(other.module, torch.nn.Linear(5, 7)))
    with pytest.raises(NetworkError, match=r"has no labels, and .* has 5 classes where .* has 7"):
        recognize(more, mine, [Logit(4)], images)
