"""What can be known of a page by parsing it: the rules of an accessibility audit, and those of an offline file."""

from __future__ import annotations

import base64
import hashlib
import io
import itertools
import re
from collections import Counter
from dataclasses import dataclass, field
from html.parser import HTMLParser

from PIL import Image

VOID = {"meta", "img", "input", "br", "hr", "link", "rect", "line", "polyline"}
LANDMARKS = ("header", "main")


@dataclass
class Element:
    tag: str
    attributes: dict[str, str | None]
    parent: Element | None
    text: str = ""
    children: list[Element] = field(default_factory=list)

    def get(self, name: str) -> str:
        return self.attributes.get(name) or ""

    @property
    def words(self) -> str:
        return (self.text + " ".join(child.words for child in self.children)).strip()


class Tree(HTMLParser):
    """The elements of a page. A tag that is not closed, or closed twice, is an error."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("", {}, None)
        self.elements: list[Element] = []
        self.at = self.root
        self.feed(html)
        self.close()
        assert self.at is self.root, f"<{self.at.tag}> is not closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"<{tag}> has an attribute twice"
        element = Element(tag, dict(attrs), self.at)
        self.at.children.append(element)
        self.elements.append(element)
        if tag not in VOID:
            self.at = element

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.at.tag == tag, f"</{tag}> closes <{self.at.tag}>"
        assert self.at.parent is not None
        self.at = self.at.parent

    def handle_data(self, data: str) -> None:
        self.at.text += data

    def all(self, *tags: str) -> list[Element]:
        return [node for node in self.elements if node.tag in tags]


def audit(html: str) -> Tree:
    """Assert every rule; return the elements for further questions."""
    tree = Tree(html)
    _offline(tree)
    _policy(tree)
    _structure(tree)
    _names(tree)
    _pictures(tree)
    return tree


def _offline(tree: Tree) -> None:
    for node in tree.elements:
        for name in ("src", "href", "srcset", "action", "poster", "data", "xlink:href"):
            value = node.get(name)
            assert not re.match(r"(?i)\s*(?:[a-z][a-z0-9+.-]*:|//)", value) or value.startswith("data:image/"), value
        assert node.tag not in {
            "link",
            "iframe",
            "object",
            "embed",
            "base",
            "form",
            "video",
            "audio",
            "foreignobject",
        }
    for node in tree.all("style", "script"):
        assert not re.search(r"url\(|@import|https?:|fetch\(|XMLHttpRequest|eval\(|innerHTML", node.text)


def _policy(tree: Tree) -> None:
    (meta,) = [node for node in tree.all("meta") if node.get("http-equiv") == "Content-Security-Policy"]
    policy = dict(part.strip().split(" ", 1) for part in meta.get("content").split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["img-src"] == "data:"
    assert "unsafe" not in meta.get("content")
    for tag in ("style", "script"):
        (element,) = tree.all(tag)
        digest = base64.b64encode(hashlib.sha256(element.text.encode()).digest()).decode()
        assert policy[f"{tag}-src"] == f"'sha256-{digest}'"
    for node in tree.elements:
        refused = [name for name in node.attributes if name == "style" or name.startswith("on")]
        assert not refused, f"the policy refuses {refused} of <{node.tag}>"


def _structure(tree: Tree) -> None:
    assert [node.get("lang") for node in tree.all("html")] == ["en"]
    assert all(node.words for node in tree.all("title", "caption", "h1", "h2", "h3"))
    assert len(tree.all("h1")) == len(tree.all("main")) == 1
    viewport = next(node.get("content") for node in tree.all("meta") if node.get("name") == "viewport")
    assert "width=device-width" in viewport
    assert "user-scalable" not in viewport, "a reader must be able to zoom"
    ids = Counter(node.get("id") for node in tree.elements if "id" in node.attributes)
    assert set(ids.values()) <= {1}, ids.most_common(1)
    for node in tree.elements:
        for name in ("aria-labelledby", "aria-describedby", "for"):
            assert all(target in ids for target in node.get(name).split()), f"{name}={node.get(name)} leads nowhere"
        if node.get("href").startswith("#"):
            assert node.get("href")[1:] in ids
    depths = [int(node.tag[1]) for node in tree.all("h1", "h2", "h3", "h4", "h5", "h6")]
    assert depths[0] == 1
    assert all(below - above <= 1 for above, below in itertools.pairwise(depths)), f"headings jump: {depths}"


def _names(tree: Tree) -> None:
    labels = {node.get("for") for node in tree.all("label")}
    assert all(node.get("id") in labels for node in tree.all("input"))
    assert all(node.words for node in tree.all("a", "button", "label", "legend"))
    assert all(node.children[0].tag == "legend" for node in tree.all("fieldset"))
    assert all(node.get("scope") in {"row", "col"} for node in tree.all("th"))
    assert all(node.children[0].tag == "caption" for node in tree.all("table"))
    for node in tree.all("dl"):
        assert all([child.tag for child in pair.children] == ["dt", "dd"] for pair in node.children)
    for node in tree.all("svg"):
        named = node.get("role") == "img" and node.get("aria-label") and node.children[0].tag == "title"
        assert named or node.get("aria-hidden") == "true", "a drawing has a name, or is hidden"
    for node in tree.elements:
        assert int(node.get("tabindex") or 0) <= 0, "the order of the keyboard is that of the page"
        if node.get("role") == "region":
            assert node.get("aria-label")


def _pictures(tree: Tree) -> None:
    for node in tree.all("img"):
        assert node.get("alt").strip(), "a picture without words"
        kind, _, data = node.get("src").partition(";base64,")
        with Image.open(io.BytesIO(base64.b64decode(data, validate=True))) as picture:
            picture.load()
            assert kind == f"data:image/{(picture.format or '').lower()}"
            assert picture.size == (int(node.get("width")), int(node.get("height")))
