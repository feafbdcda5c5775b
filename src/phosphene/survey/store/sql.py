"""SQL over the tables of a run, which reads them and nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, NamedTuple

import duckdb

from phosphene.core.errors import OptionError, RunError
from phosphene.survey.store.duckdb import OPTIONS, damaged, first_line, pattern, quoted, remedy, scan

TABLES = ("images", "units", "patches", "classes", "histograms", "samples")
"""What a query may read of a run; each is a file <name>.parquet."""


class Rows(NamedTuple):
    """The answer to a query.

    Args:
        columns: their names.
        rows: plain values.
    """

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]


def query(folder: str | Path, sql: str, *, limit: int | None = None, tables: Sequence[str] = TABLES) -> Rows:
    """Answer one SELECT over the tables of a run; nothing else can be read, and nothing written.

    Args:
        folder: with the Parquet files.
        sql: one statement, in the SQL of DuckDB; a text is as `write_table` stores it.
        limit: at most so many rows.
        tables: which ones it may read, where they exist.

    Raises:
        OptionError: the statement is wrong, does more than read, or needs too much memory.
        RunError: a table is damaged.
    """
    paths = {name: Path(folder) / f"{name}.parquet" for name in tables}
    with duckdb.connect(config={**OPTIONS, "python_enable_replacements": False}) as database:
        _fence(database, {name: path for name, path in paths.items() if path.exists()})
        try:
            _only_reads(database, sql)
            return _answer(database, sql, limit)
        except duckdb.OutOfMemoryException as error:
            raise OptionError(f"{first_line(error)}; ask for fewer rows with WHERE or LIMIT") from error
        except duckdb.IOException as error:
            raise RunError(f"a table in {folder} is damaged ({first_line(error)}). {remedy(folder)}") from error
        except duckdb.Error as error:
            row = database.execute(_SCHEMA).fetchone()
            raise OptionError(f"{first_line(error).rstrip('!')}. The tables are {row[0] if row else ''}") from error


def _answer(database: duckdb.DuckDBPyConnection, sql: str, limit: int | None) -> Rows:
    """Run a statement in a thread of its own: DuckDB hears Ctrl-C late, or never, but is interrupted at once."""

    def ask() -> Rows:
        answer = database.execute(sql)
        columns = tuple(str(each[0]) for each in answer.description)
        return Rows(columns, answer.fetchall() if limit is None else answer.fetchmany(limit))

    with ThreadPoolExecutor(1) as thread:
        rows = thread.submit(ask)
        try:
            return rows.result()
        except KeyboardInterrupt:
            while not rows.done():  # it may not have begun
                database.interrupt()
                wait([rows], 0.1)
            raise


def _fence(database: duckdb.DuckDBPyConnection, tables: Mapping[str, Path]) -> None:
    """Show the tables as views; from then on open no other file and take no other setting."""
    for name, path in tables.items():
        try:
            database.execute(f"CREATE VIEW {name} AS FROM {scan(path)}")
        except (duckdb.Error, OSError) as error:
            raise damaged(path, error) from error
    allowed = ", ".join(f"{pattern(path)}, {quoted(path)}" for path in tables.values())
    database.execute(
        f"SET allowed_paths = [{allowed}]; SET enable_external_access = false; SET lock_configuration = true"
    )


def _only_reads(database: duckdb.DuckDBPyConnection, sql: str) -> None:
    """Refuse all but one SELECT, whose parts read as well: a COPY within WITH would write over the tables."""
    parsed = json.loads(database.execute("SELECT json_serialize_sql(?::VARCHAR)", [sql]).fetchall()[0][0])
    if parsed["error"] and parsed["error_type"] == "parser":
        raise duckdb.ParserException(parsed["error_message"])
    if parsed["error"] or len(parsed["statements"]) != 1:
        raise OptionError("phosphene query answers one SELECT at a time, and writes nothing; write SELECT … FROM units")
    for part in _parts(parsed):
        kind, function = str(part.get("type", "")), part.get("function", {})
        if kind.endswith("_NODE") and kind not in _READING:
            found = kind.partition("_")[0]
            raise OptionError(f"phosphene query writes nothing, and found {found} within the SELECT; leave it out")
        if kind == "TABLE_FUNCTION" and function["function_name"] not in _FUNCTIONS:
            found = f"phosphene query reads the tables of a run, not {function['function_name']}()"
            raise OptionError(f"{found}; the tables are {', '.join(TABLES)}")


def _parts(tree: Any) -> Iterator[dict[str, Any]]:
    """Every object in parsed JSON."""
    if isinstance(tree, dict):
        yield tree
    if isinstance(tree, dict | list):
        for each in tree.values() if isinstance(tree, dict) else tree:
            yield from _parts(each)


_READING = {"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"}
_FUNCTIONS = {"range", "generate_series", "unnest", "json_each"}
_SCHEMA = """
SELECT string_agg(shown, '; ') FROM (
    SELECT table_name || ' (' || string_agg(CASE WHEN column_name IN (
        SELECT keyword_name FROM duckdb_keywords() WHERE keyword_category = 'reserved'
    ) THEN '"' || column_name || '"' ELSE column_name END, ', ' ORDER BY column_index) || ')' AS shown
    FROM duckdb_columns() WHERE NOT internal GROUP BY table_name ORDER BY table_name)
"""
