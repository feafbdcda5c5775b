"""Only what carries our marker is ever replaced or deleted."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from phosphene.core.errors import FolderError, OutputError
from phosphene.core.folder import HIDDEN, OutputFolder


def text(content: str) -> Callable[[Path], object]:
    """A writer of some text."""
    return lambda path: path.write_text(content)


def visible(folder: Path) -> dict[str, str]:
    """Relative path → content of all files that are not hidden."""
    files = [path for path in folder.rglob("*") if path.is_file() and HIDDEN not in path.parts]
    return {str(path.relative_to(folder)): path.read_text() for path in files}


def test_a_result_is_replaced_as_a_whole(tmp_path: Path) -> None:
    OutputFolder(tmp_path / "out", "dream").publish({"a.txt": text("1"), "maps/b.txt": text("2")})
    assert visible(tmp_path / "out") == {"a.txt": "1", "maps/b.txt": "2"}
    OutputFolder(tmp_path / "out", "dream").publish({"a.txt": text("3")})
    assert visible(tmp_path / "out") == {"a.txt": "3"}
    assert not (tmp_path / "out" / "maps").exists()
    assert [path.name for path in (tmp_path / "out" / HIDDEN).iterdir()] == ["owned.json"]


def test_foreign_files_stay_beside_a_result(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "a.txt").write_text("mine")
    for content in "12":
        OutputFolder(tmp_path, "dream").publish({"a.txt": text(content)})
    assert visible(tmp_path) == {"notes.txt": "mine", "state/a.txt": "mine", "a.txt": "2"}


@pytest.mark.parametrize("name", ["a.txt", "maps/b.txt"])
def test_a_foreign_file_of_the_same_name_is_refused_before_anything_is_written(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    with pytest.raises(FolderError, match="was not written by phosphene; move it, or name another folder"):
        OutputFolder(tmp_path, "dream").publish({"c.txt": text("0"), "a.txt": text("1"), "maps/b.txt": text("2")})
    assert visible(tmp_path) == {name: "mine"}
    assert not (tmp_path / HIDDEN).exists()


def test_a_file_that_was_changed_is_foreign_again(tmp_path: Path) -> None:
    OutputFolder(tmp_path, "dream").publish({"a.txt": text("1"), "b.txt": text("1")})
    (tmp_path / "a.txt").write_text("mine")
    with pytest.raises(FolderError, match=r"a\.txt was changed since phosphene wrote it"):
        OutputFolder(tmp_path, "dream").publish({"a.txt": text("2")})
    OutputFolder(tmp_path, "dream").publish({"c.txt": text("2")})
    assert visible(tmp_path) == {"a.txt": "mine", "c.txt": "2"}


def test_what_took_the_place_of_a_file_is_foreign(tmp_path: Path) -> None:
    OutputFolder(tmp_path, "dream").publish({"a.txt": text("1"), "b.txt": text("1")})
    (tmp_path / "mine.txt").write_text("1")
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).unlink()
    (tmp_path / "a.txt").mkdir()
    (tmp_path / "b.txt").symlink_to("mine.txt")
    with pytest.raises(FolderError, match=r"a\.txt was not written by phosphene"):
        OutputFolder(tmp_path, "dream").publish({"a.txt": text("2")})
    OutputFolder(tmp_path, "dream").publish({"c.txt": text("2")})
    assert (tmp_path / "a.txt").is_dir()
    assert (tmp_path / "b.txt").is_symlink()


def test_the_result_of_another_verb_is_refused_at_once(tmp_path: Path) -> None:
    OutputFolder(tmp_path, "survey").claim()
    with pytest.raises(FolderError, match="holds the result of phosphene survey; name another folder with -o"):
        OutputFolder(tmp_path, "dream")


def test_a_foreign_result_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text("{}")
    with pytest.raises(FolderError, match=r"result\.json was not written by phosphene"):
        OutputFolder(tmp_path, "dream")


def test_an_input_is_never_overwritten(tmp_path: Path) -> None:
    OutputFolder(tmp_path, "dream").publish({"dream.png": text("1")})
    (tmp_path / "again.png").symlink_to("dream.png")
    for name in ("dream.png", "again.png"):
        folder = OutputFolder(tmp_path, "dream", inputs=[tmp_path / name])
        with pytest.raises(FolderError, match=r"dream\.png is an input and would be overwritten"):
            folder.publish({"dream.png": text("2")})
    assert (tmp_path / "dream.png").read_text() == "1"


@pytest.mark.parametrize("marker", ["", "[]", '{"verb": "dream"}', '{"verb": 1, "files": []}'])
def test_a_hidden_folder_that_is_not_ours_is_refused(tmp_path: Path, marker: str) -> None:
    (tmp_path / HIDDEN).mkdir()
    (tmp_path / HIDDEN / "owned.json").write_text(marker)
    with pytest.raises(FolderError, match="no marker of phosphene, or damaged"):
        OutputFolder(tmp_path, "dream")


def test_a_file_in_the_place_of_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "maps").write_text("mine")
    with pytest.raises(FolderError, match="as a file has the name of its folder"):
        OutputFolder(tmp_path, "dream").publish({"maps/a.txt": text("1")})
    with pytest.raises(FolderError, match="is a file; name a folder"):
        OutputFolder(tmp_path / "maps", "dream")


def test_a_failure_leaves_the_former_result(tmp_path: Path) -> None:
    def fail(_: Path) -> None:
        raise OSError(28, "No space left on device")

    OutputFolder(tmp_path, "dream").publish({"a.txt": text("1")})
    with pytest.raises(OutputError, match="the disk is full"):
        OutputFolder(tmp_path, "dream").publish({"a.txt": text("2"), "b.txt": fail})
    assert visible(tmp_path) == {"a.txt": "1"}
    OutputFolder(tmp_path, "dream").publish({"a.txt": text("3")})
    assert visible(tmp_path) == {"a.txt": "3"}


def test_a_writer_never_meets_what_a_failed_one_has_left(tmp_path: Path) -> None:
    def fail(path: Path) -> None:
        path.write_text("half")
        raise OSError(28, "No space left on device")

    def append(path: Path) -> None:
        with path.open("a") as file:
            file.write("whole")

    with pytest.raises(OutputError):
        OutputFolder(tmp_path, "dream").publish({"a.txt": fail})
    OutputFolder(tmp_path, "dream").publish({"a.txt": append})
    assert visible(tmp_path) == {"a.txt": "whole"}


def test_killed_between_two_files_the_next_result_takes_their_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = Path.replace

    def kill(path: Path, target: Path) -> Path:
        if target.name == "b.txt":
            raise KeyboardInterrupt
        return replace(path, target)

    with monkeypatch.context() as killed:
        killed.setattr(Path, "replace", kill)
        with pytest.raises(KeyboardInterrupt):
            OutputFolder(tmp_path, "dream").publish({"a.txt": text("1"), "b.txt": text("1")})
    assert visible(tmp_path) == {"a.txt": "1"}
    OutputFolder(tmp_path, "dream").publish({"a.txt": text("2"), "b.txt": text("2")})
    assert visible(tmp_path) == {"a.txt": "2", "b.txt": "2"}


def test_killed_while_the_first_marker_was_written_the_folder_is_free(tmp_path: Path) -> None:
    (tmp_path / HIDDEN).mkdir()
    (tmp_path / HIDDEN / ".phosphene-0123456789abcdef.tmp").write_text('{"verb": "dr')
    OutputFolder(tmp_path, "dream").publish({"a.txt": text("1")})
    assert visible(tmp_path) == {"a.txt": "1"}


def test_files_that_are_marked_belong_to_the_result_besides_the_others(tmp_path: Path) -> None:
    folder = OutputFolder(tmp_path, "dream")
    folder.publish({"a.txt": text("1")})
    (tmp_path / "b.txt").write_text("1")
    folder.own({"b.txt": ""})
    OutputFolder(tmp_path, "dream").publish({"c.txt": text("2")})
    assert visible(tmp_path) == {"c.txt": "2"}


def test_what_only_serves_the_making_goes_with_the_result(tmp_path: Path) -> None:
    folder = OutputFolder(tmp_path, "dream")
    folder.claim("preview.png")
    folder.state.mkdir()
    (folder.state / "step").write_text("7")
    (tmp_path / "preview.png").write_text("half")
    again = OutputFolder(tmp_path, "dream")
    assert (again.state / "step").read_text() == "7"
    again.publish({"dream.png": text("1")})
    assert visible(tmp_path) == {"dream.png": "1"}
    assert not again.state.exists()


def test_a_foreign_file_cannot_be_claimed(tmp_path: Path) -> None:
    (tmp_path / "preview.png").write_text("mine")
    with pytest.raises(FolderError, match=r"preview\.png was not written by phosphene"):
        OutputFolder(tmp_path, "dream").claim("preview.png")


def test_random_folders_keep_every_foreign_byte(tmp_path: Path) -> None:
    names = ["a.txt", "maps/a.txt", "preview.png", "state/x", "work/x", "result.json"]
    for seed in range(60):
        draw, folder = random.Random(seed), tmp_path / str(seed)
        foreign = {name: f"mine {seed}" for name in names if draw.random() < 0.3}
        for name, content in foreign.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(content)
        for _ in range(3):
            try:
                output = OutputFolder(folder, draw.choice(["dream", "invert"]))
                if draw.random() < 0.5:
                    output.claim("preview.png")
                    (folder / "preview.png").write_text("half")
                output.publish({name: text("ours") for name in names if draw.random() < 0.4})
            except FolderError:
                pass
        assert {name: visible(folder).get(name) for name in foreign} == foreign


def test_the_marker_names_each_file_with_its_hash(tmp_path: Path) -> None:
    OutputFolder(tmp_path, "dream").publish({"a.txt": text("")})
    marker = json.loads((tmp_path / HIDDEN / "owned.json").read_text())
    assert marker["verb"] == "dream"
    assert marker["files"]["a.txt"].startswith("e3b0c44298fc1c14")


def test_two_at_once_leave_one_whole_result(tmp_path: Path) -> None:
    first, second = OutputFolder(tmp_path, "dream"), OutputFolder(tmp_path, "dream")
    first.claim("preview.png")
    second.claim("preview.png")
    first.publish({"a.txt": text("1"), "result.json": text("{}")})
    second.claim("preview.png")
    second.publish({"a.txt": text("2"), "result.json": text("{}")})
    OutputFolder(tmp_path, "dream").publish({"a.txt": text("3"), "result.json": text("{}")})
    assert visible(tmp_path) == {"a.txt": "3", "result.json": "{}"}


def test_a_folder_that_another_verb_took_meanwhile_is_refused(tmp_path: Path) -> None:
    late = OutputFolder(tmp_path, "dream")
    OutputFolder(tmp_path, "invert").publish({"a.txt": text("1")})
    with pytest.raises(FolderError, match="holds the result of phosphene invert"):
        late.publish({"a.txt": text("2")})
    assert visible(tmp_path) == {"a.txt": "1"}


def test_a_file_that_appears_while_the_result_is_written_is_kept(tmp_path: Path) -> None:
    def write(path: Path) -> None:
        path.write_text("ours")
        (tmp_path / "a.txt").write_text("mine")

    with pytest.raises(FolderError, match=r"a\.txt was not written by phosphene"):
        OutputFolder(tmp_path, "dream").publish({"a.txt": write})
    assert visible(tmp_path) == {"a.txt": "mine"}
