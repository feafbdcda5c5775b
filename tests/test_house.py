"""The shape of the code: sizes of files, functions and folders; names that do not say what they hold."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import phosphene

ROOT = Path(phosphene.__file__).parent
TREES = {path: ast.parse(path.read_text("utf-8")) for path in sorted(ROOT.rglob("*.py"))}
EMPTY = {"each", "found", "thing", "stuff"}
ANYTHING = {"base", "common", "helpers", "misc", "utils"}


def where(path: Path, node: ast.AST) -> str:
    return f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}"


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def length(function: ast.FunctionDef) -> int:
    """Lines of the body, without the docstring."""
    docstring = ast.get_docstring(function, clean=False)
    assert function.end_lineno is not None
    return function.end_lineno - function.body[0].lineno + 1 - (docstring.count("\n") + 1 if docstring else 0)


def test_files_and_functions_are_short() -> None:
    assert [path for path in TREES if path.read_text("utf-8").count("\n") > 300] == []
    assert [where(path, node) for path, tree in TREES.items() for node in functions(tree) if length(node) > 40] == []


def test_a_folder_holds_about_a_dozen_files() -> None:
    files = Counter(path.parent for path in TREES if path.stem != "__init__")
    assert {folder: count for folder, count in files.items() if count > 14} == {}


def test_names_say_what_they_hold() -> None:
    stored = [
        (where(path, node), node.id if isinstance(node, ast.Name) else node.arg)
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if (isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)) or isinstance(node, ast.arg)
    ]
    assert [place for place, name in stored if name in EMPTY] == []
    assert [path for path in TREES if path.stem in ANYTHING] == []


def test_no_two_public_types_share_a_name() -> None:
    types = [node.name for tree in TREES.values() for node in tree.body if isinstance(node, ast.ClassDef)]
    assert [name for name, count in Counter(types).items() if count > 1 and not name.startswith("_")] == []
