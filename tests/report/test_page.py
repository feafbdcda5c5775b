"""The page: offline, escaped, accessible, the same every time."""

from __future__ import annotations

import dataclasses
import io
import re
from typing import Any

import numpy as np
import pytest
from PIL import Image

from phosphene.core.images.preprocess import Box
from phosphene.report import html
from phosphene.report.chart import Series, line_chart
from phosphene.report.html import number, render
from phosphene.report.page import Bar, Chart, Column, Figure, Legend, Link, Mosaic, Page, PageTable, Section, View
from report.audit import audit

HOSTILE = """<script>alert('1')</script>"'</style></title><img src=x onerror=alert(1)>{{ 7*7 }}&amp;"""
RED = np.full((40, 60, 3), (255, 0, 0), np.uint8)
STRIP = np.tile(np.arange(256, dtype=np.uint8), (8, 1))


def figure(text: str = "Grad-CAM") -> Figure:
    legend = Legend(STRIP, (text, "0", text), text)
    views = (
        View(f"overlay {text}", RED, text, legend, ((text, Box(2, 3, 20, 30)),)),
        View(f"raw {text}", RED[..., 0], text),
    )
    return Figure(
        text,
        views,
        ((text, text), ("file", Link(text, text))),
        text,
        text,
        (text,),
        text,
    )


def full(text: str = "Grad-CAM") -> Page:
    table = PageTable(
        text, (Column(text, text, 2),) * 3, ((text, Bar(0.3, text), Link(text, text)), (text, 0.5, None)), (text,)
    )
    curves = Chart(text, line_chart([Series(text, ((0, 0), (1, 1)))] * 7, text, text, title=text), text)
    tiles = Mosaic(text, (View(text, RED, text),) * 2, 2, text)
    part = Section(text, text, (figure(text), figure(text)), (tiles,), (curves,), (table,), (text,))
    return Page(
        text,
        text,
        ((text, text),),
        (part, part, dataclasses.replace(part, figures=(figure(text),))),
        text,
        Link(text, text),
    )


def test_a_full_page_passes_the_audit() -> None:
    tree = audit(render(full()))
    assert len(tree.all("article")) == 5
    assert len(tree.all("nav")) == 1


def test_a_page_without_anything_passes_the_audit() -> None:
    tree = audit(render(Page("Nothing")))
    assert not tree.all("img", "nav", "dl")
    assert tree.all("h1")[0].words == "Nothing"


def test_hostile_text_is_text_in_every_slot() -> None:
    quiet, hostile = audit(render(full("calm"))), audit(render(full(HOSTILE)))
    assert [element.tag for element in hostile.elements] == [element.tag for element in quiet.elements]
    assert [sorted(element.attributes) for element in hostile.elements] == [
        sorted(element.attributes) for element in quiet.elements
    ]
    words = [element.words for element in hostile.all("h1", "h2", "dd", "caption", "figcaption")]
    assert all(HOSTILE in word for word in words)


def test_a_link_leads_to_no_other_host() -> None:
    for href in ("https://a.example/x", "//a.example/x", "javascript:alert(1)", "C:/x", "a b/c#d?.html"):
        assert re.fullmatch(r"\./[\w%./#?-]*", Link("x", href).url), Link("x", href).url
        assert "://" not in Link("x", href).url
    assert Link("x", "a b/ü.html").url == "./a%20b/%C3%BC.html"


def test_the_same_page_gives_the_same_bytes() -> None:
    assert render(full()) == render(full())


def test_a_jpeg_is_embedded_as_it_is() -> None:
    buffer = io.BytesIO()
    Image.fromarray(RED).save(buffer, "JPEG")
    text = render(Page("x", sections=(Section("y", figures=(Figure("z", (View("v", buffer.getvalue(), "red"),)),)),)))
    assert "data:image/jpeg;base64," in text
    audit(text)


def test_a_picture_needs_words_and_a_row_needs_its_columns() -> None:
    with pytest.raises(AssertionError, match="text alternative"):
        View("overlay", RED, "  ")
    with pytest.raises(AssertionError, match="rows and columns"):
        PageTable("t", (Column("a"),), (("x", "y"),))
    with pytest.raises(AssertionError, match="no picture"):
        Figure("f", ())


def test_a_tile_stands_above_its_label_and_small_ones_keep_their_pixels() -> None:
    tiles = (View("17\n3.5", RED[:, :40], "seventeen"), View("18", np.repeat(RED, 2, 1), "eighteen"))
    tree = audit(render(Page("p", sections=(Section("s", mosaics=(Mosaic("", tiles),)),))))
    assert [element.words for element in tree.all("li")][:2] == ["17\n3.5", "18"]
    assert [element.get("class") for element in tree.all("img")] == ["coarse", ""]
    with pytest.raises(AssertionError, match="no tiles"):
        Mosaic("m", ())


