"""A result with its page: one offline file of HTML beside the files of the result."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from phosphene.attribution import Heatmap
from phosphene.core.errors import OptionError
from phosphene.core.images.image import Picture, Uint8Image
from phosphene.core.result import File, Result
from phosphene.report.comparison import compare
from phosphene.report.html import render
from phosphene.report.page import Page
from phosphene.report.pages import page
from phosphene.studies.evidence.map_scores import MapScores


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Report(Result):
    """A result with its page, index.html; `report` makes it. What is saved is the result, and the page beside it.

    Args:
        result: of any verb.
        title: of the page; "" for the one that suits the result.
    """

    result: Result
    title: str = ""

    @property
    def target(self) -> str:
        """The target of the result, as text."""
        return str(getattr(self.result, "target", ""))

    @cached_property
    def page(self) -> Page:
        """The page as plain values."""
        made = page(self.result)
        return dataclasses.replace(made, title=self.title) if self.title else made

    def html(self) -> str:
        """The page as one file of HTML."""
        return render(self.page)

    def files(self) -> Iterator[File]:
        """The files of the result, and the page."""
        yield from self.result.files()
        yield File.text("index.html", self.html())

    def facts(self) -> Mapping[str, Any]:
        """Those of the result."""
        return self.result.facts()

    def pictures(self) -> Sequence[Uint8Image]:
        """Those of the result."""
        return self.result.pictures()

    def lines(self) -> tuple[str, ...]:
        """Those of the result."""
        return self.result.lines()


def report(
    result: Result | Sequence[Heatmap],
    *,
    pictures: Sequence[Picture] = (),
    scores: Sequence[MapScores] = (),
    title: str = "",
) -> Report:
    """One offline page for any result, or for several heatmaps of one network.

    Args:
        result: of any verb; or heatmaps of any number of pictures, methods and targets.
        pictures: of heatmaps: the photographs, in the order in which the heatmaps first show them, for their names and
            hashes.
        scores: of heatmaps: what was measured of each.
        title: of the page.

    Raises:
        OptionError: nothing to show, maps of several networks, or another number of pictures or scores.

    >>> made = report(attribute(tiny, images, "goldfish", method="grad-cam"))
    >>> [file.path for file in made.files()]
    ['1-grad-cam.npy', '1-grad-cam.png', '2-grad-cam.npy', '2-grad-cam.png', 'index.html']
    """
    if isinstance(result, Heatmap):
        subject: Result = compare((result,), pictures, scores)
    elif isinstance(result, Result):
        if pictures or scores:
            raise OptionError(f"pictures and scores belong to heatmaps; a result of {result.verb} brings its own")
        subject = result
    elif isinstance(result, Sequence) and not isinstance(result, str) and all(isinstance(m, Heatmap) for m in result):
        subject = compare(tuple(result), pictures, scores)
    else:
        raise OptionError(f"a report of {type(result).__name__} cannot be made; give one result, or several heatmaps")
    shared = {field.name: getattr(subject, field.name) for field in dataclasses.fields(Result)}
    return Report(result=subject, title=title, **shared)
