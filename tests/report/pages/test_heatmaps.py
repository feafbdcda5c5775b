"""Heatmaps as a report: what is said of them, what is written, what is refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.data import chelsea
from torch import Tensor

import phosphene.report
from nets import build, pictures
from phosphene.attribution import Attribution, Heatmap
from phosphene.attribution.cams.cam import GradCAM, LayerMap
from phosphene.attribution.gradients.backprop import Gradient, GuidedBackprop, InputXGradient
from phosphene.attribution.perturbation.occlusion import OcclusionClass
from phosphene.core.errors import OptionError
from phosphene.core.images import image
from phosphene.core.images.image import Picture
from phosphene.core.images.preprocess import Preprocess
from phosphene.core.networks.network import Network
from phosphene.core.objectives.classes import Logit
from phosphene.core.objectives.objective import Objective
from phosphene.core.objectives.units import Channel
from phosphene.core.result import Cost
from phosphene.report.comparison import compare
from phosphene.report.figures import figure, percent, predicted, spelled
from phosphene.report.html import render
from phosphene.report.page import Page, Section
from phosphene.report.report import Report, report
from phosphene.studies.evidence.map_scores import MapScores
from report.audit import audit

NETWORK = build("gap")


@pytest.fixture(autouse=True)
def _released(monkeypatch: pytest.MonkeyPatch) -> None:
    """The version, whether or not the package is installed."""
    monkeypatch.setattr("phosphene.core.result.version", lambda _: "0.0.0")


def made(
    method: Attribution | None = None, target: Objective | None = None, *, count: int = 1, values: Tensor | None = None
) -> Heatmap:
    """A heatmap that nobody computed."""
    chosen = method or GradCAM()
    if values is None:
        values = torch.zeros(count, 3 if isinstance(chosen, Gradient) else 1, 32, 32)
        values[..., 2:10, 20:30] = 2.0
        values[:, -1, 20:, 3:8] = 0.25 if isinstance(chosen, LayerMap) else -0.5
    return Heatmap(
        values=values,
        images=pictures(count),
        method=chosen,
        target=(target or Logit(2)).bind(NETWORK),
        scores=torch.full((count,), 1.5),
        network=NETWORK,
        layer="" if isinstance(chosen, Gradient) else "features.5",
        cost=Cost(0, count, 0.25),
        notes=("features.5: the last layer with a map",),
    )


def test_a_figure_says_where_it_comes_from_and_what_is_known_against_it() -> None:
    drawn = figure(made(), file="a/grad-cam.npy")
    facts = dict(drawn.facts)
    assert facts["Target"] == "goldfish"
    assert facts["Layer"] == "features.5"
    assert facts["Cost"] == "0 forwards, 1 backward in 0.25 s"
    assert facts["Values"] == "0 … 2"
    assert facts["Target value"] == "1.5 logit"
    assert facts["Raw values"].href == "a/grad-cam.npy"  # type: ignore[union-attr]
    assert drawn.reading == GradCAM.reading
    assert drawn.weakness == GradCAM.weakness
    assert drawn.notes == ("features.5: the last layer with a map",)


def test_guided_backprop_is_shown_with_what_sanity_makes_of_it() -> None:
    drawn = figure(made(GuidedBackprop()), scores=MapScores(sanity=0.93, notes=("a blank",)))
    assert "barely depends" in drawn.weakness
    assert drawn.notes[0].startswith(
        "Measured here, sanity score 0.93: with half of the weights random the map stays much the same"
    )
    assert drawn.notes[1] == "a blank"


def test_the_words_say_where_the_map_lies() -> None:
    assert "grad-cam for goldfish at features.5: " in figure(made()).views[0].alt
    assert "% of the mass lies in the upper right quarter" in figure(made()).views[0].alt
    blank = figure(made(values=torch.zeros(1, 1, 32, 32)))
    assert "the map is zero everywhere" in blank.views[0].alt
    assert [view.label for view in blank.views] == ["overlay", "map"]


@pytest.mark.parametrize(
    ("method", "labels"),
    [
        (GradCAM(), ["overlay", "map", "strongest"]),
        (Gradient(), ["magnitude", "overlay", "signed", "strongest"]),
        (InputXGradient(), ["overlay", "map", "strongest"]),
        (GuidedBackprop(), ["signed", "overlay", "magnitude", "strongest"]),
    ],
)
def test_each_kind_of_map_is_seen_first_as_it_is_read(method: Attribution, labels: list[str]) -> None:
    assert [view.label for view in figure(made(method)).views] == labels


def test_every_colored_view_has_a_scale_with_its_unit() -> None:
    views = figure(made(InputXGradient())).views
    assert [view.legend and view.legend.ticks[1] for view in views] == ["0", "0", None]
    low, _, high = views[0].legend.ticks  # type: ignore[union-attr]
    assert low == f"−{high}"
    assert views[0].legend.unit.startswith("logit")  # type: ignore[union-attr]


def test_the_strongest_places_are_the_photograph_where_the_map_is_high() -> None:
    values = torch.zeros(1, 1, 32, 32)
    values[..., :8, :4] = 1
    cut = figure(made(values=values)).views[-1].image
    assert isinstance(cut, np.ndarray)
    assert (cut[..., 3] > 0).sum() == 32
    assert (cut[:8, :4, 3] == 255).all()


def test_a_map_of_classes_has_a_color_for_each_name() -> None:
    values = torch.ones(1, 1, 32, 32)
    values[..., :8] = 2
    (alone, over) = figure(made(OcclusionClass(patch=8, stride=8), values=values)).views
    assert alone.legend is not None
    assert alone.legend.ticks == ("tiger cat", "goldfish")
    assert "tiger cat on 75 %, goldfish on 25 %" in alone.alt
    assert isinstance(alone.image, np.ndarray)
    assert isinstance(alone.legend.strip, np.ndarray)
    assert np.array_equal(alone.legend.strip[0, 0], alone.image[0, 31])
    assert np.array_equal(alone.legend.strip[0, -1], alone.image[0, 0])
    assert over.label == "overlay"


def test_a_report_is_a_folder_with_page_pictures_values_and_manifest(tmp_path: Path) -> None:
    heatmap = made()
    manifest = report(heatmap).save(tmp_path / "why")
    page = tmp_path / "why" / "index.html"
    assert sorted(path.name for path in page.parent.iterdir()) == [
        ".phosphene",
        "grad-cam.npy",
        "grad-cam.png",
        "index.html",
        "result.json",
    ]
    assert np.array_equal(np.load(page.parent / "grad-cam.npy"), heatmap.values[0].numpy())
    assert image.load(page.parent / "grad-cam.png").pixels.shape == (32, 32, 3)
    assert manifest == json.loads((page.parent / "result.json").read_text())
    assert manifest["target"] == "goldfish"
    assert manifest["cost"] == {"forwards": 1, "backwards": 1, "seconds": 0.25}
    assert [file["kind"] for file in manifest["files"]] == ["heatmap", "overlay", "report"]
    assert manifest["files"][0]["shape"] == [1, 32, 32]
    assert len(manifest["predictions"]) == 5
    for link in audit(page.read_text()).all("a"):
        href = link.get("href")
        assert href.startswith("#") or (page.parent / href).exists()


def test_several_pictures_targets_and_twins_keep_their_own_files(tmp_path: Path) -> None:
    maps = [
        made(method, target, count=2)
        for target in (Logit(0), Logit(1))
        for method in (GradCAM(), GradCAM(layer="features.3"))
    ]
    comparison, page = compare(tuple(maps)), report(maps)
    assert len({made.stem for made in comparison.maps}) == len(comparison.maps) == 8
    titles = [section.title for section in page.page.sections]
    assert titles == [
        title
        for name in ("picture 1", "picture 2")
        for title in (name, f"Maps for tabby in {name}", f"Maps for tiger cat in {name}")
    ]
    page.save(tmp_path)
    assert len(list(tmp_path.glob("*.npy"))) == 8
    audit((tmp_path / "index.html").read_text())


def test_heatmaps_of_one_picture_in_two_batches_stand_together() -> None:
    two = made(count=2)
    one = dataclasses.replace(made(), images=two.images[:1])
    photographs = [Picture.from_array(pixels, f"{i}.png") for i, pixels in enumerate(two.images)]
    assert [made.picture for made in compare((two, one), photographs).maps] == [0, 0, 1]
    assert report([two, one], pictures=photographs).page.sections[0].title == "0"


def test_scores_become_a_table(tmp_path: Path) -> None:
    maps = [made(), made(GuidedBackprop())]
    page = report(maps, scores=[MapScores(0.12, 0.81, 0.03), MapScores(0.2, 0.6, 0.93)])
    table = page.page.sections[-1].tables[0]
    assert [column.title for column in table.columns] == ["Map", "Deletion", "Insertion", "Sanity"]
    assert table.rows[1] == ("guided-backprop", 0.2, 0.6, 0.93)
    page.save(tmp_path)
    assert json.loads((tmp_path / "result.json").read_text())["scores"][0]["deletion"] == 0.12


def test_hostile_labels_are_text_everywhere(tmp_path: Path) -> None:
    evil = """</style><script>alert("1")</script>'"><img src=x>"""
    network = dataclasses.replace(NETWORK, labels=(evil,) * 5, name=evil)
    heatmap = dataclasses.replace(made(), network=network, target=Logit(2).bind(network), layer=evil, notes=(evil,))
    photograph = Picture.from_array(heatmap.images[0], evil)
    quiet, loud = report(made()).html(), report(heatmap, pictures=[photograph], title=evil).html()
    assert [element.tag for element in audit(loud).elements] == [element.tag for element in audit(quiet).elements]
    report(heatmap, pictures=[photograph]).save(tmp_path)
    assert {path.parent for path in tmp_path.rglob("*") if ".phosphene" not in path.parts} == {tmp_path}


