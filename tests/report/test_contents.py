"""The page above several pages."""

from __future__ import annotations

import numpy as np

from phosphene.report.contents import SIDE, PageEntry, index
from phosphene.report.html import render
from report.audit import audit

PIXELS = np.tile(np.arange(600, dtype=np.uint16)[None, :, None] // 3, (400, 1, 3)).astype(np.uint8)


def test_each_picture_leads_to_its_page_and_failures_say_why() -> None:
    entries = [PageEntry(f"cat {i}", f"cat {i}/index.html", PIXELS, "tabby, 52 %") for i in range(3)]
    tree = audit(render(index(entries, failures={"<b>.jpg": "not a picture; <i>"}, facts=(("Network", "net"),))))
    assert [element.get("href") for element in tree.all("a") if "index.html" in element.get("href")] == [
        f"./cat%20{i}/index.html" for i in range(3)
    ]
    assert [element.words for element in tree.all("td")] == ["not a picture; <i>"]
    assert "3 of 4 pictures" in tree.all("p")[1].words
    assert all(element.get("width") == str(SIDE) for element in tree.all("img"))
    assert "the network sees tabby, 52 %" in tree.all("img")[0].get("alt")


def test_an_index_of_nothing_and_one_of_failures_alone() -> None:
    assert audit(render(index([]))).all("h1")[0].words == "0 pictures"
    assert "0 of 1 pictures" in render(index([], failures={"a": "b"}))


def test_thumbnails_are_small() -> None:
    assert len(render(index([PageEntry("a", "a.html", PIXELS)] * 100))) < 2e6
