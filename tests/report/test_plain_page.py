"""A result without a page of its own: its pictures, values, rows and files."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

import nets
from phosphene.core.images.image import Picture, Uint8Image
from phosphene.core.result import Cost, File, Result
from phosphene.report.plain_page import LONGEST
from phosphene.report.report import report
from report.audit import audit


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Sample(Result):
    """A result of a verb that nobody knows."""

    verb: ClassVar[str] = "sample"
    target: str = "tabby"
    values: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def files(self) -> Iterator[File]:
        yield File.array("values.npy", np.zeros(3))

    def facts(self) -> Mapping[str, Any]:
        return self.values

    def pictures(self) -> Sequence[Uint8Image]:
        return (np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8, 4), np.uint8))

    def lines(self) -> tuple[str, ...]:
        return ("Two pictures.",)


def test_everything_of_a_result_is_on_its_page() -> None:
    values: dict[str, Any] = {"loss": 0.5, "kind": "a" * LONGEST, "long": "b" * (LONGEST + 1)}
    values["rows"] = [{"x": 1, "y": "c"}, {"x": 2}]
    picture = Picture.from_array(np.zeros((4, 6, 3), np.uint8), "noise.png")
    result = Sample(
        network=nets.build("gap"),
        inputs=(picture,),
        options={"steps": 3},
        cost=Cost(7, 2),
        notes=("odd",),
        values=values,
    )
    made = report(result)
    tree = audit(made.html())
    assert tree.all("h1")[0].words == "sample: tabby"
    assert [section.title for section in made.page.sections] == ["Pictures", "In numbers", "Files"]
    facts = dict(made.page.facts)
    assert facts["steps"] == "3"
    assert facts["Picture"] == "noise.png, 6 × 4"
    assert facts["Cost"] == "7 forwards, 2 backwards"
    single, rows = made.page.sections[1].tables
    assert single.rows == (("loss", 0.5), ("kind", "a" * LONGEST), ("long", "b" * (LONGEST - 1) + "…"))
    assert rows.rows == ((1, "c"), (2, None))
    assert len(tree.all("img")) == 2
    assert made.page.sections[0].notes == ("odd",)


def test_a_title_of_ones_own() -> None:
    assert report(Sample(), title="Mine").page.title == "Mine"
