"""A table of named columns, as surveys write them and queries return them."""

from __future__ import annotations

import html
import importlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from phosphene.core.errors import OptionError


class Table(Mapping[str, npt.NDArray[Any]]):
    """Columns of equal length by name: `table["mean"]` is one column, `table.rows` are the rows as plain values.

    Args:
        columns: name → array (rows,).

    >>> table = Table({"unit": np.arange(3), "mean": np.array([0.5, 2.0, 1.0])})
    >>> table, table["unit"].tolist(), table.rows[1]
    (Table(3 rows of unit, mean), [0, 1, 2], (1, 2.0))
    """

    def __init__(self, columns: Mapping[str, npt.NDArray[Any]]) -> None:
        self._columns = dict(columns)

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        return self._columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns."""
        return tuple(self._columns)

    @property
    def rows(self) -> list[tuple[Any, ...]]:
        """All rows as plain values."""
        return list(zip(*(column.tolist() for column in self._columns.values()), strict=True))

    def take(self, order: npt.NDArray[Any]) -> Table:
        """Some rows, in some order.

        Args:
            order: their indices, or a mask.
        """
        return Table({name: column[order] for name, column in self._columns.items()})

    def to_pandas(self) -> Any:
        """The same as a pandas.DataFrame.

        Raises:
            OptionError: pandas is not installed.
        """
        try:
            pandas = importlib.import_module("pandas")
        except ImportError as error:
            raise OptionError("a DataFrame needs pandas: pip install pandas; or use the columns as they are") from error
        return pandas.DataFrame(self._columns)

    def __eq__(self, other: object) -> bool:
        """Whether another mapping has the same columns in the same order."""
        if not isinstance(other, Mapping) or list(self) != list(other):
            return False
        return all(np.array_equal(column, other[name]) for name, column in self._columns.items())

    __hash__ = None  # type: ignore[assignment]  # columns can be written to

    def __repr__(self) -> str:
        return f"Table({self._count():,} rows of {', '.join(self._columns)})"

    def _repr_html_(self) -> str:
        """The first rows, in a notebook."""
        head = "".join(f"<th>{html.escape(name)}</th>" for name in self._columns)
        first = Table({name: column[:_SHOWN] for name, column in self._columns.items()}).rows
        rows = ("".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) for row in first)
        body = "".join(f"<tr>{row}</tr>" for row in rows)
        more = f"<p>{self._count():,} rows</p>" if self._count() > _SHOWN else ""
        return f"<table><tr>{head}</tr>{body}</table>{more}"

    def _count(self) -> int:
        return len(next(iter(self._columns.values()), ()))


_SHOWN = 20  # rows in a notebook
