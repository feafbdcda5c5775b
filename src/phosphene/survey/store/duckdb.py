"""DuckDB without the internet, with paths taken literally and errors in one line."""

from __future__ import annotations

import atexit
import contextlib
import errno
import functools
import os
import re
from collections.abc import Iterator
from pathlib import Path

import duckdb

from phosphene.core.errors import RunError

OPTIONS: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "temp_directory": "",
}
SURROGATE = re.compile(r"[\ud800-\udfff]")


def cursor() -> duckdb.DuckDBPyConnection:
    """A connection to the database in memory that a process needs to read and write Parquet files."""
    return _database(os.getpid()).cursor()


@functools.cache
def _database(_process: int) -> duckdb.DuckDBPyConnection:
    """One for each process, since a forked one hangs in its parent's; one thread, since several write other bytes."""
    return duckdb.connect(config={**OPTIONS, "threads": 1})


atexit.register(_database.cache_clear)  # else its bindings print an error where a daemon thread is left


def scan(path: str | Path) -> str:
    """A Parquet file in SQL, with its own columns only: DuckDB would add those of a folder called layer=3."""
    return f"read_parquet({pattern(path)}, hive_partitioning = false)"


def pattern(path: str | Path) -> str:
    """A path in SQL, where DuckDB takes patterns: a folder may be called run[1]."""
    return re.sub(r"([\[*?])", r"[\1]", quoted(path))


def name_of(column: str) -> str:
    """A column in SQL."""
    return '"' + column.replace('"', '""') + '"'


def quoted(path: str | Path) -> str:
    """A path in SQL.

    Raises:
        OSError: it is no valid Unicode, which is all that DuckDB takes.
    """
    text = Path(path).absolute().as_posix()
    if not text.isascii() and SURROGATE.search(text):
        raise OSError("its path is not UTF-8")
    return "'" + text.replace("'", "''") + "'"


def damaged(path: Path, error: Exception) -> RunError:
    """The error for a table that cannot be read, with what to do."""
    if not path.is_file():
        return RunError(f"{path} is not there. phosphene verify {path.parent} says what else is missing")
    return RunError(f"{path} is damaged ({first_line(error)}). {remedy(path.parent)}")


def remedy(folder: str | Path) -> str:
    """What to do about a damaged run."""
    return f"phosphene verify {folder} names all damage; phosphene survey into a new folder makes the run again"


@contextlib.contextmanager
def interrupts() -> Iterator[None]:
    """Turn the error that DuckDB raises on Ctrl-C into KeyboardInterrupt."""
    try:
        yield
    except RuntimeError as error:
        if str(error) == "Query interrupted":
            raise KeyboardInterrupt from error
        raise


def system_error(error: duckdb.IOException) -> OSError:
    """The error of the system that DuckDB quotes."""
    text = str(error).lower()
    code = next((number for number in errno.errorcode if os.strerror(number).lower() in text), None)
    return OSError(first_line(error)) if code is None else OSError(code, os.strerror(code))


def first_line(error: Exception) -> str:
    """The first line of an error; the lines after it quote the SQL."""
    return str(error).partition("\n")[0]
