"""Damage to a survey is found and named, and never read as an answer."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from phosphene.core import files
from phosphene.core.errors import OutputError, RunError
from phosphene.survey.store.run import Run
from phosphene.survey.store.seal import CACHE, RESULT, Damage, foreign_files, seal, unseal, verify
from survey.runs import small_run

READS: dict[str, Callable[[Run], object]] = {
    "images.parquet": lambda run: run.images,
    "units.parquet": lambda run: (run.units(), run.unit("features.3", 1)),
    "patches.parquet": lambda run: (run.patches("features.3", 1), run.patches("features.5", 2, "bottom")),
    "classes.parquet": lambda run: run.classes("features.3", 1),
    "histograms.parquet": lambda run: run.histogram("features.3", 1),
    "samples.parquet": lambda run: run.samples("features.3", 1),
    "embeddings.npy": lambda run: np.array(run.embeddings),
    "pixels.npy": lambda run: np.array(run.pixels),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run without damage."""
    return small_run(tmp_path_factory.mktemp("whole") / "run")


def flip(path: Path, dice: random.Random) -> None:
    """One bit."""
    content = bytearray(path.read_bytes())
    content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
    path.write_bytes(content)


def cut(path: Path, dice: random.Random) -> None:
    """The tail off."""
    os.truncate(path, dice.randrange(path.stat().st_size))


def blank(path: Path, dice: random.Random) -> None:
    """A block of zeros, as a disk leaves it where a write was lost."""
    content = bytearray(path.read_bytes())
    start = dice.randrange(len(content) - 64)
    size = dice.randrange(64, 4097)
    block = content[start : start + size]
    content[start : start + size] = bytes(len(block)) if any(block) else bytes([1]) * len(block)
    path.write_bytes(content)


def delete(path: Path, _: random.Random) -> None:
    """The file gone."""
    path.unlink()


def swap(path: Path, dice: random.Random) -> None:
    """Its name on another file."""
    other = dice.choice([file for file in path.parent.iterdir() if file.name not in {path.name, RESULT}])
    kept = path.with_name("kept")
    path.rename(kept)
    other.rename(path)
    kept.rename(other)


