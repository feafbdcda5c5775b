"""Projections of surveyed patches: true to the network, kept without harm, honest about what is lost."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch

import nets
from phosphene.attribution.gradients.backprop import Deconvnet
from phosphene.core.errors import OptionError, RunError
from phosphene.core.images import image
from phosphene.core.networks.network import Box
from phosphene.core.objectives.units import Neuron
from phosphene.core.result import Cost
from phosphene.studies.evidence.backprojection import BATCH, Backprojection, backproject
from phosphene.studies.evidence.crops import crops
from phosphene.studies.evidence.neurons import ProjectionMethod
from phosphene.survey.store.patch import Patch
from phosphene.survey.store.seal import CACHE


def patches(seen: Any, layer: str = "features.5") -> list[Patch]:
    """Of several units, so that images repeat and batches are not full."""
    return [
        strong for channel in (0, 3, 5) for strong in seen.run.patches(layer, channel, k=3) if strong.activation > 0
    ]


def kept_files(seen: Any) -> list[Path]:
    return sorted(file for file in (seen.run.folder / CACHE).rglob("*") if file.is_file())


def test_each_patch_is_projected_from_its_own_place_value_and_switches(plated: Any) -> None:
    wanted = patches(plated)
    assert len(wanted) % BATCH
    for patch, projection in zip(
        wanted, backproject(plated.network, plated.run, wanted, method="deconvnet"), strict=True
    ):
        images = plated.network.prepare(plated.run.picture(patch.image)).images
        alone = Deconvnet()(plated.network, images, Neuron(patch.layer, patch.channel, patch.row, patch.column))[0]
        assert (projection.values - alone).abs().max() <= 1e-3 * alone.abs().max()
        assert projection.activation == pytest.approx(patch.activation, rel=1e-5)
        assert (projection.patch, projection.box, projection.effective, projection.note) == (
            patch,
            patch.box,
            False,
            "",
        )


def test_nothing_lies_outside_the_field(plated: Any) -> None:
    for projection in backproject(plated.network, plated.run, patches(plated), method="guided-backprop"):
        top, left, bottom, right = map(int, projection.field)
        outside = projection.values.clone()
        outside[:, top:bottom, left:right] = 0
        assert not outside.any()
        assert projection.values.any()


def test_the_second_time_it_is_read_and_is_the_same(own: Any) -> None:
    first = backproject(own.network, own.run, patches(own))
    again = backproject(own.network, own.run, patches(own))
    assert {projection.cost for projection in first} == {Cost(1, 2)}
    assert {projection.cost for projection in again} == {Cost()}
    for one, other in zip(first, again, strict=True):
        assert torch.equal(one.values, other.values)
        assert dataclasses.replace(one, cost=Cost(), values=other.values).__dict__ == other.__dict__


def test_what_is_kept_knows_place_image_method_and_weights(own: Any) -> None:
    backproject(own.network, own.run, patches(own), method="deconvnet")
    sources = [(own.run.images["sha256"][strong.image], strong.channel) for strong in patches(own)]
    count = len(set(sources))  # a copy of a file is the same file
    assert 0 < count < len(sources)
    assert len(kept_files(own)) == count
    backproject(own.network, own.run, patches(own), method="guided-backprop")
    assert len(kept_files(own)) == 2 * count
    backproject(own.network, own.run, patches(own), method="guided-backprop", effective=True)  # the same, cut otherwise
    assert len(kept_files(own)) == 2 * count


def test_a_damaged_file_is_made_again_and_never_shown(own: Any) -> None:
    truth = backproject(own.network, own.run, patches(own))
    for number, path in enumerate(kept_files(own)):
        content = bytearray(path.read_bytes())
        content[(number * 97) % len(content)] ^= 16
        path.write_bytes(content)
    again = backproject(own.network, own.run, patches(own))
    assert all(projection.cost == Cost(1, 2) for projection in again)
    assert all(torch.equal(one.values, other.values) for one, other in zip(truth, again, strict=True))
    assert all(projection.cost == Cost() for projection in backproject(own.network, own.run, patches(own)))


def test_weights_without_a_hash_are_not_kept(own: Any) -> None:
    own.run.record["model"]["sha256"] = ""
    network = dataclasses.replace(own.network, sha256="")
    backproject(network, own.run, patches(own))
    assert kept_files(own) == []


def test_a_folder_that_cannot_be_written_is_told_once(own: Any) -> None:
    (own.run.folder / CACHE).parent.mkdir(exist_ok=True)
    (own.run.folder / CACHE).write_text("in the way")
    told: list[str] = []
    projections = backproject(own.network, own.run, patches(own), notify=told.append)
    assert all(projection.values.any() for projection in projections)
    assert len(told) == 1
    assert "projections are not cached" in told[0]


def test_an_activation_that_is_not_the_recorded_one_is_said(plated: Any) -> None:
    patch = patches(plated)[0]
    value = patch.activation
    near, far = (dataclasses.replace(patch, activation=value * factor) for factor in (1 + 5e-5, 1 + 3e-4))
    (fine, odd) = backproject(plated.network, plated.run, [near, far])
    assert fine.note == ""
    assert "the network, the file or the decoder changed since the survey" in odd.note


def test_a_lost_photograph_leaves_the_others(own: Any) -> None:
    wanted = patches(own)
    gone = wanted[1].image
    image.save(own.run.source(gone), np.zeros((9, 9, 3), np.uint8))
    for patch, projection in zip(wanted, backproject(own.network, own.run, wanted), strict=True):
        assert bool(projection.values.any()) == (patch.image != gone)
        assert ("has changed since the survey" in projection.note) == (patch.image == gone)
        assert projection.picture(24).std() > 0 or (projection.picture(24) == 128).all()


def test_a_weak_unit_is_blank_and_says_why(plated: Any) -> None:
    patch = next(strong for strong in plated.run.patches("features.0", 0, "bottom") if strong.activation < 0)
    patch = dataclasses.replace(patch, layer="logits", channel=0, row=0, column=0, whole=True)
    images = plated.network.prepare(plated.run.picture(patch.image)).images
    channel = int(plated.network(images).argmin())
    value = plated.network(images)[0, channel].item()
    assert value < 0
    patch = dataclasses.replace(patch, channel=channel, activation=value)
    (projection,) = backproject(plated.network, plated.run, [patch], method="deconvnet")
    assert not projection.values.any()
    assert projection.note == f"logits:{channel} is blank where it is not active"


@pytest.mark.parametrize("method", get_args(ProjectionMethod))
def test_where_everything_is_seen_the_effective_field_is_shown(plated: Any, method: ProjectionMethod) -> None:
    patch = plated.run.patches("logits", 1)[0]
    (projection,) = backproject(plated.network, plated.run, [patch], method=method)
    assert projection.effective
    assert projection.field[2] - projection.field[0] <= nets.SIZE
    height, width = patch.box.bottom - patch.box.top, patch.box.right - patch.box.left
    scaled = (projection.field[0] * height / nets.SIZE, projection.field[1] * width / nets.SIZE)
    assert projection.box[:2] == pytest.approx((patch.box.top + scaled[0], patch.box.left + scaled[1]))


def test_pictures_are_cut_like_the_crops(plated: Any) -> None:
    projections = backproject(plated.network, plated.run, patches(plated), effective=True)
    shown = [dataclasses.replace(projection.patch, box=projection.box) for projection in projections]
    for projection, crop in zip(projections, crops(plated.run, shown, side=40), strict=True):
        assert projection.picture(40).shape == crop.shape


def test_the_scale_leaves_a_share_of_the_magnitude_at_its_end() -> None:
    values = torch.zeros(3, 8, 8)
    values[:, 0, :5] = torch.tensor([1.0, -1.0, 1.0, 1.0, 4.0])
    patch = Patch("a", 0, "top", 0, 0, 1.0, 0, 0, Box(0, 0, 8, 8), whole=False)
    projection = Backprojection(patch, values, Box(0, 0, 8, 8), Box(0, 0, 8, 8), "gradient", 1.0)
    # All 4s together are half of the magnitude: the scale ends at 1 where 60 % may be beyond, else at 4.
    assert projection.picture(beyond=0.6)[0, :5, 0].tolist() == [255, 0, 255, 255, 255]
    assert projection.picture(beyond=0.2)[0, :5, 0].tolist() == [159, 96, 159, 159, 255]
    assert np.array_equal(projection.picture(), projection.picture(beyond=0.2))
    assert (projection.picture()[1:] == 128).all()


def test_another_network_is_refused(plated: Any) -> None:
    other = dataclasses.replace(plated.network, sha256="7" * 64)
    with pytest.raises(
        RunError, match=r"is a survey of gap \(weights 55555555\), and this is gap \(weights 77777777\)"
    ):
        backproject(other, plated.run, patches(plated))


def test_another_method_is_refused(plated: Any) -> None:
    with pytest.raises(OptionError, match="no projection is called 'deconv'; did you mean 'deconvnet'"):
        backproject(plated.network, plated.run, patches(plated), method="deconv")  # type: ignore[arg-type]
