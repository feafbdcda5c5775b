"""Tables as Parquet files, which anything reads; written, read and queried by DuckDB, which nothing else may use."""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import numpy as np
import numpy.typing as npt

from phosphene.core import files
from phosphene.core.errors import OptionError, RunError

Columns = dict[str, npt.NDArray[Any]]
Value = str | int | float | bool

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


def write_table(path: str | Path, columns: Mapping[str, npt.NDArray[Any]]) -> Path:
    r"""Write columns as a Parquet file, whole or not at all; the same columns give the same bytes.

    A lone surrogate, which a file name may hold and UTF-8 may not, is stored as the six characters \udcff, and
    `read_table` turns it back; so is a backslash that stands before such characters.

    Args:
        path: of the file.
        columns: int32, int64, float32, float64, bool or text, each (rows,).

    Raises:
        OutputError: the disk is full, or the folder cannot be written.
    """
    plain = {name: _plain(column) for name, column in columns.items()}
    assert len({len(column) for column in plain.values()}) == 1, {name: len(column) for name, column in plain.items()}
    picked = ", ".join(_picked(name, column.dtype) for name, column in plain.items())
    with files.aside(path) as temporary, _database().cursor() as cursor, _interrupts():
        cursor.register("columns", plain)
        copy = f"COPY (SELECT {picked} FROM columns) TO {_quoted(temporary)}"  # noqa: S608  names are quoted
        try:
            cursor.execute(f"{copy} (FORMAT parquet, COMPRESSION zstd, USE_TMP_FILE false)")
        except duckdb.IOException as error:
            raise _system_error(error) from error
    return Path(path)


def read_table(
    path: str | Path,
    *,
    where: Mapping[str, Value] | None = None,
    columns: Sequence[str] | None = None,
    order: Sequence[str] = (),
) -> Columns:
    """Columns of a Parquet file, each (rows,), in the order in which they were written.

    Args:
        path: of the file.
        where: values that columns must have.
        columns: which ones; all by default.
        order: columns to sort by, rising, the first one first.

    Raises:
        RunError: the file is not there, or damaged.
    """
    where = where or {}
    values = [_escape(value) if isinstance(value, str) else value for value in where.values()]
    picked = ", ".join(map(_name, columns)) if columns else "*"
    filters = " AND ".join(f"{_name(each)} = ?" for each in where) or "true"
    ordered = ", ".join(map(_name, order))
    try:
        sql = f"SELECT {picked} FROM {_scan(path)} WHERE {filters}"  # noqa: S608  names are quoted, values bound
        with _database().cursor() as cursor, _interrupts():
            found: Columns = cursor.execute(f"{sql} ORDER BY {ordered}" if order else sql, values).fetchnumpy()
    except (duckdb.BinderException, duckdb.ConversionException):
        raise  # a column or a value that no such table has: ours to mend
    except (duckdb.Error, OSError) as error:
        raise _damaged(Path(path), error) from error
    return {name: _restore(column) if column.dtype == object else column for name, column in found.items()}


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
    with duckdb.connect(config={**_OPTIONS, "python_enable_replacements": False}) as database, _interrupts():
        _fence(database, {name: path for name, path in paths.items() if path.exists()})
        try:
            _only_reads(database, sql)
            answer = database.execute(sql)
            columns = tuple(str(each[0]) for each in answer.description)
            return Rows(columns, answer.fetchall() if limit is None else answer.fetchmany(limit))
        except duckdb.OutOfMemoryException as error:
            raise OptionError(f"{_first_line(error)}; ask for fewer rows with WHERE or LIMIT") from error
        except duckdb.IOException as error:
            raise RunError(f"a table in {folder} is damaged ({_first_line(error)}). {_remedy(folder)}") from error
        except duckdb.Error as error:
            row = database.execute(_SCHEMA).fetchone()
            raise OptionError(f"{_first_line(error)}. The tables are {row[0] if row else ''}") from error


def count_rows(path: str | Path) -> int:
    """How many rows a Parquet file has, from its footer.

    Raises:
        RunError: the file is not there, or damaged.
    """
    try:
        with _database().cursor() as cursor, _interrupts():
            row = cursor.execute(f"SELECT count(*) FROM {_scan(path)}").fetchone()  # noqa: S608  quoted
    except (duckdb.Error, OSError) as error:
        raise _damaged(Path(path), error) from error
    assert row is not None
    return int(row[0])


_OPTIONS: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "temp_directory": "",
}