def test_the_same_heatmaps_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        report([made(), made(GuidedBackprop())]).save(tmp_path / name)
    for path in (file for file in (tmp_path / "one").iterdir() if file.is_file()):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_a_page_of_fifteen_maps_of_a_photograph_stays_small() -> None:
    photograph = Preprocess(size=(224, 224)).prepare(Picture.from_array(chelsea())).images
    noise = torch.randn(1, 1, 56, 56, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.interpolate(noise, (224, 224), mode="bilinear")
    figures = tuple(figure(dataclasses.replace(made(values=smooth), images=photograph)) for _ in range(15))
    assert len(render(Page("x", sections=(Section("y", figures=figures),)))) < 8e6


def test_a_network_that_is_no_classifier_names_no_class() -> None:
    network = Network(torch.nn.Conv2d(3, 2, 3), NETWORK.preprocess, name="dense")
    heatmap = dataclasses.replace(made(), network=network, target=Channel("logits", 0))
    section = report(heatmap).page.sections[0]
    assert not section.tables
    assert "no best class" in section.notes[0]


def test_what_cannot_be_reported_is_refused() -> None:
    with pytest.raises(OptionError, match="at least one heatmap"):
        report([])
    with pytest.raises(OptionError, match="2 networks"):
        report([made(), dataclasses.replace(made(), network=build("gap"))])
    with pytest.raises(OptionError, match="2 pictures, but 1"):
        report(made(count=2), pictures=[Picture.from_array(pictures(1)[0])])
    with pytest.raises(OptionError, match="1 heatmaps and 2 scores"):
        report(made(), scores=[MapScores(), MapScores()])


def test_the_package_is_the_verb() -> None:
    assert isinstance(phosphene.report(made()), Report)  # type: ignore[operator]


def test_a_method_is_spelled_with_its_options() -> None:
    assert spelled(GradCAM(layer="features.3")).startswith("grad-cam (layer features.3")
    assert spelled(Gradient()) == "gradient"


def test_predictions_are_bars() -> None:
    table = predicted(NETWORK.predict(pictures(1), 3)[0])
    assert sum(row[1].share for row in table.rows) <= 1  # type: ignore[union-attr]
    assert percent(0.0) == "0.0 %"
    assert percent(1.0) == "100 %"


def test_the_strongest_places_are_a_tenth_of_the_pixels() -> None:
    views = figure(made(values=torch.arange(1024.0).view(1, 1, 32, 32))).views
    assert views[-1].alt.startswith("The 10 % of the photograph")
