"""Tables: columns, rows, and a DataFrame where pandas is installed."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from phosphene.core.errors import OptionError
from phosphene.core.table import Table


def table() -> Table:
    return Table({"unit": np.arange(30), "class": np.array(["<cat>", "dog", "cat"] * 10, object)})


def test_columns_and_rows() -> None:
    assert table().columns == ("unit", "class")
    assert table().rows[1] == (1, "dog")
    assert table().take(table()["unit"] > 27).rows == [(28, "dog"), (29, "cat")]
    assert Table({}).rows == []
    assert repr(table()) == "Table(30 rows of unit, class)"


def test_equal_columns_in_the_same_order() -> None:
    assert table() == table()
    assert table() != table().take(np.arange(3))
    assert Table({"a": np.arange(2), "b": np.arange(2)}) != Table({"b": np.arange(2), "a": np.arange(2)})


def test_a_notebook_shows_the_first_rows() -> None:
    shown = table()._repr_html_()
    assert "<td>&lt;cat&gt;</td>" in shown
    assert shown.count("<tr>") == 21
    assert "30 rows" in shown


def test_a_data_frame_where_pandas_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(DataFrame=dict))
    assert list(table().to_pandas()) == ["unit", "class"]
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(OptionError, match="pip install pandas"):
        table().to_pandas()
