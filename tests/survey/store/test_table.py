"""Tables: exact, the same bytes each time, whole or not at all; queries that read them and nothing else."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import numpy as np
import pytest

from phosphene.core import files
from phosphene.core.errors import OutputError, RunError
from phosphene.survey.store.sql import query
from phosphene.survey.store.table import count_rows, read_table, write_table
from survey.runs import text

HARD = [
    "",
    "a",
    "猫 é e\u0301",
    "😀",
    "\ud83d\ude00",
    "\udcff",
    "C:\\users",
    "\\udcff",
    "\\u005c",
    "\\",
    "\0",
    "a\nb",
    "nan",
]
COLUMNS = {
    "i": np.array([0, -1, 2**31 - 1, -(2**31)] * 4, np.int32)[:13],
    "l": np.array([0, -1, 2**63 - 1, -(2**63)] * 4, np.int64)[:13],
    "f": np.array([0.0, -0.0, np.nan, np.inf, -np.inf, 1e-45, 3.4e38, 0.1] * 2, np.float32)[:13],
    "d": np.array([0.0, -0.0, np.nan, np.inf, -np.inf, 5e-324, 1.7e308, 0.1] * 2, np.float64)[:13],
    "b": np.array([True, False] * 7)[:13],
    "t": np.array(HARD, object),
}
WRITER = """
import sys
import numpy as np
from phosphene.survey.store.table import write_table
write_table(sys.argv[1], {"n": np.arange(300_000), "t": np.array(["a", "b", "c"] * 100_000, object)})
"""
FORK = """
import os, sys
from phosphene.survey.store.table import read_table
assert len(read_table(sys.argv[1])["n"]) == 4
child = os.fork()
if not child:
    os._exit(0 if len(read_table(sys.argv[1])["n"]) == 4 else 1)
