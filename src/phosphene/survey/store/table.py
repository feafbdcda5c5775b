"""Tables as Parquet files, written and read with DuckDB."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt

from phosphene.core import files
from phosphene.core.table import Table
from phosphene.survey.store.duckdb import SURROGATE, cursor, damaged, interrupts, name_of, quoted, scan, system_error

Value = str | int | float | bool


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
    selected = ", ".join(_expression(name, column.dtype) for name, column in plain.items())
    with files.aside(path) as temporary, cursor() as database, interrupts():
        database.register("columns", plain)
        copy = f"COPY (SELECT {selected} FROM columns) TO {quoted(temporary)}"  # noqa: S608  names are quoted
        try:
            database.execute(f"{copy} (FORMAT parquet, COMPRESSION zstd, USE_TMP_FILE false)")
        except duckdb.IOException as error:
            raise system_error(error) from error
    return Path(path)


def read_table(
    path: str | Path,
    *,
    where: Mapping[str, Value] | None = None,
    columns: Sequence[str] | None = None,
    order: Sequence[str] = (),
) -> Table:
    """Columns of a Parquet file, each (rows,), in the order in which they were written.

    Args:
        path: of the file.
        where: values that columns must have.
        columns: which ones; all by default.
        order: columns to sort by, rising, the first one first.

    Raises:
        RunError: the file is not there, or damaged.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = write_table(Path(folder) / "a.parquet", {"n": np.arange(3), "t": np.array(["a", "b", "a"])})
    ...     read_table(path, where={"t": "a"})["n"]
    array([0, 2])
    """
    where = where or {}
    values = [_escape(value) if isinstance(value, str) else value for value in where.values()]
    selected = ", ".join(map(name_of, columns)) if columns else "*"
    filters = " AND ".join(f"{name_of(column)} = ?" for column in where) or "true"
    ordered = ", ".join(map(name_of, order))
    try:
        sql = f"SELECT {selected} FROM {scan(path)} WHERE {filters}"  # noqa: S608  names are quoted, values bound
        with cursor() as database, interrupts():
            stored = database.execute(f"{sql} ORDER BY {ordered}" if order else sql, values).fetchnumpy()
    except (duckdb.BinderException, duckdb.ConversionException):
        raise  # a column or a value that the table does not have: an error of the caller
    except (duckdb.Error, OSError) as error:
        raise damaged(Path(path), error) from error
    return Table({name: _restore(column) if column.dtype == object else column for name, column in stored.items()})


def count_rows(path: str | Path) -> int:
    """How many rows a Parquet file has, from its footer.

    Raises:
        RunError: the file is not there, or damaged.
    """
    try:
        with cursor() as database, interrupts():
            row = database.execute(f"SELECT count(*) FROM {scan(path)}").fetchone()  # noqa: S608  quoted
    except (duckdb.Error, OSError) as error:
        raise damaged(Path(path), error) from error
    assert row is not None
    return int(row[0])


_TYPES = {"int32": "INTEGER", "int64": "BIGINT", "float32": "FLOAT", "float64": "DOUBLE", "bool": "BOOLEAN"}


def _plain(column: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A column as DuckDB takes it."""
    if column.dtype.kind not in "OU":
        assert column.dtype.name in _TYPES, column.dtype
        return np.ascontiguousarray(column, column.dtype.newbyteorder("="))
    values = column.tolist()
    assert all(isinstance(value, str) for value in values), "a column of objects holds text alone"
    changed = {value: _escape(value) for value in set(values) if _UNSTORABLE.search(value)}
    return np.array([changed.get(value, value) for value in values], object) if changed else column.astype(object)


def _expression(name: str, dtype: np.dtype[Any]) -> str:
    """A column in SQL, with its type also where there are no rows, and NaN, which DuckDB takes from arrays as NULL."""
    type = _TYPES.get(dtype.name, "VARCHAR")
    value = f"coalesce({name_of(name)}, 'nan'::{type})" if dtype.kind == "f" else name_of(name)
    return f"{value}::{type} AS {name_of(name)}"


_UNSTORABLE = re.compile(rf"{SURROGATE.pattern}|\\(?=u[0-9a-f]{{4}})")


def _escape(text: str) -> str:
    return _UNSTORABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _restore(column: npt.NDArray[Any]) -> npt.NDArray[Any]:
    values = column.tolist()
    changed = {
        value: re.sub(r"\\u([0-9a-f]{4})", lambda match: chr(int(match[1], 16)), value)
        for value in set(values)
        if "\\u" in value
    }
    return np.array([changed.get(value, value) for value in values], object) if changed else column
