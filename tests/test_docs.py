"""What the documents show exists, parses and runs."""

from __future__ import annotations

import re
import runpy
import shlex
from pathlib import Path
from typing import Any

import click
import pytest
import torch

from phosphene.attribution import Attribution
from phosphene.cli import VERBS, phosphene
from phosphene.cli.verbs.attribute import Methods

ROOT = Path(__file__).parent.parent
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
HOOKS = runpy.run_path(str(ROOT / "docs" / "hooks.py"))


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text("utf-8"), re.M | re.S)


def commands(page: Path) -> list[str]:
    text = page.read_text("utf-8")
    shown = [line for block in blocks(page, "console") for line in re.findall(r"^\$ (phosphene .+)$", block, re.M)]
    return [*shown, *(line for line in re.findall(r"`(phosphene [^`]+)`", text) if not line.endswith("--help"))]


SHOWN = sorted({line for page in PAGES for line in commands(page)})


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
def test_every_command_that_is_shown_parses(line: str) -> None:
    _, verb, *rest = shlex.split(line)
    with click.Context(phosphene) as context:
        command = phosphene.get_command(context, verb)
        if isinstance(command, Methods):
            verb, *rest = rest
            command = command.get_command(context, verb)
        assert command is not None
        command.make_context(verb, rest)


@pytest.mark.parametrize("page", [page for page in PAGES[1:] if blocks(page, "python")], ids=named)
def test_python_blocks_run_in_their_order(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Attribution, "table", dict(Attribution.table))  # a page may add a method of its own
    names: dict[str, Any] = {"__name__": "shown"}
    with torch.random.fork_rng(devices=[]):
        for block in blocks(page, "python"):
            exec(compile(block, named(page), "exec"), names)


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


@pytest.mark.parametrize(
    "row", re.findall(r"^\| (S\d\d) \|[^|]*\| `([^`]+)` \| ([^|]+) \|", (ROOT / "docs/systems.md").read_text(), re.M)
)
def test_every_idea_is_where_it_is_said_to_be(row: tuple[str, str, str]) -> None:
    _, file, names = row
    source = (ROOT / "src" / "phosphene" / file).read_text("utf-8")
    for name in re.findall(r"`(\w+)`", names):
        assert re.search(rf"^(class|def) {name}\b", source, re.M), f"{name} is not in {file}"


def test_every_idea_has_its_place_or_is_not_yet() -> None:
    text = (ROOT / "docs" / "systems.md").read_text("utf-8")
    assert sorted(set(re.findall(r"\bS\d\d\b", text))) == [f"S{number:02}" for number in range(1, 40)]


def test_every_decision_is_listed() -> None:
    page = type("Page", (), {"file": type("File", (), {"src_uri": "decisions/index.md"})})
    text = (ROOT / "docs" / "decisions" / "index.md").read_text("utf-8")
    listed = HOOKS["on_page_markdown"](text, page)
    records = [path.name for path in (ROOT / "docs" / "decisions").glob("0*.md")]
    assert records
    assert all(f"({name})" in listed for name in records)