assert os.waitpid(child, 0)[1] == 0
"""


def same(one: dict[str, np.ndarray], two: dict[str, np.ndarray]) -> bool:
    """The same names in the same order, types and bits."""
    return list(one) == list(two) and all(
        one[name].dtype == two[name].dtype and one[name].tolist() == two[name].tolist()
        if one[name].dtype == object
        else one[name].dtype == two[name].dtype and one[name].tobytes() == two[name].tobytes()
        for name in one
    )


def table(folder: Path) -> Path:
    """Numbers and letters."""
    columns = {"n": np.array([3, 1, 2, 1], np.int32), "t": text("a", "b", "a", "it's"), "x": np.array([1.5, 2, 3, 4])}
    return write_table(folder / "units.parquet", columns)


def test_every_value_comes_back_exactly(tmp_path: Path) -> None:
    assert same(read_table(write_table(tmp_path / "a.parquet", COLUMNS)), COLUMNS)


def test_no_rows_keep_their_types(tmp_path: Path) -> None:
    none = {name: column[:0] for name, column in COLUMNS.items()}
    path = write_table(tmp_path / "a.parquet", none)
    assert same(read_table(path), none)
    assert count_rows(path) == 0


def test_arrays_of_any_layout_are_taken(tmp_path: Path) -> None:
    numbers = np.arange(20, dtype=np.int64)
    grid = np.asfortranarray(np.arange(20.0).reshape(10, 2))
    given = {
        "back": numbers[::-2],
        "column": grid[:, 1],
        "words": np.array(["a", "bb"] * 5),
        "big": np.arange(10, dtype=">i4"),
    }
    frozen = {name: column.copy() for name, column in given.items()}
    for column in given.values():
        column.setflags(write=False)
    stored = read_table(write_table(tmp_path / "a.parquet", given))
    assert same(stored, {**frozen, "words": frozen["words"].astype(object), "big": np.arange(10, dtype=np.int32)})


@pytest.mark.parametrize(
    "column", [np.zeros(2, np.uint8), np.zeros(2, np.float16), np.zeros(2, complex), text("a", None), np.zeros(2, "S3")]
)
def test_other_types_are_a_mistake_of_ours(tmp_path: Path, column: np.ndarray) -> None:
    with pytest.raises(AssertionError):
        write_table(tmp_path / "a.parquet", {"x": column})
    with pytest.raises(AssertionError):
        write_table(tmp_path / "a.parquet", {"x": np.zeros(2), "y": np.zeros(3)})
    assert list(tmp_path.iterdir()) == []


def test_the_same_columns_give_the_same_bytes_in_every_process(tmp_path: Path) -> None:
    for number, seed in enumerate(("1", "2")):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        subprocess.run([sys.executable, "-c", WRITER, str(tmp_path / f"{number}.parquet")], check=True, env=environment)
    columns = {"n": np.arange(300_000), "t": np.array(["a", "b", "c"] * 100_000, object)}
    write_table(tmp_path / "2.parquet", columns)
    assert len({files.sha256(path) for path in tmp_path.iterdir()}) == 1
    write_table(tmp_path / "3.parquet", {**columns, "n": columns["n"][::-1]})
    assert len({files.sha256(path) for path in tmp_path.iterdir()}) == 2


def test_rows_stay_in_their_order_over_many_pages(tmp_path: Path) -> None:
    numbers = np.random.default_rng(0).permutation(400_000)
    path = write_table(tmp_path / "a.parquet", {"n": numbers, "even": numbers % 2 == 0})
    assert np.array_equal(read_table(path, columns=["n"])["n"], numbers)
    assert np.array_equal(read_table(path, where={"even": True})["n"], numbers[numbers % 2 == 0])
    assert np.array_equal(read_table(path, order=["n"])["n"], np.arange(400_000))
    assert count_rows(path) == 400_000


def test_reading_filters_picks_and_sorts(tmp_path: Path) -> None:
    path = table(tmp_path)
    assert read_table(path, where={"t": "a"})["n"].tolist() == [3, 2]
    assert read_table(path, where={"t": "a", "n": 2})["x"].tolist() == [3.0]
    assert list(read_table(path, columns=["x", "n"])) == ["x", "n"]
    assert read_table(path, order=["n", "x"])["x"].tolist() == [2.0, 4.0, 3.0, 1.5]
    empty = read_table(path, where={"t": "z"})
    assert {name: column.dtype.name for name, column in empty.items()} == {"n": "int32", "t": "object", "x": "float64"}


def test_values_and_names_are_never_sql(tmp_path: Path) -> None:
    path = table(tmp_path)
    assert read_table(path, where={"t": "it's"})["n"].tolist() == [1]
    assert read_table(path, where={"t": "' OR 1=1 --"})["n"].tolist() == []
    odd = {
        'a"b': np.arange(2),
        "select": np.arange(2),
        "it's; drop": np.arange(2),
        "?": np.arange(2),
        "$1": np.arange(2),
    }
    path = write_table(tmp_path / "b.parquet", odd)
    assert same(read_table(path, where=dict.fromkeys(odd, 1), order=list(odd)), {name: np.array([1]) for name in odd})
    hard = write_table(tmp_path / "c.parquet", COLUMNS)
    assert [read_table(hard, where={"t": value})["t"].tolist() for value in HARD] == [[value] for value in HARD]


@pytest.mark.parametrize(
    "name", ["a[1]", "a*b?", "it's", 'a"b', "layer=3", "a b", "{a,b}", "-x", "**", "猫", "a\\b", "~x", "$HOME", "s3:"]
)
def test_folders_may_be_called_anything(tmp_path: Path, name: str) -> None:
    for folder in ("a1", "aXbY", "aX", name):
        write_table(tmp_path / folder / "units.parquet", {"name": text(folder)})
    assert read_table(tmp_path / name / "units.parquet") == {"name": [name]}
    assert query(tmp_path / name, "from units").rows == [(name,)]


def test_a_path_that_is_not_unicode_is_refused_in_a_line(tmp_path: Path) -> None:
    path = tmp_path / "\udcff" / "units.parquet"
    with pytest.raises(OutputError, match=r"its path is not utf-8. Choose another folder"):
        write_table(path, {"x": np.zeros(2)})
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"")
    with pytest.raises(RunError, match="not UTF-8"):
        read_table(path)
    with pytest.raises(RunError, match="not UTF-8"):
        query(path.parent, "from units")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = table(tmp_path)
    before = path.read_bytes()

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_table(path, {"x": np.zeros(2)})
    assert path.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["units.parquet"]


def test_a_full_disk_is_said_in_a_line(tmp_path: Path) -> None:
    path = table(tmp_path)
    before, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(OutputError, match=r"units.parquet cannot be written: the disk is full. Free some space"):
            write_table(path, {"x": np.random.default_rng(0).random(500_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["units.parquet"]


def test_a_path_that_cannot_be_written_is_said_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file" / "a.parquet", tmp_path):
        with pytest.raises(OutputError, match=r"cannot be written: .* Choose another folder") as caught:
            write_table(path, {"x": np.zeros(2)})
        assert "\n" not in str(caught.value)


def test_a_damaged_or_missing_file_is_named(tmp_path: Path) -> None:
    path = table(tmp_path)
    content = path.read_bytes()
    for damaged in (b"", b"PAR1", content[:-1], content[: len(content) // 2], b"x" * 500, content[:-12] + b"\xff" * 12):
        path.write_bytes(damaged)
        for read in (read_table, count_rows, lambda path: query(path.parent, "from units")):
            with pytest.raises(RunError, match=r"units.parquet is damaged \(.*\). phosphene verify") as caught:
                read(path)
            assert "\n" not in str(caught.value)
    with pytest.raises(RunError, match=r"is not there. phosphene verify"):
        read_table(tmp_path / "b.parquet")


def test_threads_read_and_write_side_by_side(tmp_path: Path) -> None:
    def there_and_back(number: int) -> int:
        path = write_table(tmp_path / f"{number}.parquet", {"n": np.full(1000, number)})
        return int(read_table(path, where={"n": number})["n"].sum())

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(there_and_back, range(40))) == [1000 * number for number in range(40)]


def test_a_forked_process_reads_on_its_own(tmp_path: Path) -> None:
    path = table(tmp_path)
    subprocess.run([sys.executable, "-c", FORK, str(path)], check=True, timeout=60)


def test_anything_reads_our_tables(tmp_path: Path) -> None:
    path = table(tmp_path)
    with duckdb.connect(config={"autoload_known_extensions": False}) as other:
        assert other.execute("SELECT sum(x) FROM read_parquet(?)", [str(path)]).fetchall() == [(10.5,)]