@functools.cache
def _database() -> duckdb.DuckDBPyConnection:
    """One thread: several would write the same rows in other pages."""
    return duckdb.connect(config={**_OPTIONS, "threads": 1})


def _fence(database: duckdb.DuckDBPyConnection, tables: Mapping[str, Path]) -> None:
    """Show the tables as views; from then on open no other file and take no other setting."""
    for name, path in tables.items():
        try:
            database.execute(f"CREATE VIEW {name} AS FROM {_scan(path)}")
        except (duckdb.Error, OSError) as error:
            raise _damaged(path, error) from error
    allowed = ", ".join(f"{_pattern(path)}, {_quoted(path)}" for path in tables.values())
    database.execute(
        f"SET allowed_paths = [{allowed}]; SET enable_external_access = false; SET lock_configuration = true"
    )


def _only_reads(database: duckdb.DuckDBPyConnection, sql: str) -> None:
    """Refuse all but one SELECT, whose parts read as well: a COPY within WITH would write over the tables."""
    parsed = json.loads(database.execute("SELECT json_serialize_sql(?::VARCHAR)", [sql]).fetchall()[0][0])
    if parsed["error"] and parsed["error_type"] == "parser":
        return  # running it says more
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
_TYPES = {"int32": "INTEGER", "int64": "BIGINT", "float32": "FLOAT", "float64": "DOUBLE", "bool": "BOOLEAN"}


def _plain(column: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A column as DuckDB takes it."""
    if column.dtype.kind not in "OU":
        assert column.dtype.name in _TYPES, column.dtype
        return np.ascontiguousarray(column, column.dtype.newbyteorder("="))
    values = column.tolist()
    assert all(isinstance(value, str) for value in values), "a column of objects holds text alone"
    changed = {value: _escape(value) for value in set(values) if _HOSTILE.search(value)}
    return np.array([changed.get(value, value) for value in values], object) if changed else column.astype(object)


def _picked(name: str, dtype: np.dtype[Any]) -> str:
    """A column in SQL, with its type also where there are no rows, and NaN, which DuckDB takes from arrays as NULL."""
    type = _TYPES.get(dtype.name, "VARCHAR")
    value = f"coalesce({_name(name)}, 'nan'::{type})" if dtype.kind == "f" else _name(name)
    return f"{value}::{type} AS {_name(name)}"


_SURROGATE = re.compile(r"[\ud800-\udfff]")
_HOSTILE = re.compile(rf"{_SURROGATE.pattern}|\\(?=u[0-9a-f]{{4}})")


def _escape(text: str) -> str:
    return _HOSTILE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _restore(column: npt.NDArray[Any]) -> npt.NDArray[Any]:
    values = column.tolist()
    changed = {
        value: re.sub(r"\\u([0-9a-f]{4})", lambda found: chr(int(found[1], 16)), value)
        for value in set(values)
        if "\\u" in value
    }
    return np.array([changed.get(value, value) for value in values], object) if changed else column


def _scan(path: str | Path) -> str:
    return f"read_parquet({_pattern(path)}, hive_partitioning = false)"  # else folders named a=b become columns


def _pattern(path: str | Path) -> str:
    """A path where DuckDB takes patterns: a folder may be called run[1]."""
    return re.sub(r"([\[*?])", r"[\1]", _quoted(path))


def _name(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'


def _quoted(path: str | Path) -> str:
    """A path in SQL; DuckDB knows only those of valid Unicode."""
    text = Path(path).absolute().as_posix()
    if not text.isascii() and _SURROGATE.search(text):
        raise OSError("its path is not UTF-8")
    return "'" + text.replace("'", "''") + "'"


def _damaged(path: Path, error: Exception) -> RunError:
    if not path.is_file():
        return RunError(f"{path} is not there. phosphene verify {path.parent} says what else is missing")
    return RunError(f"{path} is damaged ({_first_line(error)}). {_remedy(path.parent)}")


def _remedy(folder: str | Path) -> str:
    return f"phosphene verify {folder} names all damage; phosphene survey into a new folder makes the run again"


def _system_error(error: duckdb.IOException) -> OSError:
    """The error of the system that DuckDB quotes."""
    text = str(error).lower()
    code = next((each for each in errno.errorcode if os.strerror(each).lower() in text), None)
    return OSError(_first_line(error)) if code is None else OSError(code, os.strerror(code))


@contextlib.contextmanager
def _interrupts() -> Iterator[None]:
    """DuckDB hears Ctrl-C, and says so in its own way."""
    try:
        yield
    except RuntimeError as error:
        if str(error) == "Query interrupted":
            raise KeyboardInterrupt from error
        raise


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
