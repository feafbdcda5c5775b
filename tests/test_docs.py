"""What the documents show exists, parses and runs."""

from __future__ import annotations

import re
import runpy
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

import click
import pytest
import torch

import phosphene as ph
from phosphene import studies
from phosphene.attribution import Attribution
from phosphene.cli import VERBS, _without_plugins, phosphene
from phosphene.core import user_code

ROOT = Path(__file__).parent.parent
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
HOOKS = runpy.run_path(str(ROOT / "docs" / "hooks.py"))


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def text_of(page: Path) -> str:
    """The text of a page, with the files that it shows."""
    return re.sub(
        r'^--8<-- "(.+)"\n', lambda snippet: (ROOT / snippet[1]).read_text("utf-8"), page.read_text("utf-8"), flags=re.M
    )


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text_of(page), re.M | re.S)


def commands(page: Path) -> list[str]:
    shown = [line for block in blocks(page, "console") for line in re.findall(r"^\$ (phosphene .+)$", block, re.M)]
    return [
        line
        for line in (*shown, *re.findall(r"`(phosphene [^`]+)`", page.read_text("utf-8")))
        if not line.endswith("--help")
    ]


SHOWN = sorted({line for page in PAGES for line in commands(page)})


@pytest.fixture
def registries(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a page or a plugin registers is forgotten after the test."""
    studies.registered()
    for name in ("Attribution", "Accumulator", "Recipe", "Study"):
        family = getattr(ph, name)
        monkeypatch.setattr(family, "table", dict(family.table))


def test_every_method_is_described_and_no_other() -> None:
    text = (ROOT / "docs" / "guide" / "attribution.md").read_text("utf-8")
    described = re.findall(r"^\| `([^`]+)` \|", text, re.M)
    own = {name for name, method in Attribution.table.items() if method.__module__.startswith("phosphene.")}
    assert sorted(described) == sorted(own)


@pytest.mark.parametrize("name", sorted(Attribution.table))
def test_the_table_of_the_site_has_every_method_with_its_cost(name: str) -> None:
    method = Attribution.table[name]
    (row,) = (line for line in HOOKS["methods"]().splitlines() if line.startswith(f"| `{name}` |"))
    assert method.summary().replace("|", "\\|") in row
    assert HOOKS["cost"](method.__doc__) in row.replace("\\|", "|")
    assert len(row) > 100


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_shown(verb: str) -> None:
    assert any(line.split()[1] == verb for line in SHOWN)


@pytest.mark.parametrize("line", SHOWN)
@pytest.mark.usefixtures("registries")
def test_every_command_that_is_shown_parses(line: str) -> None:
    (verb, *args), plugins = _without_plugins(shlex.split(line)[1:])
    for plugin in plugins:
        user_code.plugin(ROOT / plugin)
    with click.Context(phosphene) as context:
        command = phosphene.get_command(context, verb)
        while isinstance(command, click.Group):  # of methods, of studies
            verb, *args = args
            command = command.get_command(context, verb)
        assert command is not None
        command.make_context(verb, args)


@pytest.mark.parametrize("page", [page for page in PAGES[1:] if blocks(page, "python")], ids=named)
@pytest.mark.usefixtures("registries")
def test_python_blocks_run_in_their_order(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    module = ModuleType("shown")
    monkeypatch.setitem(sys.modules, "shown", module)  # where dataclasses look their types up
    with torch.random.fork_rng(devices=[]):
        for block in blocks(page, "python"):
            exec(compile(block, named(page), "exec"), vars(module))


def test_readme_prints_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (block,) = blocks(ROOT / "README.md", "python")
    exec(compile(block, "README.md", "exec"), {})
    assert capsys.readouterr().out == blocks(ROOT / "README.md", "text")[-1]


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"], ids=named)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text("utf-8"))
    assert [link for link in links if not (ROOT / link).exists()] == []


SYSTEMS = (ROOT / "docs" / "systems.md").read_text("utf-8")


def definitions(paths: Iterable[str]) -> set[str]:
    """Names of the classes and functions of files below src/phosphene."""
    sources = [(ROOT / "src" / "phosphene" / path).read_text("utf-8") for path in paths]
    return {name for source in sources for name in re.findall(r"^(?:class|def) (\w+)\b", source, re.M)}


@pytest.mark.parametrize(
    "row", re.findall(r"^\| (S\d\d) \|[^|]*\|([^|]+)\|([^|]+)\|", SYSTEMS, re.M), ids=lambda row: row[0]
)
def test_every_idea_is_where_it_is_said_to_be(row: tuple[str, str, str]) -> None:
    paths, names = re.findall(r"`([\w/]+\.py)`", row[1]), re.findall(r"`(\w+)`", row[2])
    assert paths
    assert set(names) <= definitions(paths)
    assert [path for path in paths if not definitions([path]) & set(names)] == []


def test_every_path_and_name_of_the_systems_exists() -> None:
    paths = re.findall(r"`([\w/.]+/[\w/.]*)`", SYSTEMS)
    places = {
        path: next((top for top in (ROOT, ROOT / "src/phosphene") if (top / path).exists()), None) for path in paths
    }
    assert [path for path, place in places.items() if place is None] == []
    files = [path for path, place in places.items() if path.endswith(".py") and place != ROOT]
    assert set(re.findall(r"`([A-Za-z_]\w*)`", SYSTEMS)) <= definitions(files)


def test_every_idea_has_its_place_or_is_not_yet() -> None:
    assert sorted(set(re.findall(r"\bS\d\d\b", SYSTEMS))) == [f"S{number:02}" for number in range(1, 40)]


def test_every_decision_is_listed() -> None:
    page = type("Page", (), {"file": type("File", (), {"src_uri": "decisions/index.md"})})
    text = (ROOT / "docs" / "decisions" / "index.md").read_text("utf-8")
    listed = HOOKS["on_page_markdown"](text, page)
    records = [path.name for path in (ROOT / "docs" / "decisions").glob("0*.md")]
    assert records
    assert all(f"({name})" in listed for name in records)
