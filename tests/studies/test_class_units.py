"""Class-specific units: their contributions add up to the logit."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from phosphene.core.errors import RunError, TargetError
from phosphene.core.networks.network import Network
from phosphene.studies.class_units import class_units
from phosphene.survey.engine.survey import survey
from phosphene.survey.store.run import Run
from survey.photographs import photographs
from surveys import surveyed


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Network]:
    return surveyed(tmp_path_factory.mktemp("survey"))


def logits(run: Run, network: Network, images: tuple[int, ...]) -> torch.Tensor:
    with torch.no_grad():
        return network(torch.cat([network.prepare(run.picture(image)).images for image in images]))


def test_contributions_are_weight_times_mean_and_add_up(made: tuple[Run, Network]) -> None:
    run, network = made
    units_of_class = class_units(network, run, "Goldfish", k=12)
    assert units_of_class.index == 2
    assert units_of_class.basis == "the 4 images labeled goldfish"
    assert units_of_class.images == tuple(np.flatnonzero(run.images["label"] == "goldfish"))
    for unit in units_of_class.contributions:
        maps = network.tap(
            torch.cat([network.prepare(run.picture(i)).images for i in units_of_class.images]), [units_of_class.layer]
        )[units_of_class.layer]
        assert unit.mean == pytest.approx(maps[:, unit.channel].mean().item(), abs=2e-3)
        weight = network.module.head.weight[2, unit.channel].item()  # type: ignore[union-attr,index]
        assert unit.value == pytest.approx(weight * unit.mean)
    values = [unit.value for unit in units_of_class.contributions]
    assert values == sorted(values, reverse=True)
    assert sum(values) + units_of_class.bias == pytest.approx(units_of_class.logit)
    assert units_of_class.logit == pytest.approx(
        logits(run, network, units_of_class.images)[:, 2].mean().item(), abs=5e-3
    )


def test_the_images_of_a_unit_are_those_of_its_greatest_mean(made: tuple[Run, Network]) -> None:
    run, network = made
    best = class_units(network, run, "goldfish", k=1).contributions[0]
    means = np.asarray(run.embeddings[:, best.channel], np.float32)
    assert [shot.patch.activation for shot in best.patches] == sorted(means.tolist(), reverse=True)[:6]
    assert [means[shot.patch.image] for shot in best.patches] == [shot.patch.activation for shot in best.patches]


def test_selective_units_are_those_of_the_table(made: tuple[Run, Network]) -> None:
    run, network = made
    units_of_class = class_units(network, run, "tabby", k=3)
    assert list(units_of_class.selective) == [name for name in run.layers if name != "logits"]
    for layer, units in units_of_class.selective.items():
        everything = {c: run.classes(layer, c) for c in range(run.channels(layer))}
        of_class = {c: t["selectivity"][t["class"] == "tabby"].item() for c, t in everything.items()}
        assert [unit.selectivity for unit in units] == sorted(of_class.values(), reverse=True)[:3]
        assert all(of_class[unit.channel] == unit.selectivity for unit in units)


def test_a_class_without_images_is_measured_on_what_is_taken_for_one_or_on_all(made: tuple[Run, Network]) -> None:
    run, network = made
    counts = np.bincount(run.images["predicted"], minlength=5)
    taken, never = (next(i for i in (0, 1, 3, 4) if bool(counts[i]) == want and i) for want in (True, False))
    assert "the network predicts to be of the class" in class_units(network, run, str(taken), k=1).basis
    units_of_class = class_units(network, run, str(never), k=1)
    assert units_of_class.basis == "all images, as none of the class was surveyed"
    assert len(units_of_class.images) == 12
    assert any("no unit can be called selective" in note for note in units_of_class.notes)


def test_a_label_that_the_network_has_not(made: tuple[Run, Network]) -> None:
    units_of_class = class_units(*made[::-1], "otter", k=2)
    assert units_of_class.index is None
    assert not units_of_class.contributions
    assert units_of_class.selective
    assert "no class 'otter'" in units_of_class.notes[-1]


@pytest.mark.parametrize(("name", "text"), [("otterr", "did you mean 'otter'"), ("9", "0 … 4"), ("crane", "index")])
def test_a_class_that_is_not_there(made: tuple[Run, Network], name: str, text: str) -> None:
    with pytest.raises(TargetError, match=text):
        class_units(*made[::-1], name)


def test_other_networks_have_selective_units_alone(tmp_path: Path) -> None:
    run, network = surveyed(tmp_path, "tokens")
    units_of_class = class_units(network, run, "goldfish", k=2)
    assert not units_of_class.contributions
    assert "no contributions" in units_of_class.notes[-1]
    assert units_of_class.selective


def test_without_logits_nothing_is_added_up(made: tuple[Run, Network], tmp_path: Path) -> None:
    run, network = made
    units_of_class = class_units(
        network, survey(network, run.folder.parent / "photos", tmp_path / "run", layers="features.3"), "tabby"
    )
    assert not units_of_class.contributions
    assert "no contributions: the survey kept no logits" in units_of_class.notes[-1]


def test_another_network_and_a_survey_of_nothing_are_refused(made: tuple[Run, Network], tmp_path: Path) -> None:
    run, network = made
    with pytest.raises(RunError, match="is a survey of"):
        class_units(dataclasses.replace(network, name="other"), run, "tabby")
    nothing = survey(network, photographs(tmp_path / "photos", 3, broken=(0, 1, 2)), tmp_path / "run")
    with pytest.raises(RunError, match="could read no image"):
        class_units(network, nothing, "goldfish")


def test_embeddings_that_are_not_what_the_classifier_reads_are_refused(
    made: tuple[Run, Network], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, network = made
    doubled = 2 * np.asarray(run.embeddings)
    monkeypatch.setattr(Run, "embeddings", property(lambda _: doubled))
    units = class_units(network, run, "goldfish")
    assert not units.contributions
    assert "of another layer than the one that the classifier reads" in units.notes[-1]