@pytest.mark.parametrize(
    ("cell", "shown"),
    [(0.12345, "0.123"), (True, "yes"), (None, "–"), ("ä", "ä"), (Bar(0.25, "25 %"), "25 %"), (-3, "−3")],
)
def test_a_cell_reads_as(cell: Any, shown: str) -> None:
    tree = audit(
        render(
            Page("p", sections=(Section("s", tables=(PageTable("t", (Column("a"), Column("b")), (("x", cell),)),)),))
        )
    )
    assert shown in tree.all("td")[0].words


def test_numbers_stand_to_the_right_also_above_a_dash() -> None:
    table = PageTable("t", (Column("a"), Column("b"), Column("c")), (("x", None, "w"), ("y", 1.5, "z")))
    tree = audit(render(Page("p", sections=(Section("s", tables=(table,)),))))
    assert [element.get("class") for element in tree.all("td")] == ["number", "", "number", ""]
    assert [element.get("class") for element in tree.all("th") if element.get("scope") == "col"] == ["", "number", ""]


def test_one_figure_stands_beside_its_table() -> None:
    table = PageTable("t", (Column("a"),), (("x",),))
    assert Section("s", figures=(figure(),), tables=(table,)).beside
    assert not Section("s", figures=(figure(), figure()), tables=(table,)).beside
    assert not Section("s", figures=(figure(),)).beside


def test_the_first_view_is_shown_and_shared_views_turn_together() -> None:
    tree = audit(render(full()))
    checked = [
        element.get("data-view")
        for element in tree.all("input")
        if "checked" in element.attributes and element.get("data-view")
    ]
    assert checked == ["overlay Grad-CAM"] * 5
    assert [element.get("data-turn") for element in tree.all("button")] == ["overlay Grad-CAM", "raw Grad-CAM"] * 2
    assert all("hidden" in element.attributes for element in tree.all("p") if element.get("class") == "turn")


@pytest.mark.parametrize(
    ("value", "text"), [(1234.6, "1,235"), (1e-9, "1·10⁻⁹"), (3e7, "3·10⁷"), (12, "12"), (-0.5, "−0.5")]
)
def test_a_number_reads_as(value: float, text: str) -> None:
    assert number(value) == text


# WCAG 2.2: 1.4.3 (text, 4.5 : 1) and 1.4.11 (lines that carry meaning, 3 : 1), in both themes.
TEXT, LINES = ("ink", "quiet", "accent", "caution"), ("s1", "s2", "s3", "s4", "s5", "s6")


def colors() -> dict[str, tuple[str, str]]:
    style = (html._FOLDER / "style.css").read_text()
    return {
        name: (light, dark) for name, light, dark in re.findall(r"--(\w+): light-dark\((#\w{6}), (#\w{6})\)", style)
    }


def luminance(color: str) -> float:
    levels = np.array([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


@pytest.mark.parametrize("theme", [0, 1])
@pytest.mark.parametrize(("name", "least"), [(name, 4.5) for name in TEXT] + [(name, 3.0) for name in LINES])
def test_colors_have_contrast(theme: int, name: str, least: float) -> None:
    for ground in ("paper", "raised"):
        pair = sorted((luminance(colors()[name][theme]), luminance(colors()[ground][theme])))
        assert (pair[1] + 0.05) / (pair[0] + 0.05) >= least


def test_every_color_of_the_style_is_defined_and_used() -> None:
    style = (html._FOLDER / "style.css").read_text()
    assert set(re.findall(r"var\(--(\w+)\)", style)) == set(colors())


def test_there_is_a_theme_for_paper_and_a_focus_that_can_be_seen() -> None:
    style = (html._FOLDER / "style.css").read_text()
    assert "@media print" in style
    assert ":focus-visible" in style
    assert "prefers-reduced-motion" in style
    assert not re.search(r"outline:\s*(0|none)", style.replace("main:focus { outline: none; }", ""))


@pytest.mark.parametrize(
    ("found", "put"),
    [
        ('alt="Grad-CAM"', 'alt=""'),
        ("default-src 'none'", "default-src 'self'"),
        ("script-src '", "script-src 'unsafe-inline' '"),
        ('"use strict";', '"use strict"; '),
        ('href="#main"', 'href="https://a.example"'),
        ('href="#main"', 'href="//a.example"'),
        ('id="part-2"', 'id="part-1"'),
        ("<h2", '<h2 style="color: red"'),
        ("<h2", '<h2 onclick="x()"'),
        ('scope="col"', ""),
        ("<main", "<div></div><main><main"),
        ('<html lang="en">', "<html>"),
    ],
)
def test_the_audit_can_fail(found: str, put: str) -> None:
    text = render(full())
    assert found in text
    with pytest.raises(AssertionError):
        audit(text.replace(found, put, 1))
