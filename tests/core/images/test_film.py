"""Films are read back frame by frame; a film that fails leaves no file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageSequence

from phosphene.core.errors import ImageError, OptionError, OutputError
from phosphene.core.images.film import film
from phosphene.core.images.image import Uint8Image


def ramp(height: int, width: int, count: int = 5) -> list[Uint8Image]:
    """Frames of different colors, from grey to red, with a bright spot that moves right."""
    frames = []
    for number in range(count):
        frame = np.full((height, width, 3), 60, np.uint8)
        frame[..., 0] += np.uint8(25 * number % 150)
        frame[height // 4 : height // 2, number * width // count : (number + 1) * width // count] = 250
        frames.append(frame)
    return frames


def read(path: Path) -> tuple[list[Uint8Image], float]:
    """The frames, and the rate in frames per second."""
    if path.suffix == ".gif":
        with Image.open(path) as image:
            shown = [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(image)]
            return shown, 1000 / image.info["duration"]
    capture, shown = cv2.VideoCapture(str(path)), []
    while (read := capture.read())[0]:
        shown.append(np.ascontiguousarray(read[1][..., ::-1]).astype(np.uint8))
    return shown, float(capture.get(cv2.CAP_PROP_FPS))


@pytest.mark.parametrize("name", ["film.gif", "film.mp4", "FILM.GIF"])
def test_frames_come_back_in_order_color_and_rate(tmp_path: Path, name: str) -> None:
    frames = ramp(48, 64)
    path = film(tmp_path / "new" / name, iter(frames), rate=10)
    shown, rate = read(path.rename(path.with_name(name.lower())))
    assert len(shown) == len(frames)
    assert rate == pytest.approx(10)
    for image, frame in zip(shown, frames, strict=True):
        assert np.abs(image.astype(int) - frame).mean() < 5
    assert len(list(path.parent.iterdir())) == 1


def test_a_gif_repeats_and_gives_late_colors_their_own_palette(tmp_path: Path) -> None:
    grey = np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), 3, 2)
    colors = np.random.default_rng(0).integers(0, 2, (16, 16, 3)).astype(np.uint8) * 255
    path = film(tmp_path / "film.gif", [grey, colors])
    shown, _ = read(path)
    assert np.array_equal(shown[1], colors)
    with Image.open(path) as image:
        assert image.info["loop"] == 0


@pytest.mark.parametrize("size", [(31, 47), (1, 1), (2, 301)])
def test_odd_sides_get_a_row_or_column_more_in_mp4(tmp_path: Path, size: tuple[int, int]) -> None:
    shown, _ = read(film(tmp_path / "film.mp4", ramp(*size)))
    assert shown[0].shape == (size[0] + size[0] % 2, size[1] + size[1] % 2, 3)
    assert len(shown) == 5


@pytest.mark.parametrize(
    ("name", "longest", "size"),
    [("film.gif", None, (160, 640)), ("film.mp4", None, (300, 1200)), ("film.mp4", 100, (26, 100))],
)
def test_large_frames_are_shrunk_where_the_file_would_be_huge(
    tmp_path: Path, name: str, longest: int | None, size: tuple[int, int]
) -> None:
    shown, _ = read(film(tmp_path / name, ramp(300, 1200, 2), longest=longest))
    assert shown[0].shape[:2] == size


def test_frames_of_mp4_are_not_kept_in_memory(tmp_path: Path) -> None:
    alive: list[int] = []

    class Frame(np.ndarray):
        def __del__(self) -> None:
            alive.append(-1)

    def frames() -> Iterator[Uint8Image]:
        for frame in ramp(8, 8, 40):
            alive.append(1)
            assert sum(alive) < 4
            yield frame.view(Frame)

    film(tmp_path / "film.mp4", frames())


@pytest.mark.parametrize("name", ["film.gif", "film.mp4"])
def test_a_film_that_fails_leaves_the_old_one_and_nothing_else(tmp_path: Path, name: str) -> None:
    def frames() -> Iterator[Uint8Image]:
        yield from ramp(8, 8)
        raise KeyboardInterrupt

    (tmp_path / name).write_text("old")
    with pytest.raises(KeyboardInterrupt):
        film(tmp_path / name, frames())
    assert [file.name for file in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "old"


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"film.avi cannot be a film; name it film.gif or film.mp4"):
        film(tmp_path / "film.avi", ramp(8, 8))
    with pytest.raises(ImageError, match="at least one frame"):
        film(tmp_path / "film.gif", [])
    with pytest.raises(OptionError, match="rate is 0; a film wants 1 … 50"):
        film(tmp_path / "film.gif", ramp(8, 8), rate=0)
    assert not list(tmp_path.iterdir())


def test_the_encoder_prints_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    film(tmp_path / "film.mp4", ramp(8, 8))
    assert capfd.readouterr() == ("", "")


def test_an_encoder_that_wrote_too_few_frames_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2.VideoWriter, "fourcc", lambda *_: 0)
    with pytest.raises(OutputError, match="cannot take an MP4"):
        film(tmp_path / "film.mp4", ramp(8, 8))
    assert not list(tmp_path.iterdir())
