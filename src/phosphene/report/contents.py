"""The contents of several pages: one entry for each picture, and what failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from phosphene.core.images.image import Uint8Image
from phosphene.report.page import Column, Facts, Figure, Page, PageTable, Section, View
from phosphene.report.thumbnails import thumbnail

SIDE = 240  # of a thumbnail, in pixels


@dataclass(frozen=True, eq=False)
class PageEntry:
    """One picture and its page.

    Args:
        name: of the picture.
        href: of its page, relative to the index.
        pixels: uint8 (H, W, 3).
        best: what the network sees in it, such as "tabby, 52 %".
    """

    name: str
    href: str
    pixels: Uint8Image
    best: str = ""


def index(
    entries: Sequence[PageEntry],
    *,
    failures: Mapping[str, str] | None = None,
    title: str = "",
    facts: Facts = (),
) -> Page:
    """A page that leads to the page of each picture, and names those that have none.

    Args:
        entries: pictures with a page.
        failures: picture → why it has no page.
        title: of the page.
        facts: what all of it was made with.
    """
    failed = failures or {}
    lead = f"{len(entries)} of {len(entries) + len(failed)} pictures have a page." if failed else ""
    figures = tuple(
        Figure(
            entry.name,
            (View("thumbnail", thumbnail(entry.pixels, SIDE), _alt(entry)),),
            notes=_notes(entry),
            href=entry.href,
        )
        for entry in entries
    )
    sections = [Section("Pictures", figures=figures, small=True)] if entries else []
    if failed:
        table = PageTable("Pictures without a page", (Column("Picture"), Column("Reason")), tuple(failed.items()))
        sections.append(Section("What failed", tables=(table,)))
    return Page(title or f"{len(entries)} picture{'' if len(entries) == 1 else 's'}", lead, facts, tuple(sections))


def _alt(entry: PageEntry) -> str:
    return f"{entry.name}: the network sees {entry.best}." if entry.best else f"{entry.name}."


def _notes(entry: PageEntry) -> tuple[str, ...]:
    return (entry.best,) if entry.best else ()
