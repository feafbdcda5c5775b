"""A file is old or new, never half; names are safe; what cannot be written is said in one line."""

import errno
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from phosphene.core import files
from phosphene.core.errors import OutputError

WRITER = """
import sys
from phosphene.core.files import write
print("ready", flush=True)
number = 0
while True:
    number += 1
    write(sys.argv[1], bytes([number % 256]) * (200_000 + number % 7))
"""


def test_write_replaces_the_whole_file_and_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "new" / "folder" / "a.txt"
    assert files.write(path, "a long première") == path
    assert files.write(path, b"short") == path
    assert path.read_bytes() == b"short"
    assert [each.name for each in path.parent.iterdir()] == ["a.txt"]
    assert files.write(str(path), "é").read_text("utf-8") == "é"


def test_new_files_have_the_usual_permissions(tmp_path):
    mask = os.umask(0o022)
    try:
        assert files.write(tmp_path / "a", b"").stat().st_mode & 0o777 == 0o644
    finally:
        os.umask(mask)


def test_a_kill_leaves_the_old_file_or_the_new_one(tmp_path):
    path = tmp_path / "state.bin"
    for delay in (0.0, 0.003, 0.007, 0.012, 0.02):
        child = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE)
        assert child.stdout.readline() == b"ready\n"
        while not path.exists():
            time.sleep(0.001)
        time.sleep(delay)
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        content = path.read_bytes()
        assert len(set(content)) == 1
        assert len(content) >= 200_000


def fail(code):
    def failing(*_):
        raise OSError(code, os.strerror(code))

    return failing


@pytest.mark.parametrize(
    ("call", "code", "words"),
    [
        ("fsync", errno.ENOSPC, "the disk is full. Free some space and run the same command again"),
        ("fsync", errno.EDQUOT, "the disk is full"),
        ("replace", errno.EACCES, "permission denied. Choose another folder with -o"),
        ("fsync", errno.EIO, "input/output error. Choose another folder"),
    ],
)
def test_a_failed_write_says_why_and_cleans_up(tmp_path, monkeypatch, call, code, words):
    path = files.write(tmp_path / "a.txt", "old")
    monkeypatch.setattr(os, call, fail(code))
    with pytest.raises(OutputError) as caught:
        files.write(path, "new")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 75
    assert path.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["a.txt"]


def test_an_interrupt_leaves_no_temporary_file(tmp_path, monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        files.write(tmp_path / "a.txt", "new")
    assert list(tmp_path.iterdir()) == []


def test_a_path_that_cannot_be_a_file(tmp_path):
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file" / "a.txt", tmp_path):
        with pytest.raises(OutputError, match=r"cannot be written: .* Choose another folder"):
            files.write(path, "x")
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_what_is_written_aside_becomes_the_file_where_the_block_ends_well(tmp_path):
    path = tmp_path / "folder" / "a.bin"
    for content in ("old", "new"):
        with files.aside(path) as temporary:
            assert temporary.parent == path.parent
            assert not temporary.exists()
            temporary.write_text(content)
            assert [each.name for each in path.parent.iterdir() if each != temporary] == ["a.bin"] * (content == "new")
        assert path.read_text() == content
        assert [each.name for each in path.parent.iterdir()] == ["a.bin"]


@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt()])
def test_what_is_written_aside_goes_where_the_block_fails(tmp_path, error):
    path = files.write(tmp_path / "a.bin", "old")

    def write():
        with files.aside(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(type(error)):
        write()
    assert path.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["a.bin"]


def test_an_error_of_the_system_while_writing_aside_is_said(tmp_path):
    with pytest.raises(OutputError, match="the disk is full"), files.aside(tmp_path / "a.bin"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(OutputError, match="no such file"), files.aside(tmp_path / "a.bin"):
        pass  # nothing was written
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_found(tmp_path):
    left = tmp_path / ".phosphene-0123456789abcdef.tmp"
    for path in (left, tmp_path / ".mine.tmp", tmp_path / "a.tmp"):
        path.touch()
    assert list(files.abandoned(tmp_path)) == [left]
    assert list(files.abandoned(tmp_path / "no-such-folder")) == []


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="this system cannot reserve")
def test_a_file_with_holes_gets_its_room(tmp_path):
    path = tmp_path / "a"
    path.touch()
    os.truncate(path, 2**20)
    files.reserve(path)
    assert path.stat().st_size == 2**20
    assert path.stat().st_blocks * 512 >= 2**20


def test_content_is_synced_whoever_wrote_it(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
    path = files.write(tmp_path / "a", "x")
    assert synced == [path.stat().st_ino, tmp_path.stat().st_ino]
    files.sync(path)
    assert synced[2:] == [path.stat().st_ino]


def test_json_keeps_its_order_and_refuses_what_json_cannot_say(tmp_path):
    path = files.write_json(tmp_path / "a.json", {"b": [1, 2.5, None], "a": "é\udcff"})
    assert json.loads(path.read_text()) == {"b": [1, 2.5, None], "a": "é\udcff"}
    assert list(json.loads(path.read_text())) == ["b", "a"]
    assert path.read_text().endswith("}\n")
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="JSON"):
            files.write_json(path, {"a": value})
    assert list(json.loads(path.read_text())) == ["b", "a"]


def test_arrays_come_back_without_pickle(tmp_path):
    array = np.random.default_rng(0).normal(size=(2, 3, 5)).astype(np.float16)
    path = files.write_array(tmp_path / "a.npy", array[:, ::-1])
    found = np.load(path, allow_pickle=False)
    assert found.dtype == np.float16
    assert np.array_equal(found, array[:, ::-1])
    with pytest.raises(AssertionError, match="pickle"):
        files.write_array(path, np.array([{}]))


def test_hashes_of_bytes_and_of_files_agree(tmp_path):
    path = files.write(tmp_path / "a", b"abc")
    assert files.sha256(path) == files.sha256(str(path)) == files.sha256(b"abc")
    assert files.sha256(b"abc").startswith("ba7816bf")


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            ".",
            "..",
            "../../etc/passwd",
            "a\\b",
            "C:\\x",
            "con",
            "NUL.txt",
            "-rf",
            "a\0b",
            "x" * 500,
            "猫",
            "\udcff",
        ),
        *("a\nb", "  ", "...x...", "é" * 100, "tabby, tabby cat", "layer:3@1,2", "x" * 79 + ".", "~"),
    ],
)
def test_slugs_are_safe_names(tmp_path, text):
    name = files.slug(text)
    assert name.isascii()
    assert 0 < len(name) <= 80
    assert not set(name) & set('/\\:*?"<>| \0\n~')
    assert name[0] not in ".-"
    assert name[-1] not in ".-"
    assert name.partition(".")[0].lower() not in {"con", "nul"}
    assert files.write(tmp_path / name, b"").parent == tmp_path
    assert files.slug(name) == name


def test_slugs_that_lose_letters_stay_apart():
    long = "x" * 100
    for one, two in [(long + "a", long + "b"), ("猫", "犬"), ("œuf", "uf"), ("", "..")]:
        assert files.slug(one) != files.slug(two)
    assert files.slug("grad-cam++") == "grad-cam++"
