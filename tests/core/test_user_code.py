"""Plugins: files whose classes register themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from phosphene.core import user_code
from phosphene.core.errors import OptionError


def test_a_plugin_is_run_and_may_import_its_neighbors(tmp_path: Path) -> None:
    (tmp_path / "beside_it.py").write_text("NUMBER = 7\n")
    (tmp_path / "mine.py").write_text("from beside_it import NUMBER\n")
    assert user_code.plugin(tmp_path / "mine.py").NUMBER == 7


def test_what_is_wrong_with_a_plugin_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"there is no plugin .*none\.py; --plugin wants a Python file"):
        user_code.plugin(tmp_path / "none.py")
    (tmp_path / "bad.py").write_text("\n1 / 0\n")
    with pytest.raises(OptionError, match=r"bad\.py raised ZeroDivisionError: division by zero \(bad\.py, line 2\)"):
        user_code.plugin(tmp_path / "bad.py")
