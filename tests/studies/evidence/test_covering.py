"""Covering the pixels that made an activation takes it away; covering others does not."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from phosphene.attribution.baseline import fill_image
from phosphene.attribution.perturbation.engine import SETUP_PASSES
from phosphene.core.errors import OptionError
from phosphene.core.networks.network import Network, Preprocess
from phosphene.studies.evidence.backprojection import backproject
from phosphene.studies.evidence.covering import cover_projections
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
    projections = backproject(network, run, run.patches("1", 0, k=5))
    covered = cover_projections(network, run, projections, share=1 / 25, controls=8)
    controls = (covered.control.mean(1) / covered.before).tolist()
    rows = zip(covered.relative_fall.tolist(), controls, projections, covered.beats.tolist(), strict=True)
    for fall, control, projection, beats in rows:
        assert fall > 0.2 > 0.1 > control
        assert beats == 1
        # By hand: the middle pixel alone, blurred.
        patch = projection.patch
        image = network.prepare(run.picture(patch.image)).images
        blurred, row, column = image.clone(), patch.row + 2, patch.column + 2
        blurred[..., row, column] = fill_image("blur", network, image)[..., row, column]
        after = network.tap(blurred, ["1"])["1"][0, 0, patch.row, patch.column]
        assert fall == pytest.approx(1 - after.item() / patch.activation, abs=1e-4)


def test_it_counts_its_passes_and_follows_the_seed(plated: Any) -> None:
    projections = backproject(plated.network, plated.run, plated.run.patches("features.5", 3))
    alive = [projection for projection in projections if projection.activation > 0 and projection.values.any()]
    covered = cover_projections(plated.network, plated.run, projections, controls=3)
    again, other = (
        cover_projections(plated.network, plated.run, projections, controls=3, seed=seed) for seed in (0, 1)
    )
    assert len(covered.fall) == len(alive)
    assert covered.cost.forwards == 4 * len(alive) + SETUP_PASSES
    assert covered.as_dict() == again.as_dict()
    assert not torch.equal(covered.control, other.control)
    assert 0 <= covered.beats.min() <= covered.beats.max() <= 1


def test_logits_too(plated: Any) -> None:
    projections = backproject(plated.network, plated.run, plated.run.patches("logits", 2))
    alive = [projection for projection in projections if projection.activation > 0 and projection.values.any()]
    assert len(cover_projections(plated.network, plated.run, projections).fall) == len(alive)


def test_nothing_to_cover_is_said(plated: Any) -> None:
    (projection,) = backproject(plated.network, plated.run, plated.run.patches("features.5", 3, k=1))
    blank = dataclasses.replace(projection, values=torch.zeros_like(projection.values))
    assert str(cover_projections(plated.network, plated.run, [blank])) == "nothing to cover"


@pytest.mark.parametrize("options", [{"controls": 0}, {"share": 0.0}, {"share": 1.0}])
def test_options_that_compare_nothing_are_refused(plated: Any, options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match="want at least 1, and a share"):
        cover_projections(plated.network, plated.run, [], **options)
