"""Films into a dream: frame upon frame, resumed to the same bytes, and never a picture in black and white."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import nets
from phosphene.core.errors import OptionError
from phosphene.core.images.image import Picture
from phosphene.core.networks.fuse import fused
from phosphene.core.networks.network import Preprocess
from phosphene.core.progress import Progress
from phosphene.synthesis.loop import recipe as module
from phosphene.synthesis.recipes.dream import Dream
from phosphene.synthesis.recipes.zoom import zoom

HOW = Dream(octaves=2, steps=2)


def cat() -> Picture:
    return Picture.from_array(nets.pictures(1)[0])


def test_each_frame_is_the_former_one_larger() -> None:
    still = Dream(octaves=1, steps=0)
    levels = np.full((64, 64, 3), 40, np.uint8)
    levels[28:36, 28:36] = 220
    first, *_, last = zoom(nets.build("gap"), Picture.from_array(levels), frames=9, factor=1.1, recipe=still)
    assert np.array_equal(first, levels)
    side = (last.mean(2) > 130).sum() ** 0.5
    assert side == pytest.approx(8 * 1.1**8, rel=0.06)


def test_killed_it_goes_on_to_the_same_bytes_and_may_grow_longer(tmp_path: Path) -> None:
    network = nets.build("gap")
    whole = list(zoom(network, cat(), frames=4, recipe=HOW))

    def die(progress: Progress) -> None:
        if progress.done == 2 * 4 + 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        zoom(network, cat(), frames=4, recipe=HOW, state=tmp_path, watch=die)
    steps: list[int] = []
    again = list(
        zoom(network, cat(), frames=4, recipe=HOW, state=tmp_path, watch=lambda progress: steps.append(progress.done))
    )
    assert np.array_equal(again, whole)
    assert steps[0] == 2 * 4 + 1  # two frames of four steps were there
    assert np.array_equal(list(zoom(network, cat(), frames=5, recipe=HOW, state=tmp_path))[:4], whole)


def test_one_lean_twin_dreams_all_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    network, made = nets.build("gap"), []
    monkeypatch.setattr(module, "fused", lambda *given: made.append(given) or fused(*given))
    list(zoom(network, cat(), frames=9, recipe=dataclasses.replace(HOW, tile=16)))
    assert made == [(network, {"features"})]


def test_the_precision_of_a_film(tmp_path: Path) -> None:
    network = nets.build("gap")
    whole = list(zoom(network, cat(), frames=1, recipe=HOW, state=tmp_path))
    half = list(zoom(network, cat(), frames=1, recipe=HOW, precision="bfloat16", state=tmp_path))
    assert 0 < np.abs(half[0].astype(int) - whole[0]).mean() < 3


def test_frames_of_another_film_are_no_start(tmp_path: Path) -> None:
    network = nets.build("gap")
    list(zoom(network, cat(), "goldfish", frames=2, recipe=HOW, state=tmp_path))
    result = list(zoom(network, cat(), "tabby", frames=2, recipe=HOW, state=tmp_path))
    assert np.array_equal(result, list(zoom(network, cat(), "tabby", frames=2, recipe=HOW)))
    darker = dataclasses.replace(network, preprocess=Preprocess((32, 32), (0.2,) * 3, (0.1,) * 3))
    result = list(zoom(darker, cat(), "tabby", frames=2, recipe=HOW, state=tmp_path))
    assert np.array_equal(result, list(zoom(darker, cat(), "tabby", frames=2, recipe=HOW)))


def test_a_folder_of_frames_keeps_what_else_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "wedding.png").write_bytes(b"once in a life")
    list(zoom(nets.build("gap"), cat(), frames=1, recipe=HOW, state=tmp_path))
    assert (tmp_path / "wedding.png").exists()


def test_a_long_film_keeps_its_contrast() -> None:
    hard = Dream(octaves=1, steps=3, lr=0.05)
    frames = list(zoom(nets.build("gap"), cat(), frames=25, recipe=hard))
    assert frames[-1].std() < 1.6 * max(frames[0].std(), 0.2 * 255)
    assert abs(frames[-1].mean() - frames[0].mean()) < 20


def test_what_is_no_film() -> None:
    for options in ({"frames": 0}, {"frames": 2, "factor": 1.0}):
        with pytest.raises(OptionError, match="zoom wants at least 1, and more than 1"):
            zoom(nets.build("gap"), cat(), **options)
