"""The public names: found on first use, written twice, and the two lists agree."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import phosphene as ph


@pytest.mark.parametrize("name", ph.__all__)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    public = getattr(ph, name)
    assert inspect.getdoc(public) or callable(public)
    assert callable(public)


def test_the_reference_gives_the_purpose_of_every_public_name_once() -> None:
    page = (Path(__file__).parent.parent / "docs" / "reference" / "index.md").read_text("utf-8")
    rows = re.findall(r"^\| \[`ph\.(\w+)`\]\[[\w.]+\] \| \S.+ \|$", page, re.M)
    assert sorted(rows) == ph.__all__
    assert page.count("`ph.") == len(rows)


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(Path(ph.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    names = [alias.asname for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    names += [node.targets[0].id for node in block.body if isinstance(node, ast.Assign)]
    assert sorted(name for name in names if not name.startswith("_")) == ph.__all__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'explane'"):
        ph.explane  # noqa: B018


def test_the_package_alone_imports_nothing_heavy() -> None:
    code = "import sys, phosphene; print(sorted({'torch', 'numpy', 'cv2', 'timm'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_report_is_a_package_and_a_verb() -> None:
    import phosphene.report.page  # noqa: PLC0415  that it can be imported is the test

    assert ph.report is phosphene.report
    assert phosphene.report.page.Page.__name__ == "Page"
