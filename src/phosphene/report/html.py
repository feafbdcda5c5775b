"""A page as one offline file of HTML, which loads nothing from elsewhere.

Every text is escaped, every picture embedded, and the content security policy names the hash of the one style and the
one script that there are.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import version
from itertools import count
from pathlib import Path

import jinja2
from markupsafe import Markup

from phosphene.report.page import Bar, Link, Page, quantity

FOOTER = f"Made by phosphene {version('phosphene')}, offline. result.json beside this page has the rest."
"""Of a page that stands beside the manifest."""


def number(value: float, decimals: int | None = None) -> str:
    """A number for reading.

    Args:
        value: the number.
        decimals: how many; None for three digits, whatever its size.

    >>> number(0.39123), number(-12), number(1234567), number(2.5e-7), number(0.0)
    ('0.391', '−12', '1,234,567', '2.5·10⁻⁷', '0')
    >>> number(-0.8, 2), number(-0.0001, 2)
    ('−0.80', '0.00')
    """
    if decimals is not None:
        text = f"{round(value, decimals) + 0.0:,.{decimals}f}"
    elif isinstance(value, int):
        text = f"{value:,}"
    elif value == 0 or 1e-4 <= abs(value) < 1e6:
        text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    else:
        mantissa, _, exponent = f"{value:.3g}".partition("e")
        text = f"{mantissa}·10{str(int(exponent)).translate(_RAISED)}" if exponent else mantissa
    return text.replace("-", "−")


def render(page: Page) -> str:
    """The page as one file of HTML; the same page gives the same text.

    Args:
        page: what to show.
    """
    style, script = (_part(name) for name in ("style.css", "script.js"))
    assert "</" not in style + script, "a style or script that closes its element would escape it"
    ids: Iterator[int] = count(1)
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            page=page,
            style=Markup(style),  # noqa: S704  a file of this package
            script=Markup(script),  # noqa: S704
            style_hash=_hash(style),
            script_hash=_hash(script),
            fresh=lambda: next(ids),
        )
    )


_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_FOLDER = Path(__file__).parent / "templates"


def _part(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """As a content security policy wants it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["number"] = number
    environment.tests |= {
        "link": lambda value: isinstance(value, Link),
        "bar": lambda value: isinstance(value, Bar),
        "truth": lambda value: isinstance(value, bool),
        "quantity": quantity,
    }
    return environment
