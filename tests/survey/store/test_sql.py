"""Queries read the tables of a run and nothing else."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import numpy as np
import pytest

from phosphene.core.errors import OptionError
from phosphene.survey.store import duckdb
from phosphene.survey.store.run import Run
from phosphene.survey.store.sql import query
from phosphene.survey.store.table import read_table
from survey.runs import small_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One for all queries, which change nothing."""
    return small_run(tmp_path_factory.mktemp("query") / "run")


def test_a_query_reads_the_tables(run: Run) -> None:
    table = query(run.folder, "select layer, count(*) as n from units group by layer order by layer")
    assert table.columns == ("layer", "n")
    assert table.rows == [("features.3", 4), ("features.5", 6)]
    assert (table["n"].dtype, table["layer"].dtype) == (np.int64, object)
    assert query(run.folder, "select 1 as a, null as a, 2.5::double as a").rows == [(1, None, 2.5)]
    assert query(run.folder, "from images", limit=2).rows == query(run.folder, "from images").rows[:2]
    assert len(query(run.folder, "show tables").rows) == 6
    assert query(run.folder, "from units", tables=["units"]).columns[:2] == ("layer", "channel")
    with pytest.raises(OptionError, match="The tables are units"):
        query(run.folder, "from images", tables=["units"])


@pytest.mark.parametrize(
    "sql",
    [
        "describe units",
        "summarize patches",
        "with u as (select * from units) select count(*) from u union all select 3;",
        "with recursive t(n) as (values (1) union all select n + 1 from t where n < 5) select sum(n) from t",
        "pivot units on layer in ('features.3') using count(*)",
        "select i.source, p.activation from patches p join images i using (image) where p.rank = 0 order by all",
        "select * from range(3), unnest([1, 2]) -- a comment",
        "select \"column\" from patches where image in (select image from images where label = 'copy; drop')",
    ],
)
def test_all_that_reads_is_allowed(run: Run, sql: str) -> None:
    assert query(run.folder, sql).columns


REFUSED = [
    *("copy units to '{out}'", "copy (select 1) to '{units}' (format parquet, use_tmp_file false)"),
    "with x as (copy (select 1) to '{units}' (format parquet, use_tmp_file false)) select 1",
    "select (with x as (copy (select 1) to '{units}' (format parquet, use_tmp_file false)) select 1)",
    "select * from query('with x as (copy (select 1) to ''{units}'' (format parquet, use_tmp_file false)) from x')",
    "explain analyze copy (select 1) to '{units}' (format parquet, use_tmp_file false)",
    *(
        "export database '{out}'",
        "attach '{out}'",
        "install httpfs",
        "load httpfs",
        "checkpoint",
        "call pragma_version()",
    ),
    *(
        "set threads = 1",
        "pragma threads = 1",
        "reset threads",
        "set enable_external_access = true",
        "set variable a = 1",
    ),
    *("create table t as select 1", "create view v as select 1", "create macro f(x) as x", "drop view units"),
    *("insert into units values (1)", "update units set max = 1", "delete from units", "alter view units rename to u"),
    "with x as (insert into units values (1) returning *) from x",
    *("select 1; select 2", "select 1; drop view units", "", ";", "-- nothing", "begin", "prepare s as select 1"),
    *("from read_csv('/etc/passwd')", "from read_text('{secret}')", "from glob('/*')", "from '{secret}'"),
    *(
        "from read_parquet('https://example.org/a.parquet')",
        "from 's3://bucket/a.parquet'",
        "from sniff_csv('{secret}')",
    ),
    *("from duckdb_secrets()", "from duckdb_settings()", "from pandas_scan(1, 2, 3)", "from enable_profiling('json')"),
    *("from json_execute_serialized_sql('x')", "from read_blob('{units}')", "from query_table(['units'])"),
    *("from folder", "from paths", "select ?", "select $1", "select foo from units", "from unitz", "selec 1", "\udcff"),
]


@pytest.mark.parametrize("sql", REFUSED)
def test_all_else_is_refused_in_a_line_and_changes_nothing(run: Run, sql: str) -> None:
    tmp_path = run.folder.parent
    (tmp_path / "secret.csv").write_text("a,b\n1,2\n")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(OptionError) as caught:
        query(
            run.folder,
            sql.format(out=tmp_path / "out", units=run.folder / "units.parquet", secret=tmp_path / "secret.csv"),
        )
    assert "\n" not in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before
    assert run.verify() == ()


def test_the_fence_stands_without_the_check_of_the_statement(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("phosphene.survey.store.sql._only_reads", lambda *_: None)
    for sql in (
        f"copy units to '{tmp_path / 'out.csv'}'",
        f"attach '{tmp_path / 'out.duckdb'}'",
        "from read_csv('/etc/passwd')",
        "set enable_external_access = true",
        "set allowed_paths = ['/etc/passwd']",
        "install httpfs",
        "from read_parquet('https://example.org/a.parquet')",
    ):
        with pytest.raises(OptionError):
            query(run.folder, sql)
    assert list(tmp_path.iterdir()) == []
    settings = ("autoinstall_known_extensions", "autoload_known_extensions", "temp_directory")
    rows = query(run.folder, f"select {', '.join(f'current_setting({name!r})' for name in settings)}").rows
    assert rows == [(False, False, "")]


def test_an_error_in_sql_names_the_tables_and_their_columns(run: Run) -> None:
    with pytest.raises(OptionError, match=r"column \"foo\" not found") as caught:
        query(run.folder, "select foo from units")
    for name, columns in {name: read_table(run.folder / f"{name}.parquet") for name in ("units", "patches")}.items():
        shown = ", ".join('"column"' if column == "column" else column for column in columns)
        assert f"{name} ({shown})" in str(caught.value)


def test_a_query_that_needs_too_much_memory_says_what_to_do(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(duckdb.OPTIONS, "memory_limit", "100MB")
    with pytest.raises(OptionError, match="ask for fewer rows with WHERE or LIMIT"):
        query(run.folder, "select list(range) from range(1000000000)")


ENDLESS = [
    "select sum(a.range * b.range) from range(100000000) a, range(100000000) b",
    "with recursive t(n) as (values (1) union all select n + 1 from t) select max(n) from t",
    "select sum(sqrt(range)) from range(1000000000000)",
    "select * from range(1000000000000) where range % 1000 = 7",
]


@pytest.mark.parametrize("sql", ENDLESS)
def test_an_interrupt_stops_a_query(run: Run, sql: str) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            query(run.folder, sql)
    finally:
        timer.join()
        signal.signal(signal.SIGINT, before)
    assert query(run.folder, "select 1").rows == [(1,)]
