"""A heatmap is a result: it knows its provenance, saves itself, and shows itself in a notebook."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import nets
from phosphene.attribution import attribute, attribute_all
from phosphene.attribution.cams.cam import GradCAM
from phosphene.core.errors import OptionError
from phosphene.core.images import image
from phosphene.core.images.image import Picture


@pytest.fixture
def photograph(tmp_path: Path) -> Picture:
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    return image.load(image.save(tmp_path / "photograph.png", pixels))


def test_it_saves_its_provenance(photograph: Picture, tmp_path: Path) -> None:
    network = nets.build("gap")
    heatmap = attribute(network, photograph, "tabby - goldfish", method="grad-cam")
    heatmap.save(tmp_path / "out")
    stored = json.loads((tmp_path / "out/result.json").read_text())
    assert (stored["verb"], stored["target"]) == ("attribute", "tabby - goldfish")
    assert stored["options"] == {"name": "grad-cam", "layer": None, "rectify": True}
    assert stored["inputs"][0]["path"] == photograph.path
    assert [row["index"] for row in stored["predictions"]] == [
        prediction.index for prediction in network.predict(network.prepare(photograph).images)[0]
    ]
    assert stored["scores"] == pytest.approx(heatmap.scores.tolist())
    assert (stored["cost"]["forwards"], stored["cost"]["backwards"]) == (1, 1)
    assert stored["notes"][0].startswith("features: ")
    paths = [file["path"] for file in stored["files"]]
    assert paths == ["grad-cam.npy", "grad-cam-picture.png", "grad-cam-overlay.png"]
    assert np.array_equal(np.load(tmp_path / "out/grad-cam.npy"), heatmap.values.numpy())


def test_targets_within_are_saved_with_predictions_too(photograph: Picture) -> None:
    network, calls = nets.build("gap"), []
    network.layers, network.classes  # noqa: B018  passes of their own
    network.module.register_forward_pre_hook(lambda *_: calls.append(1))
    heatmap = attribute(network, photograph, "features.2:1", method="gradient")
    assert heatmap.predictions
    assert heatmap.cost.forwards == len(calls) == 2
    calls.clear()
    assert attribute(network, photograph, method="gradient").cost.forwards == len(calls) == 2


def test_it_is_described_in_one_short_line() -> None:
    heatmap = attribute(nets.build("gap"), nets.pictures(2), 1, method="grad-cam")
    assert repr(heatmap) == "<Heatmap grad-cam of tiger cat in gap, 2×1×32×32>"
    assert len(heatmap.lines()) == 2


def test_it_shows_itself_in_a_notebook(photograph: Picture) -> None:
    heatmap = attribute(nets.build("gap"), photograph, 1, method="occlusion-class")
    png = heatmap._repr_png_()
    assert png is not None
    assert image.load(png).width > 2 * 32
    page = heatmap._repr_html_()
    assert "photograph: occlusion-class for tiger cat" in page
    assert "the most probable class changes on" in page


def test_a_network_among_the_options_of_a_method_is_refused() -> None:
    network = nets.build("gap")
    with pytest.raises(OptionError, match=r"GradCAM\(…\)\(network, images, target\)"):
        GradCAM(network, "features.2")  # type: ignore[arg-type]
    values = GradCAM(layer="features.2")(network, nets.pictures(1), 1)
    (heatmap,) = attribute_all(network, nets.pictures(1), [1], [GradCAM(network.module.features[2])])
    assert torch.equal(heatmap.values, values)
