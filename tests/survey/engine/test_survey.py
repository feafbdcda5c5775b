"""The survey: what it records is correct, and it gives the same bytes however it is interrupted or shared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import nets
from phosphene.core.errors import LayerError, OptionError, RunError
from phosphene.core.networks.network import Network
from phosphene.survey.accumulators import default_accumulators
from phosphene.survey.accumulators.embedding import Embeddings
from phosphene.survey.accumulators.moments import Moments
from phosphene.survey.accumulators.top import TopPatches
from phosphene.survey.engine.fold import Fold
from phosphene.survey.engine.plan import SurveyPlan
from phosphene.survey.engine.survey import survey
from phosphene.survey.sources.image_list import list_images
from phosphene.survey.store.run import Run
from survey.photographs import photographs

BROKEN = (4, 17)  # of the files
GONE = (11, 25)  # their numbers in the list


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photographs(tmp_path_factory.mktemp("photos"), 30, broken=BROKEN)


@pytest.fixture(scope="module")
def network() -> Network:
    return nets.build("residual")


@pytest.fixture(scope="module")
def run(network: Network, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return survey(network, folder, tmp_path_factory.mktemp("runs") / "run", k=5, workers=1)


def digests(run: Run) -> dict[str, str]:
    return {entry["path"]: entry["sha256"] for entry in run.record["files"]}


def maps(network: Network, folder: Path, layer: str) -> NDArray[np.float32]:
    """All maps of a layer, (N, C, H, W), computed in the batches of the survey; NaN for broken pictures."""
    images = list_images(folder)
    by_number: dict[int, torch.Tensor] = {}
    for numbers in SurveyPlan.of(network, images, [TopPatches()]).batches():
        good = [number for number in numbers.tolist() if number not in GONE]
        batch = torch.cat([network.prepare(images.load(number)).images for number in good])
        with torch.no_grad():
            by_number |= dict(zip(good, network.tap(batch, [layer])[layer], strict=True))
    blank = torch.full_like(next(iter(by_number.values())), torch.nan)
    return torch.stack([by_number.get(number, blank) for number in range(len(images))]).numpy()


@pytest.mark.parametrize("layer", ["cap", "relu"])
def test_patches_are_those_of_all_maps_at_once(network: Network, run: Run, folder: Path, layer: str) -> None:
    dense = maps(network, folder, layer)
    good = [number for number in range(30) if number not in GONE]
    for channel in range(dense.shape[1]):
        for side, best in (("top", dense[:, channel].max((1, 2))), ("bottom", -dense[:, channel].min((1, 2)))):
            expected = sorted(good, key=lambda number, best=best: (-best[number], number))[:5]
            patches = run.patches(layer, channel, side)
            assert [patch.image for patch in patches] == expected
            for patch in patches:
                assert dense[patch.image, channel, patch.row, patch.column] == patch.activation


def test_units_are_told_in_numbers(network: Network, run: Run, folder: Path) -> None:
    dense = maps(network, folder, "relu").astype(np.float64)
    units = run.units("relu")
    peaks = dense.max((2, 3))
    assert np.allclose(units["mean_max"], np.nanmean(peaks, 0), rtol=1e-6, atol=1e-7)
    assert np.allclose(units["mean"], np.nanmean(dense, (0, 2, 3)), rtol=1e-5, atol=1e-7)
    assert units["places_positive"].tolist() == (dense > 0).sum((0, 2, 3)).tolist()
    assert units["images_positive"].tolist() == (peaks > 0).sum(0).tolist()
    assert set(units["images"].tolist()) == {28}


def test_images_know_their_label_their_class_and_what_was_wrong(network: Network, run: Run) -> None:
    images = run.images
    assert images["label"].tolist() == [f"class-{number // 10}" for number in range(30)]
    assert np.flatnonzero(~images["ok"]).tolist() == list(GONE)
    assert all(line.count("0004.png") + line.count("0017.png") == 1 for line in run.record["errors"])
    assert len(run.record["errors"]) == 2
    good = int(np.flatnonzero(images["ok"])[0])
    logits = network(network.prepare(run.picture(good)).images)[0]
    assert images["predicted"][good] == logits.argmax().item()
    assert images["logit"][good] == pytest.approx(logits.max().item(), rel=1e-5)
    assert images["probability"][good] == pytest.approx(logits.softmax(0).max().item(), rel=1e-5)


def test_embeddings_are_rows_and_failures_are_nan(network: Network, run: Run) -> None:
    assert np.isnan(run.embeddings[list(GONE)]).all()
    assert not np.isnan(np.delete(run.embeddings, GONE, 0)).any()
    assert run.pixels.shape == (30, 32, 32, 3)
    assert run.record["embedding"] == Embeddings().layers(network, ())[0]


@pytest.mark.parametrize("workers", [2, 5])
def test_workers_do_not_change_a_byte(network: Network, run: Run, folder: Path, tmp_path: Path, workers: int) -> None:
    assert digests(survey(network, folder, tmp_path / "run", k=5, workers=workers)) == digests(run)


def test_without_labels_the_classes_are_those_that_the_network_names(
    network: Network, folder: Path, tmp_path: Path
) -> None:
    run = survey(network, folder, tmp_path / "run", k=5, labels="none")
    predictions = set(run.images["prediction"].tolist()) - {""}
    assert set(run.classes("relu", 0)["class"].tolist()) == predictions
    assert run.labeled is False


def test_a_run_reads_the_layers_that_were_chosen(network: Network, folder: Path, tmp_path: Path) -> None:
    run = survey(network, folder, tmp_path / "run", [TopPatches(2, weakest=False)], layers="cap,conv")
    assert run.layers == ("cap", "conv")
    assert run.images["predicted"].tolist() == [-1] * 30
    with pytest.raises(LayerError, match=r"no layer of .* matches"):
        survey(network, folder, tmp_path / "other", layers="nope")
    with pytest.raises(OptionError, match="give each once"):
        survey(network, folder, tmp_path / "other", [Moments(), Moments()])


def test_the_network_is_left_as_it_was_found(folder: Path, tmp_path: Path) -> None:
    network = nets.build("residual")
    network.module.train()
    network.module.requires_grad_(True)
    before = {name: tensor.clone() for name, tensor in network.module.state_dict().items()}
    torch.manual_seed(3)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    survey(network, folder, tmp_path / "run", [Moments()], workers=3)
    assert network.module.training
    assert all(parameter.requires_grad for parameter in network.module.parameters())
    assert all(torch.equal(before[name], tensor) for name, tensor in network.module.state_dict().items())
    assert not any(module._forward_hooks for module in network.module.modules())
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads


def test_a_network_of_one_layer_goes_without_embeddings(folder: Path, tmp_path: Path) -> None:
    network = nets.build("linear")
    assert not any(isinstance(accumulator, Embeddings) for accumulator in default_accumulators(network))
    run = survey(network, folder, tmp_path / "run", k=3)
    assert run.layers == ("logits",)


@pytest.mark.parametrize("name", ["tokens", "tuple", "in-place", "dead"])
def test_other_kinds_of_networks(name: str, folder: Path, tmp_path: Path) -> None:
    network = nets.build(name)
    run = survey(network, folder, tmp_path / "run", k=3)
    assert len(run.units()["channel"]) == sum(network.shape(layer)[0] for layer in run.layers)
    if name == "dead":
        assert run.units("features.5")["dead"].all()


def test_the_state_does_not_grow_with_the_images(network: Network, folder: Path) -> None:
    images = list_images(folder)
    fold = Fold(SurveyPlan.of(network, images, default_accumulators(network, k=5)))
    sizes = {key: {name: tensor.shape for name, tensor in state.items()} for key, state in fold.states.items()}
    assert all(30 not in shape for state in sizes.values() for shape in state.values())


@pytest.mark.parametrize("shape", [(), (4, 225)])
def test_what_is_neither_vector_nor_map_is_refused(shape: tuple[int, ...], folder: Path, tmp_path: Path) -> None:
    class Odd(torch.nn.Conv2d):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            maps = super().forward(x)
            return maps.flatten(2) if shape else maps.mean((1, 2, 3))

    network = Network(torch.nn.Sequential(torch.nn.ReLU(), Odd(3, 4, 3, 2)), nets.build("gap").preprocess)
    with pytest.raises(LayerError, match=r"logits of network gives .*Choose other layers"):
        survey(network, folder, tmp_path / "run", [Moments()])


def test_logits_that_are_maps_are_surveyed_like_any(folder: Path, tmp_path: Path) -> None:
    class Segmentation(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = torch.nn.Conv2d(3, 4, 3, 2), torch.nn.Conv2d(4, 2, 1)

        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            y = self.body(x).relu()
            return {"out": self.head(y), "aux": y}

    run = survey(Network(Segmentation(), nets.build("gap").preprocess), folder, tmp_path / "run", labels="none")
    assert run.grid("logits") == (15, 15)
    assert run.images["predicted"].tolist() == [-1] * 30
    assert set(run.units("logits")["class"]) == {""}


def test_a_network_that_cannot_be_copied_works_in_one_thread_and_says_so(folder: Path, tmp_path: Path) -> None:
    class Alone(torch.nn.Conv2d):
        def __deepcopy__(self, memo: object) -> object:
            raise TypeError("it holds a lock")

    network = Network(torch.nn.Sequential(Alone(3, 4, 3, 2), torch.nn.ReLU()), nets.build("gap").preprocess)
    run = survey(network, folder, tmp_path / "run", [Moments()], workers=2)
    assert any("cannot be copied for another thread: it holds a lock" in note for note in run.record["notes"])


def test_weights_that_changed_are_another_survey(folder: Path, tmp_path: Path) -> None:
    network = nets.build("residual")
    assert not network.sha256  # they come from no file
    survey(network, folder, tmp_path / "run", [Moments()])
    with torch.no_grad():
        next(network.module.parameters()).add_(1)
    with pytest.raises(RunError, match="holds a survey of other model"):
        survey(network, folder, tmp_path / "run", [Moments()])
