"""`phosphene dream` as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence
from torch import Tensor

from cli.test_cli import NET, run
from phosphene.core.images import image
from phosphene.synthesis.loop import budget
from phosphene.synthesis.loop import recipe as module

MODEL = ("--model", "net.py:make")
QUICK = (*MODEL, "--octaves", "2", "--steps", "2")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NET)
    for seed, name in enumerate(("one.png", "two.png")):
        levels = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
        Image.fromarray(levels).resize((64, 48), Image.Resampling.BICUBIC).save(tmp_path / name)
    return tmp_path


def test_a_dream_its_scores_and_the_layer_that_was_chosen(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("dream", "one.png", *QUICK, "-o", "out", "--json") == 0
    said = capsys.readouterr()
    record = json.loads(said.out)
    assert record["target"] == "all of 0"
    assert "one: all of 0: " in said.err
    assert record["options"]["steps"] == 2
    assert record["cost"]["forwards"] == 2 * (6 + 4)
    assert {path.name for path in (place / "out").iterdir()} == {"dream.png", "scores.npy", "result.json", ".phosphene"}
    shown = image.load("out/dream.png")
    assert (shown.height, shown.width) == (48, 64)
    assert not np.array_equal(shown.pixels, image.load("one.png").pixels)


def test_one_bad_picture_does_not_stop_the_others(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "broken.png").write_bytes(b"not a picture")
    assert (
        run("dream", "one.png", "broken.png", "two.png", *QUICK, "--layers", "0.0", "--channel", "3", "-o", "out") == 3
    )
    said = capsys.readouterr()
    assert "broken.png" in said.err
    assert "two: 0.0:3: " in said.out
    assert sorted(path.name for path in (place / "out").iterdir()) == ["one", "two"]


@pytest.mark.parametrize(
    ("options", "target"),
    [
        (("--target", "goldfish"), "goldfish"),
        (("--guide", "two.png", "--layers", "0.1"), "0.1 like two"),
        (("--layers", "0.1", "--layers", "0.3"), "all of 0.1 + "),
        (("--layers", "0.1,0.3"), "all of 0.1 + "),
    ],
)
def test_what_a_dream_may_be_about(place: Path, options: tuple[str, ...], target: str) -> None:
    assert run("dream", "one.png", *QUICK, "-o", "out", "--size", "32", *options) == 0
    record = json.loads((place / "out" / "result.json").read_text())
    assert target in record["target"]
    assert image.load("out/dream.png").width == 32


def test_what_is_wrong_is_said_before_anything_is_made(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("dream", "one.png", *QUICK, "--layers", "0.33") == 2
    assert "LayerError: net.py:make has no layer '0.33'; did you mean '0.3'" in capsys.readouterr().err
    assert run("dream", "one.png", *QUICK, "--layers", "0.3", "--target", "tabby") == 2
    assert "a dream of tabby takes no layer" in capsys.readouterr().err
    assert run("dream", "one.png", *QUICK, "--guide", "none.png") == 2
    assert "none.png does not exist" in capsys.readouterr().err
    assert run("dream", "one.png", *QUICK, "--ratio", "1") == 2
    assert "ratio above 1" in capsys.readouterr().err
    assert not (place / "phosphene-out").exists()


def test_a_large_picture_is_shrunk_and_that_is_said(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (1100, 6), "teal").save("wide.png")
    assert run("dream", "wide.png", *MODEL, "--steps", "0", "-o", "out") == 0
    assert "shrunk to 6×1024; size 1100 keeps all" in capsys.readouterr().out
    assert run("dream", "wide.png", *MODEL, "--steps", "0", "-o", "out", "--size", "1100") == 0
    assert np.array_equal(image.load("out/dream.png").pixels, image.load("wide.png").pixels)


def test_a_film_of_the_steps(place: Path) -> None:
    assert run("dream", "one.png", *QUICK, "-o", "out", "--animate", "gif") == 0
    with Image.open("out/steps.gif") as film:
        first, *_, last = [np.asarray(frame.convert("RGB")).astype(int) for frame in ImageSequence.Iterator(film)]
    assert first.shape == (48, 64, 3)
    assert np.abs(last - image.load("out/dream.png").pixels).mean() < 12
    assert not (place / "out" / ".phosphene" / "state").exists()


def test_a_film_into_the_dream_killed_and_resumed(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    how = ("dream", "one.png", *QUICK, "--zoom", "4", "--animate", "gif")
    assert run(*how, "-o", "whole") == 0
    save, saved = image.save, []

    def die(path: Path, pixels: Tensor) -> Path:
        saved.append(path)
        if len(saved) == 3:
            raise KeyboardInterrupt
        return save(path, pixels)

    with monkeypatch.context() as patch:
        patch.setattr(image, "save", die)
        assert run(*how, "-o", "out") == 130
    assert len(list((place / "out" / ".phosphene" / "state").rglob("*.png"))) == 2
    assert run(*how, "-o", "out") == 0
    assert (place / "out/zoom.gif").read_bytes() == (place / "whole/zoom.gif").read_bytes()
    assert {path.name for path in (place / "out").iterdir()} == {"zoom.gif", "result.json", ".phosphene"}
    told = capsys.readouterr().out
    assert "all of 0, 4 frames of 48×64" in told
    assert "  went on at frame 3 of 4" in told
    costs = [json.loads((place / name / "result.json").read_text())["cost"]["backwards"] for name in ("whole", "out")]
    assert costs == [80, 40]


@pytest.mark.parametrize("more", [(), ("--zoom", "2", "--animate", "gif")])
def test_a_dream_of_nothing_says_so(place: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...]) -> None:
    assert run("dream", "one.png", *QUICK, *more, "--target", "tabby - tabby", "-o", "out") == 0
    assert "  nothing was dreamed: " in capsys.readouterr().out
    assert "nothing was dreamed" in json.loads((place / "out/result.json").read_text())["notes"][0]


def test_the_factor_is_that_of_a_film(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("dream", "one.png", *QUICK, "--factor", "1.2") == 2
    assert "--factor is not an option of dream without --zoom" in capsys.readouterr().err
    sides = []
    for factor in ("1.01", "2"):
        film = ("--zoom", "2", "--animate", "gif", "--steps", "0", "--factor", factor)
        assert run("dream", "one.png", *MODEL, *film, "-o", factor) == 0
        with Image.open(f"{factor}/zoom.gif") as frames:
            first, last = [np.asarray(frame.convert("L")).astype(int) for frame in ImageSequence.Iterator(frames)]
        sides.append(np.abs(last - first).mean())
    assert sides[0] < sides[1] / 2


def test_the_precision_is_that_of_the_run(place: Path) -> None:
    for precision in ("float32", "bfloat16"):
        assert run("dream", "one.png", *QUICK, "-o", precision, "--precision", precision) == 0
    assert json.loads((place / "bfloat16/result.json").read_text())["options"]["precision"] == "bfloat16"
    assert (place / "bfloat16/dream.png").read_bytes() != (place / "float32/dream.png").read_bytes()


def test_a_budget_is_chosen_once(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("phosphene.synthesis.loop.state_file.StateFile.due", property(lambda _: True))
    how = ("dream", "one.png", *MODEL, "--octaves", "2", "--seconds", "5")
    monkeypatch.setattr(budget, "seconds_of", lambda work: (work(), 0.2)[1])  # 0.1 s a tile, 10 tiles a step: 4 steps
    assert run(*how, "-o", "whole") == 0
    record = json.loads((place / "whole/result.json").read_text())
    assert record["notes"] == ["5 s allow 4 of 10 steps at 48×64"]
    synthesize, octaves = module.synthesize, []

    def die(*args: object, **options: object) -> object:
        octaves.append(1)
        if len(octaves) == 2:
            raise KeyboardInterrupt
        return synthesize(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(module, "synthesize", die)
        assert run(*how, "-o", "out") == 130
    monkeypatch.setattr(budget, "seconds_of", lambda work: (work(), 20.0)[1])
    assert run(*how, "-o", "out") == 0
    assert (place / "out/dream.png").read_bytes() == (place / "whole/dream.png").read_bytes()