@pytest.mark.parametrize("seed", range(50))
def test_damage_is_found_and_named_and_never_an_answer(whole: Run, tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    folder = shutil.copytree(whole.folder, tmp_path / "run")
    name = dice.choice([RESULT, *READS])
    before = {path.name: files.sha256(path) for path in folder.iterdir()}
    (flip, cut, blank, delete, swap)[seed % 5](folder / name, dice)
    after = {path: files.sha256(folder / path) if (folder / path).exists() else "" for path in before}
    damaged = {path for path in before if after[path] != before[path]}
    assert name in damaged
    if RESULT in damaged:
        with pytest.raises(RunError, match=RESULT.replace(".", r"\.")):
            Run(folder, check=False)
        return
    run = Run(folder, check=False)
    assert {damage.path for damage in run.verify()} == damaged
    for path, read in READS.items():
        if path in damaged:
            with pytest.raises(RunError, match=path) as caught:
                read(run)
            assert "\n" not in str(caught.value)
        else:
            assert repr(read(run)) == repr(read(whole))
    if any(path.endswith(".parquet") for path in damaged):
        with pytest.raises(RunError):
            run.query("select 1")


def test_no_byte_of_the_manifest_can_change(whole: Run, tmp_path: Path) -> None:
    content = (whole.folder / RESULT).read_bytes()
    dice = random.Random(0)
    for place in (*range(0, len(content), 9), *range(len(content) - 80, len(content))):
        changed = bytearray(content)
        changed[place] ^= 1 << dice.randrange(8)
        (tmp_path / RESULT).write_bytes(changed)
        with pytest.raises(RunError, match="is damaged"):
            unseal(tmp_path)
    for changed in (b"", content[:-1], content + b"\n", content.replace(b'"seed": 0', b'"seed": 1'), content[1:]):
        (tmp_path / RESULT).write_bytes(changed)
        with pytest.raises(RunError, match="is damaged"):
            unseal(tmp_path)


def test_damage_after_a_file_was_believed_is_found(whole: Run, tmp_path: Path) -> None:
    folder = shutil.copytree(whole.folder, tmp_path / "run")
    run, path = Run(folder), folder / "units.parquet"
    assert run.units()["channel"].size == 10
    facts = path.stat()
    flip(path, random.Random(0))
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    with pytest.raises(RunError, match=r"units.parquet has other content than was written. phosphene verify"):
        run.units()


def test_opening_compares_sizes_and_verifying_every_byte(whole: Run, tmp_path: Path) -> None:
    folder = shutil.copytree(whole.folder, tmp_path / "run")
    flip(folder / "pixels.npy", random.Random(0))
    assert Run(folder).verify(full=False) == ()
    assert verify(folder) == (Damage("pixels.npy", "has other content than was written"),)
    (folder / "units.parquet").unlink()
    cut(folder / "pixels.npy", random.Random(0))
    with pytest.raises(RunError, match=r"damaged: pixels.npy has .* bytes; 36,992 were written and 1 more. phosphene"):
        Run(folder)
    assert [str(damage) for damage in verify(folder, full=False)][1:] == ["units.parquet is missing"]


def test_a_file_is_hashed_once(whole: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(shutil.copytree(whole.folder, tmp_path / "run"))
    hashed: list[str] = []
    real = files.sha256
    monkeypatch.setattr(files, "sha256", lambda path: hashed.append(path.name) or real(path))
    for _ in range(3):
        run.unit("features.3", 0)
        run.embeddings  # noqa: B018
    assert hashed == ["units.parquet", "embeddings.npy"]


def test_a_file_that_cannot_be_read_is_damage(whole: Run, tmp_path: Path) -> None:
    folder = shutil.copytree(whole.folder, tmp_path / "run")
    (folder / "units.parquet").unlink()
    (folder / "units.parquet").symlink_to(folder / "units.parquet")
    assert [damage.path for damage in verify(folder)] == ["units.parquet"]


def test_files_of_others_are_named_and_do_no_harm(whole: Run, tmp_path: Path) -> None:
    folder = shutil.copytree(whole.folder, tmp_path / "run")
    assert foreign_files(folder) == ()
    (folder / "notes").mkdir()
    for name in ("notes/a.txt", "map.parquet"):
        (folder / name).write_text("x")
    assert foreign_files(folder) == ("map.parquet", "notes/a.txt")
    assert Run(folder).verify() == ()


def test_what_holds_no_finished_survey_says_what_to_do(whole: Run, tmp_path: Path) -> None:
    def line(folder: Path) -> str:
        with pytest.raises(RunError) as caught:
            Run(folder)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "there is no folder" in line(tmp_path / "none")
    assert "there is no folder" in line(whole.folder / RESULT)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "holds no survey (no result.json); phosphene survey PHOTOS -o FOLDER makes one" in line(empty)
    files.write_json(empty / RESULT, {"verb": "explain"})
    assert "holds the result of phosphene explain, no survey; give the folder of a survey" in line(empty)
    for content in ("{}", "[]", "5", "{", '{"verb": "survey"}', "\xff"):
        files.write(empty / RESULT, content)
        assert "result.json is damaged: its checksum is gone. Copy the run again" in line(empty)
    for name in (".phosphene/state/states", ".phosphene/state/plan.json"):
        folder = tmp_path / Path(name).name
        files.write(folder / name, "x")
        assert "not finished; run the same phosphene survey command again to finish it" in line(folder)
    lost = shutil.copytree(whole.folder, tmp_path / "lost")
    (lost / RESULT).unlink()
    assert "result.json is missing, without which no file can be trusted" in line(lost)


def test_the_seal_lists_tables_and_arrays_with_their_facts(whole: Run) -> None:
    manifest = unseal(whole.folder)
    assert json.loads((whole.folder / RESULT).read_text()) == manifest
    entries = {entry["path"]: entry for entry in manifest["files"]}
    assert sorted(entries) == sorted(READS)
    for name, entry in entries.items():
        assert entry["sha256"] == files.sha256(whole.folder / name)
        assert entry["bytes"] == (whole.folder / name).stat().st_size
    assert (entries["patches.parquet"]["kind"], entries["patches.parquet"]["rows"]) == ("table", 100)
    facts = {"kind": "state", "rows": 12, "shape": [12, 7], "dtype": "float16"}
    assert {key: entries["embeddings.npy"][key] for key in facts} == facts


def test_the_same_files_and_facts_give_the_same_manifest(whole: Run, tmp_path: Path) -> None:
    folder = shutil.copytree(whole.folder, tmp_path / "run")
    rest = {key: value for key, value in whole.record.items() if key != "digest"}
    hashes = seal(folder, rest, READS)
    assert hashes == {name: files.sha256(folder / name) for name in (*READS, RESULT)}
    assert (folder / RESULT).read_bytes() == (whole.folder / RESULT).read_bytes()
    assert unseal(folder)["digest"] != files.sha256(b"")


def test_the_manifest_is_the_last_thing_written(whole: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shutil.copytree(whole.folder, tmp_path / "run")
    (folder / RESULT).unlink()
    synced: list[str] = []
    real = files.sync
    monkeypatch.setattr(files, "sync", lambda path: synced.append(path.name) or real(path))
    seal(folder, {"verb": "survey"}, READS)
    assert sorted(synced[:-1]) == sorted(READS)
    assert synced[-1].endswith(".tmp")

    def fail(_: object) -> None:
        raise OSError(28, "No space left on device")

    (folder / RESULT).unlink()
    monkeypatch.setattr(files, "sync", lambda path: real(path) if path.suffix != ".tmp" else fail(path))
    with pytest.raises(OutputError, match="the disk is full"):
        seal(folder, {"verb": "survey"}, READS)
    assert not (folder / RESULT).exists()


def test_the_cache_of_a_run_is_not_foreign(tmp_path: Path) -> None:
    run = small_run(tmp_path / "run")
    files.write(run.folder / CACHE / "projection", b"")
    files.write(run.folder / "notes.txt", b"mine")
    assert foreign_files(run.folder) == ("notes.txt",)
