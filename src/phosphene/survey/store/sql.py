"""SQL over the tables of a run; read-only, and without access to any other file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt

from phosphene.core.errors import OptionError, RunError
from phosphene.core.table import Table
from phosphene.survey.store.duckdb import OPTIONS, damaged, first_line, name_of, pattern, quoted, remedy, scan


def query(folder: str | Path, sql: str, *, limit: int | None = None, tables: Sequence[str] | None = None) -> Table:
    """Run one SELECT over the tables of a run; nothing else can be read, and nothing written.

    Args:
        folder: with the Parquet files.
        sql: one statement, in the SQL of DuckDB; a text is as `write_table` stores it.
        limit: at most so many rows.
        tables: names of the tables that it may read; by default every Parquet file in the folder.

    Raises:
        OptionError: the statement is wrong, does more than read, or needs too much memory.
        RunError: a table is damaged.
    """
    if tables is None:
        tables = sorted(path.stem for path in Path(folder).glob("*.parquet"))
    paths = {name: Path(folder) / f"{name}.parquet" for name in tables}
    with duckdb.connect(config={**OPTIONS, "python_enable_replacements": False}) as database:
        _fence(database, {name: path for name, path in paths.items() if path.exists()})
        try:
            _only_reads(database, sql, tables)
            return _answer(database, sql, limit)
        except duckdb.OutOfMemoryException as error:
            raise OptionError(f"{first_line(error)}; ask for fewer rows with WHERE or LIMIT") from error
        except duckdb.IOException as error:
            raise RunError(f"a table in {folder} is damaged ({first_line(error)}). {remedy(folder)}") from error
        except duckdb.Error as error:
            row = database.execute(_SCHEMA).fetchone()
            raise OptionError(f"{first_line(error).rstrip('!')}. The tables are {row[0] if row else ''}") from error


def _answer(database: duckdb.DuckDBPyConnection, sql: str, limit: int | None) -> Table:
    """Run a statement in a thread of its own: DuckDB reacts late to Ctrl-C, but at once to `interrupt`."""

    def ask() -> Table:
        answer = database.execute(sql)
        names = _unique([str(column[0]) for column in answer.description])
        rows = answer.fetchall() if limit is None else answer.fetchmany(limit)
        return Table({name: _column([row[at] for row in rows]) for at, name in enumerate(names)})

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
    """Make the tables views; from then on no other file can be opened and no setting changed."""
    for name, path in tables.items():
        try:
            database.execute(f"CREATE VIEW {name_of(name)} AS FROM {scan(path)}")
        except (duckdb.Error, OSError) as error:
            raise damaged(path, error) from error
    allowed = ", ".join(f"{pattern(path)}, {quoted(path)}" for path in tables.values())
    database.execute(
        f"SET allowed_paths = [{allowed}]; SET enable_external_access = false; SET lock_configuration = true"
    )


def _only_reads(database: duckdb.DuckDBPyConnection, sql: str, tables: Sequence[str]) -> None:
    """Refuse all but one SELECT whose parts only read: a COPY within WITH would overwrite the tables."""
    parsed = json.loads(database.execute("SELECT json_serialize_sql(?::VARCHAR)", [sql]).fetchall()[0][0])
    if parsed["error"] and parsed["error_type"] == "parser":
        raise duckdb.ParserException(parsed["error_message"])
    if parsed["error"] or len(parsed["statements"]) != 1:
        raise OptionError("phosphene query answers one SELECT at a time, and writes nothing; write SELECT … FROM units")
    for part in _parts(parsed):
        kind, function = str(part.get("type", "")), part.get("function", {})
        if kind.endswith("_NODE") and kind not in _READING:
            statement = kind.partition("_")[0]
            raise OptionError(f"phosphene query writes nothing, and found {statement} within the SELECT; leave it out")
        if kind == "TABLE_FUNCTION" and function["function_name"] not in _FUNCTIONS:
            raise OptionError(
                f"phosphene query reads the tables of a run, not {function['function_name']}(); the tables are "
                f"{', '.join(tables)}"
            )


def _parts(tree: Any) -> Iterator[dict[str, Any]]:
    """Every object in parsed JSON."""
    if isinstance(tree, dict):
        yield tree
    if isinstance(tree, dict | list):
        for part in tree.values() if isinstance(tree, dict) else tree:
            yield from _parts(part)


def _unique(names: list[str]) -> list[str]:
    """Names of columns, those that come again with a number."""
    return [f"{name}_{before}" if (before := names[:at].count(name)) else name for at, name in enumerate(names)]


def _column(values: list[Any]) -> npt.NDArray[Any]:
    """A column of an answer: numbers where all values are of one numeric type, else objects."""
    kinds = set(map(type, values))
    if kinds in ({float}, {bool}) or (kinds == {int} and max(map(abs, values)) < 2**63):
        return np.array(values)
    column = np.empty(len(values), object)
    column[:] = values
    return column


_READING = {"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"}
_FUNCTIONS = {"range", "generate_series", "unnest", "json_each"}
_SCHEMA = """
SELECT string_agg(shown, '; ') FROM (
    SELECT table_name || ' (' || string_agg(CASE WHEN column_name IN (
        SELECT keyword_name FROM duckdb_keywords() WHERE keyword_category = 'reserved'
    ) THEN '"' || column_name || '"' ELSE column_name END, ', ' ORDER BY column_index) || ')' AS shown
    FROM duckdb_columns() WHERE NOT internal GROUP BY table_name ORDER BY table_name)
"""
