"""Plugins: files whose classes register themselves."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import pytest

from phosphene.core import user_code
from phosphene.core.errors import LayerError, OptionError


def test_a_plugin_is_run_and_may_import_its_neighbors(tmp_path: Path) -> None:
    (tmp_path / "beside_it.py").write_text("NUMBER = 7\n")
    (tmp_path / "mine.py").write_text("from beside_it import NUMBER\n")
    assert user_code.plugin(tmp_path / "mine.py").NUMBER == 7
    assert str(tmp_path) not in sys.path


def test_objects_of_a_plugin_can_be_pickled(tmp_path: Path) -> None:
    (tmp_path / "pickled.py").write_text("class Thing:\n    pass\n")
    thing = user_code.plugin(tmp_path / "pickled.py").Thing()
    assert type(pickle.loads(pickle.dumps(thing))) is type(thing)


def test_what_is_wrong_with_a_plugin_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"there is no plugin .*none\.py; --plugin wants a Python file"):
        user_code.plugin(tmp_path / "none.py")
    (tmp_path / "bad.py").write_text("\n1 / 0\n")
    with pytest.raises(OptionError, match=r"bad\.py raised ZeroDivisionError: division by zero \(bad\.py, line 2\)"):
        user_code.plugin(tmp_path / "bad.py")


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("import sys\n\nsys.exit(3)\n", r"raised SystemExit: 3 \(bad\.py, line 3\)"),
        ("\n\n\n1 = 2\n", r"raised SyntaxError: .*, line 4\); mend it there"),
        ("def fail():\n    1 / 0\n\nfail()\n", r"raised ZeroDivisionError: division by zero \(bad\.py, line 2\)"),
    ],
)
def test_the_line_that_failed_is_named(tmp_path: Path, code: str, says: str) -> None:
    (tmp_path / "bad.py").write_text(code)
    with pytest.raises(OptionError, match=says):
        user_code.plugin(tmp_path / "bad.py")


def test_an_error_of_ours_passes_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "ours.py").write_text("from phosphene.core.errors import LayerError\n\nraise LayerError('no layer')\n")
    with pytest.raises(LayerError, match=r"^no layer$"):
        user_code.plugin(tmp_path / "ours.py")


def test_a_plugin_is_a_python_file(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(OptionError, match=r"notes\.txt; --plugin wants a Python file"):
        user_code.plugin(tmp_path / "notes.txt")


def test_an_error_of_syntax_is_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("\n\nif:\n")
    with pytest.raises(OptionError, match=r"SyntaxError: invalid syntax \(bad\.py, line 3\); mend it there"):
        user_code.plugin(tmp_path / "bad.py")
