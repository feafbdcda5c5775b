"""Patches come from the original files, to the pixel, each file decoded once; a lost file is grey and is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phosphene.core.images import image
from phosphene.core.images.image import Picture
from phosphene.core.networks.network import Box
from phosphene.studies.evidence.crops import contexts, crop, crops
from phosphene.survey.store.run import Run


def test_a_crop_is_the_box_of_the_original(plated: Any) -> None:
    patches = [strong_patch for channel in range(4) for strong_patch in plated.run.patches("features.5", channel)]
    for patch, cut in zip(patches, crops(plated.run, patches), strict=True):
        pixels = image.load(plated.run.source(patch.image)).pixels
        top, left = int(patch.box.top), int(patch.box.left)
        bottom, right = int(np.ceil(patch.box.bottom)), int(np.ceil(patch.box.right))
        assert np.array_equal(cut, pixels[top:bottom, left:right])


def test_a_file_is_decoded_once(plated: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    patches = [strong_patch for channel in range(4) for strong_patch in plated.run.patches("features.5", channel)]
    asked: list[int] = []
    read = Run.picture

    def counted(run: Run, number: int) -> Picture:
        asked.append(number)
        return read(run, number)

    monkeypatch.setattr(Run, "picture", counted)
    crops(plated.run, patches)
    assert sorted(asked) == sorted({strong_patch.image for strong_patch in patches})


def test_a_side_resizes_and_keeps_the_shape(plated: Any) -> None:
    (patch, *_) = plated.run.patches("logits", 0)
    (crop,) = crops(plated.run, [patch], side=48)
    height, width = patch.box.bottom - patch.box.top, patch.box.right - patch.box.left
    assert max(crop.shape[:2]) == 48
    assert crop.shape[0] / crop.shape[1] == pytest.approx(height / width, rel=0.03)


def test_a_resized_cut_is_exact_to_a_fraction_of_a_pixel() -> None:
    ramp = np.repeat(np.arange(0, 200, 2, np.uint8)[None, :, None], 3, 2).repeat(20, 0)  # 2 levels a pixel
    fine = crop(ramp, Box(5, 10.25, 15, 20.25), side=100)
    assert fine.shape == (100, 100, 3)
    middles = 10.25 + (np.arange(100) + 0.5) / 10  # of the fine pixels, in pixels of the ramp
    assert np.abs(fine[50, :, 0] - 2 * (middles - 0.5)).max() <= 1


def test_a_context_is_bright_in_the_box_and_dim_outside(plated: Any) -> None:
    (patch, *_) = plated.run.patches("features.5", 2)
    (shown,) = contexts(plated.run, [patch], side=70)
    pixels = image.load(plated.run.source(patch.image)).pixels
    assert shown.shape == pixels.shape
    row, column = (round((patch.box[i] + patch.box[i + 2]) / 2) for i in range(2))
    assert np.array_equal(shown[row, column], pixels[row, column])
    far = np.zeros(pixels.shape[:2], bool)
    far[2:-2, 2:-2] = True
    top, left, bottom, right = (round(edge) for edge in patch.box)
    far[max(0, top - 4) : bottom + 4, max(0, left - 4) : right + 4] = False
    assert np.array_equal(shown[far], pixels[far] // 3)


def test_a_lost_file_and_a_changed_one_are_grey_and_named(own: Any) -> None:
    run, told = own.run, []
    patches = run.patches("features.5", 3)
    gone, changed = patches[0].image, patches[1].image
    Path(run.source(gone)).unlink()
    image.save(run.source(changed), np.zeros((50, 70, 3), np.uint8))
    shown = crops(run, patches, notify=told.append)
    whole = contexts(run, patches, notify=told.append)
    assert (shown[0] == 128).all()
    assert (shown[1] == 128).all()
    assert all(pixels.std() > 0 for pixels in shown[2:])
    assert whole[0].shape == whole[2].shape
    assert len(told) == 4
    assert "does not exist" in told[0]
    assert "has changed since the survey" in told[1]
