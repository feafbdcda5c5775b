"""`phosphene invert` as a user types it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cli.test_cli import place, run
from phosphene.synthesis.loop import loop

HOW = ("--model", "net.py:make", "--coarse", "3", "--steps", "6", "--finish", "2", "--lr", "0.1")
__all__ = ["place"]  # the folder with a network and two pictures


def record(folder: Path) -> dict[str, Any]:
    outcome: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return outcome


def test_a_strip_over_all_stages(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("invert", "one.png", *HOW, "--seeds", "2", "-o", "out") == 0
    told, names = record(place / "out"), ["0.1", "0.3", "logits"]
    assert [row["layer"] for row in told["results"]] == names
    files = {f"{name}-{rest}" for name in names for rest in ("0.png", "1.png", "scores.npy")}
    files |= {"strip.png", "original.png"}
    assert {file["path"] for file in told["files"]} == files
    assert {path.name for path in (place / "out").iterdir()} == files | {"result.json", ".phosphene"}
    for row in told["results"]:
        assert len(row["errors"]) == len(row["predictions"]) == len(row["psnr"]) == len(row["ssim"]) == 2
        assert row["error"] == pytest.approx(sum(row["errors"]) / 2)
        assert row["unrelated"] > 0
    assert told["cost"]["backwards"] == 3 * 2 * 11
    said = capsys.readouterr().out
    assert "2 seen as" in said
    assert " dB, SSIM " in said


def test_half_precision(place: Path) -> None:
    how = ("invert", "one.png", *HOW, "--layers", "0.1")
    for precision in ("float32", "bfloat16"):
        assert run(*how, "--precision", precision, "-o", precision) == 0
        assert record(place / precision)["options"]["precision"] == precision
    whole, half = ((place / name / "0.1.png").read_bytes() for name in ("float32", "bfloat16"))
    assert whole != half


def test_one_layer_and_patterns(place: Path) -> None:
    assert run("invert", "one.png", *HOW, "--layers", "0.1", "-o", "out") == 0
    assert (place / "out" / "0.1.png").exists()
    assert run("invert", "one.png", *HOW, "--layers", "0.*", "-o", "all") == 0
    assert [row["layer"] for row in record(place / "all")["results"]] == ["0.0", "0.1", "0.2", "0.3"]


def test_a_bad_picture_does_not_stop_the_others(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "bad.png").write_bytes(b"no picture")
    assert run("invert", "one.png", "bad.png", "two.png", *HOW, "--layers", "logits", "-o", "out") == 3
    assert {path.name for path in (place / "out").iterdir()} == {"one", "two"}
    assert "ImageError: bad.png" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("how", "text"),
    [
        (("--layers", "0.9"), "LayerError: net.py:make has no layer '0.9'"),
        (("--layers", "no.*"), "no layer of net.py:make matches 'no.*'"),
        (("--steps", "-1"), "OptionError: invert wants a step"),
    ],
)
def test_what_cannot_be_inverted(
    place: Path, capsys: pytest.CaptureFixture[str], how: tuple[str, ...], text: str
) -> None:
    assert run("invert", "one.png", "--model", "net.py:make", *how) == 2
    assert text in capsys.readouterr().err
    assert not (place / "phosphene-out").exists()


def test_a_budget_is_chosen_once_and_said(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("phosphene.synthesis.loop.budget.seconds_of", lambda work: (work(), 1.0)[1])
    how = ("--model", "net.py:make", "--layers", "all", "--coarse", "20", "--steps", "40", "--finish", "20")
    assert run("invert", "one.png", *how, "--seconds", "60", "-o", "out") == 0
    # 0.9 of 60 s, where a step of all three layers takes 1.5 s, and what is said of them 6 steps.
    assert record(place / "out")["cost"]["backwards"] == 3 * (8 + 15 + 8)
    assert "60 s allow 31 of 80 steps for each layer" in record(place / "out")["notes"]


def test_a_budget_of_no_steps_is_said_to_be_the_least(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("phosphene.synthesis.loop.budget.seconds_of", lambda work: (work(), 18.0)[1])
    assert run("invert", "one.png", "--model", "net.py:make", "--seconds", "1", "-o", "out") == 0
    assert "1 s allow 3 of 400 steps for each layer, the least there are" in record(place / "out")["notes"]


@pytest.mark.parametrize("last", [4, 12, 23])
def test_interrupted_it_goes_on_to_the_same_bytes(place: Path, monkeypatch: pytest.MonkeyPatch, last: int) -> None:
    how = ("invert", "one.png", *HOW, "--seeds", "2", "--seconds", "100")
    assert run(*how, "-o", "whole") == 0
    monkeypatch.setattr(loop.StateFile, "due", True)
    take, taken = loop._Loop._step, []

    def step(self: Any, *rest: Any) -> Any:
        taken.append(1)
        if len(taken) == last + 12:  # 4 for each of three layers, of the budget
            raise KeyboardInterrupt
        return take(self, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(loop._Loop, "_step", step)
        assert run(*how, "-o", "parts") == 130
    assert (place / "parts" / ".phosphene" / "state" / "budget.json").exists()
    monkeypatch.setattr("phosphene.synthesis.loop.budget.seconds_of", lambda _: pytest.fail("timed again"))
    assert run(*how, "-o", "parts") == 0
    whole = {path.name: path.read_bytes() for path in (place / "whole").glob("*.png")}
    assert whole == {path.name: path.read_bytes() for path in (place / "parts").glob("*.png")}
    assert not (place / "parts" / ".phosphene" / "state").exists()


def test_a_silent_layer_is_left_out_of_the_strip_with_a_note(place: Path) -> None:
    text = (place / "net.py").read_text()
    (place / "net.py").write_text(
        text.replace("    return Network", "    features[0].bias.data -= 100\n    return Network")
    )
    assert run("invert", "one.png", *HOW, "-o", "out") == 0
    told = record(place / "out")
    assert [row["layer"] for row in told["results"]] == ["0.3", "logits"]
    assert told["notes"][0].startswith("0.1 is left out: 0.1 of net.py:make is zero everywhere on this picture")
