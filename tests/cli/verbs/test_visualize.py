"""`phosphene visualize` as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.test_cli import NET, run
from phosphene.core.folder import OutputFolder
from phosphene.core.images import image
from phosphene.core.images.samples import sample
from phosphene.synthesis.loop.state_file import StateFile
from surveys import surveyed


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NET)
    return tmp_path


def test_pictures_scores_and_what_the_network_makes_of_them(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    targets = ("goldfish", "0.0:3", "tabby - goldfish")
    assert run("visualize", *targets, "--model", "net.py:make", "--steps", "20", "-o", "out", "--json") == 0
    record = json.loads(capsys.readouterr().out)
    assert [row["target"] for row in record["results"]] == list(targets)
    assert record["options"]["preset"]["name"] == "best"
    written = {path.name for path in (place / "out").iterdir()}
    assert written == {"goldfish.png", "0.0-3.png", "tabby-goldfish.png", "scores.npy", "result.json", ".phosphene"}


def test_the_lecture_and_its_ablation_sheet(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    how = ("--model", "net.py:make", "--preset", "lecture", "--steps", "5", "--clip-norm", "0.4", "--ablate")
    assert run("visualize", "goldfish", *how) == 0
    folder = place / "phosphene-out" / "visualize" / "goldfish"
    assert (folder / "ablation.png").exists()
    assert json.loads((folder / "result.json").read_text())["options"]["preset"]["clip_norm"] == 0.4
    assert "seen as" in capsys.readouterr().out


def test_an_option_of_the_other_preset_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("visualize", "goldfish", "--model", "net.py:make", "--preset", "lecture", "--crops", "3") == 2
    assert "--crops is not an option of --preset lecture" in capsys.readouterr().err


def test_an_option_that_the_canvas_makes_no_use_of_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("visualize", "goldfish", "--model", "net.py:make", "--canvas", "maco", "--tv", "3") == 2
    assert "tv has no effect with the canvas maco; leave one of both out" in capsys.readouterr().err


def test_a_class_that_is_not_there(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("visualize", "goldfsh", "--model", "net.py:make") == 2
    assert "TargetError: small has no class 'goldfsh'" in capsys.readouterr().err.replace("net.py:make", "small")


def photographs(folder: Path) -> Path:
    folder.mkdir()
    for number, name in enumerate(("cat", "coffee", "flower", "temple")):
        (folder / f"{number}.png").write_bytes(sample(name).read_bytes())
    return folder


def test_kinds_of_images_are_starts_and_photographs_the_measure(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photographs(place / "photos")
    (place / "photos" / "torn.png").write_bytes(b"no picture")
    how = ("--model", "net.py:make", "--steps", "4", "--facets", "2", "--natural", "photos", "-o", "out")
    assert run("visualize", "0.0:3", *how) == 0
    said = capsys.readouterr().out
    assert "of the greatest of 4 natural images" in said or "; the greatest of 4 natural images is" in said
    assert "reach half of what the first does" in said
    assert said.count("natural: 1 of 5 images cannot be read; the first: ") == said.count("torn.png is no PNG") == 1
    assert {"0.0-3-1.png", "0.0-3-2.png", "facets.png"} <= {path.name for path in (place / "out").iterdir()}
    record = json.loads((place / "out" / "result.json").read_text())
    assert [row["natural_images"] for row in record["results"]] == [4, 4]
    assert {row["facet"] for row in record["results"]} <= {"0", "1", "2", "3"}  # the files, as there are no classes


def test_a_film_and_a_second_opinion(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    how = ("--model", "net.py:make", "--steps", "6", "--second", "net.py:make", "--animate", "gif", "-o", "out")
    assert run("visualize", "goldfish", "tabby", *how, "--json") == 0
    record = json.loads(capsys.readouterr().out)
    assert [row["second"]["rank"] for row in record["results"]] == [row["rank"] for row in record["results"]]
    assert (place / "out" / "steps.gif").read_bytes().startswith(b"GIF89a")
    assert not (place / "out" / ".phosphene" / "state").exists()


def test_killed_it_goes_on(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    how = ("visualize", "goldfish", "--model", "net.py:make", "--steps", "12", "--quiet")
    assert run(*how, "-o", "whole") == 0
    monkeypatch.setattr(StateFile, "due", property(lambda self: self.path is not None))
    save, saved = StateFile.save, []

    def die(self: StateFile, stored: dict[str, object]) -> None:
        save(self, stored)
        saved.append(stored["step"])
        if len(saved) == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(StateFile, "save", die)
    assert run(*how, "-o", "killed") == 130
    assert list((place / "killed" / ".phosphene" / "state").glob("*.pt"))
    assert run(*how, "-o", "killed") == 0
    assert saved[5] == 6
    assert (place / "killed" / "goldfish.png").read_bytes() == (place / "whole" / "goldfish.png").read_bytes()
    assert not (place / "killed" / ".phosphene" / "state").exists()


def filmed(capsys: pytest.CaptureFixture[str]) -> list[int]:
    """Frames of each film of the steps that the JSON on standard output tells of."""
    return [file["frames"] for file in json.loads(capsys.readouterr().out)["files"] if file["path"] == "steps.gif"]


def test_a_film_shows_no_steps_of_another_run(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    how = ("visualize", "goldfish", "--model", "net.py:make", "--animate", "gif", "-o", "out")
    with monkeypatch.context() as patch:
        patch.setattr(StateFile, "save", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert run(*how, "--steps", "9") == 130
    assert len([*(place / "out" / ".phosphene" / "state").rglob("*.png")]) == 9
    assert run(*how, "--steps", "4", "--json") == 0
    assert filmed(capsys) == [4 + 12]


def test_a_film_that_is_asked_for_after_all_its_steps_shows_the_result(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    how = ("visualize", "goldfish", "--model", "net.py:make", "--steps", "4", "-o", "out")
    with monkeypatch.context() as patch:
        patch.setattr(OutputFolder, "publish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert run(*how) == 130
    capsys.readouterr()
    assert run(*how, "--animate", "gif", "--json") == 0
    assert filmed(capsys) == [12]


def test_a_size_may_be_oblong(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    how = ("visualize", "goldfish", "--model", "net.py:make", "--steps", "2", "-o", "out")
    for size, shape in (("40", (40, 40, 3)), ("32x48", (32, 48, 3)), ("48×32", (48, 32, 3))):
        assert run(*how, "--size", size) == 0
        assert image.load(place / "out" / "goldfish.png").pixels.shape == shape
    capsys.readouterr()
    for size, text in (("32x", "write one number for squares, or HEIGHTxWIDTH"), ("4x40", "at least 8 pixels a side")):
        assert run(*how, "--size", size) == 2
        assert text in capsys.readouterr().err


@pytest.mark.parametrize(
    ("how", "text"),
    [
        (("--facets", "2"), "give natural too"),
        (("--natural", "elsewhere/run"), "is a survey of gap"),
        (("--second", "more.py:make"), "has 3 classes where more.py:make has 4"),
        (("--natural", "nowhere"), "nowhere"),
        (("--second", "efficientnet-lite9"), "did you mean"),
    ],
)
def test_what_is_missing_is_said_before_the_long_work(
    how: tuple[str, ...], text: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = NET.replace('("tabby", "tiger cat", "goldfish")', "()")
    (place / "bare.py").write_text(bare)
    (place / "more.py").write_text(bare.replace("nn.Linear(8, 3)", "nn.Linear(8, 4)"))
    surveyed(place / "elsewhere")
    capsys.readouterr()
    assert run("visualize", "0.0:3", "--model", "bare.py:make", *how) == 2
    assert text in capsys.readouterr().err
    assert not (place / "phosphene-out").exists()


def test_mirrors_can_be_turned_off(place: Path) -> None:
    how = ("--model", "net.py:make", "--steps", "2", "--no-mirror", "--canvas", "maco", "-o", "out")
    assert run("visualize", "goldfish", *how) == 0
    options = json.loads((place / "out" / "result.json").read_text())["options"]["preset"]
    assert (options["mirror"], options["canvas"]) == (False, "maco")
