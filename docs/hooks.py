"""What the site adds to its pages: the table of methods from their registry, the list of decisions from files."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError

DECISIONS = Path(__file__).parent / "decisions"


def on_config(config: Any) -> Any:
    """Put every decision into the navigation, under its index."""
    section = next(part["Decisions"] for part in config.nav if "Decisions" in part)
    section += [f"decisions/{path.name}" for path in decisions()]
    return config


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Replace comments by the table of methods and the list of decisions."""
    if "<!-- methods -->" in markdown:
        markdown = markdown.replace("<!-- methods -->", methods())
    if page.file.src_uri == "decisions/index.md":
        listed = "\n".join(f"- [{title(path)}]({path.name})" for path in decisions())
        markdown = markdown.replace("<!-- decisions -->", listed)
    return markdown


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Refuse a page that would fetch anything from another host: the site is read offline."""
    fetched = re.findall(r'<(?:script|link|img|iframe|source)\b[^>]*\b(?:src|href)="((?:https?:)?//[^"]+)"', output)
    if fetched:
        raise PluginError(f"{page.file.src_uri} fetches {', '.join(fetched)}; put it into docs/assets")
    return output


def methods() -> str:
    """One row for each registered method of attribution, in its own words."""
    from phosphene.attribution import Attribution  # noqa: PLC0415  torch, only where the table is asked for

    rows = ["| method | what it shows | cost for one picture | known weakness |", "|---|---|---|---|"]
    for name in sorted(Attribution.table):
        method = Attribution.table[name]
        cells = (f"`{name}`", method.summary(), cost(method.__doc__ or ""), method.weakness)
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows)


def cost(docstring: str) -> str:
    """The sentence after "Cost:" in a docstring.

    >>> cost("What it shows. Cost: one backward pass. More.")
    'One backward pass.'
    """
    text = re.sub(r"\s+", " ", inspect.cleandoc(docstring))
    sentence = re.search(r"Cost: (.+?)\.(?= |$)", text)
    assert sentence is not None, f"no cost in: {text}"
    return sentence[1][0].upper() + sentence[1][1:] + "."


def decisions() -> list[Path]:
    """The records, oldest first."""
    return sorted(DECISIONS.glob("[0-9]*.md"))


def title(path: Path) -> str:
    """The heading of a record."""
    return path.read_text("utf-8").partition("\n")[0].lstrip("# ")
