"""The deconvnet check: its falls are those of `covering`, its figure shows the projection."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import nets
from phosphene.attribution import attribute
from phosphene.attribution.evaluate.covering import covering
from phosphene.core.errors import OptionError
from phosphene.core.images.image import Picture
from phosphene.core.inputs import bind_target
from phosphene.core.progress import Progress
from phosphene.report.report import report
from phosphene.studies import registered
from phosphene.studies.deconvnet_check import DeconvnetCheck
from phosphene.studies.study import Study

PICTURES = [
    Picture.from_array(pixels.permute(1, 2, 0).numpy(), f"{i}.png") for i, pixels in enumerate(nets.pictures(2))
]


def test_a_study_is_found_by_its_name() -> None:
    assert registered()["deconvnet-check"] is DeconvnetCheck
    assert Study.find("deconvnet-check") is DeconvnetCheck
    assert all(option.help for option in DeconvnetCheck.options())


def test_the_falls_are_those_of_covering_by_the_projection() -> None:
    network, unit = nets.build("gap"), "features.5:3@max"
    result = DeconvnetCheck(target=unit, share=0.01, controls=4).study(network, PICTURES, seed=3)
    for check, picture in zip(result.checks, PICTURES, strict=True):
        images = network.prepare(picture).images
        target = bind_target(network, unit, images)
        values = attribute(network, images, target, method="deconvnet").values
        expected = covering(network, images, values, target, share=0.01, controls=4, seed=3)
        assert check.covering.fall.item() == pytest.approx(expected.fall.item(), abs=1e-6)
        assert np.allclose(check.covering.control.cpu(), expected.control.cpu(), atol=1e-6)
        assert check.sheet().shape == (32, 2 * 32 + 4, 3)
    assert result.cost.forwards >= 2 * (1 + 4)


def test_it_is_saved_with_a_page_and_all_numbers(tmp_path: Path) -> None:
    result = DeconvnetCheck(controls=2).study(nets.build("gap"), PICTURES)
    stored = report(result).save(tmp_path)
    assert [file["path"] for file in stored["files"]] == ["0.png", "0.npy", "1.png", "1.npy", "index.html"]
    assert stored["verb"] == "study"
    assert stored["options"] == {
        "study": "deconvnet-check", "target": "top", "method": "deconvnet", "share": 0.05, "controls": 2,
    }  # fmt: skip
    assert [row["input"] for row in stored["results"]] == ["0", "1"]
    assert json.loads((tmp_path / "result.json").read_text()) == stored
    assert "falls by" in (tmp_path / "index.html").read_text()


def test_a_watcher_stops_it_after_a_picture() -> None:
    seen: list[Progress] = []

    def watch(progress: Progress) -> bool:
        seen.append(progress)
        return progress.done == 1

    result = DeconvnetCheck(controls=1).study(nets.build("gap"), PICTURES, watch=watch)
    assert [(progress.done, progress.total) for progress in seen] == [(0, 2), (1, 2)]
    assert len(result.checks) == 1
    assert result.notes == ("stopped after 1 of 2 pictures",)


def test_no_picture_is_refused() -> None:
    with pytest.raises(OptionError, match="no picture"):
        DeconvnetCheck().study(nets.build("gap"), [])
