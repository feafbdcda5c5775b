"""Hiding the pixels that made an activation takes it away; hiding others does not."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from phosphene.attribution.perturbation.engine import filling
from phosphene.core.errors import OptionError
from phosphene.core.networks.network import Network, Preprocess
from phosphene.studies.evidence.backprojection import backproject
from phosphene.studies.evidence.hiding import hide
from phosphene.survey.engine.survey import survey


def center(folder: Path, photos: str) -> Any:
    """A survey of a unit that sees 5 × 5 pixels and reads the one in the middle, less its neighbors."""
    convolution = nn.Conv2d(3, 1, 5, bias=False)
    nn.init.zeros_(convolution.weight)
    convolution.weight.data[0, :, 2, 2] = 1
    convolution.weight.data[0, :, 1:4, 1:4] -= 0.1
    module = nn.Sequential(convolution, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 2))
    network = Network(module.eval(), Preprocess((32, 32), (0.0,) * 3, (1.0,) * 3), sha256="c" * 64)
    return network, survey(network, photos, folder / "run", layers=["1"], workers=1)


def test_the_pixel_that_is_read_falls_and_the_others_do_not(plated: Any, tmp_path: Path) -> None:
    network, run = center(tmp_path, str(Path(plated.run.source(0)).parent))
    found = backproject(network, run, run.patches("1", 0, k=5))
    hiding = hide(network, run, found, share=1 / 25, controls=8)
    for fall, control, each, beats in zip(hiding.fall, hiding.control, found, hiding.beats, strict=True):
        assert fall > 0.2 > 0.1 > control
        assert beats == 1
        # By hand: the middle pixel alone, blurred.
        image = network.prepare(run.picture(each.patch.image)).images
        covered, row, column = image.clone(), each.patch.row + 2, each.patch.column + 2
        covered[..., row, column] = filling("blur", network, image)[..., row, column]
        after = network.tap(covered, ["1"])["1"][0, 0, each.patch.row, each.patch.column]
        assert fall == pytest.approx(1 - after.item() / each.patch.activation, abs=1e-4)


def test_it_counts_its_passes_and_follows_the_seed(plated: Any) -> None:
    found = backproject(plated.network, plated.run, plated.run.patches("features.5", 3))
    alive = [each for each in found if each.activation > 0 and each.values.any()]
    hiding = hide(plated.network, plated.run, found, controls=3)
    assert len(hiding.fall) == len(alive)
    assert hiding.cost.forwards == 4 * len(alive)
    assert hiding == hide(plated.network, plated.run, found, controls=3)
    assert hiding.control != hide(plated.network, plated.run, found, controls=3, seed=1).control
    assert 0 <= min(hiding.beats) <= max(hiding.beats) <= 1


def test_logits_too(plated: Any) -> None:
    found = backproject(plated.network, plated.run, plated.run.patches("logits", 2))
    alive = [each for each in found if each.activation > 0 and each.values.any()]
    hiding = hide(plated.network, plated.run, found)
    assert len(hiding.fall) == len(alive)


def test_nothing_to_hide_is_said(plated: Any) -> None:
    (found,) = backproject(plated.network, plated.run, plated.run.patches("features.5", 3, k=1))
    blank = dataclasses.replace(found, values=torch.zeros_like(found.values))
    assert str(hide(plated.network, plated.run, [blank])) == "nothing to hide"


@pytest.mark.parametrize("options", [{"controls": 0}, {"share": 0.0}, {"share": 1.0}])
def test_options_that_compare_nothing_are_refused(plated: Any, options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match="want at least 1, and a share"):
        hide(plated.network, plated.run, [], **options)
