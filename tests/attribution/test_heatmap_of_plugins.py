"""What the method of a plugin does wrong is one line that names it, and the other methods go on."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest

import nets
import phosphene as ph
from phosphene.attribution import Attribution
from phosphene.core.errors import OptionError

WRONG: dict[str, Any] = {
    "raises": (lambda images: 1 / 0, r"the method test-wrong raised ZeroDivisionError: division by zero \(test_"),
    "nothing": (lambda images: None, r"the method test-wrong returned NoneType; a map is \(1, 1, 32, 32\) or"),
    "small": (lambda images: images[:, :, :3], r"the method test-wrong returned \(1, 3, 3, 32\); a map is \(1, 1"),
}


@pytest.fixture
def wrong(request: pytest.FixtureRequest) -> Iterator[type[Attribution]]:
    @dataclasses.dataclass(frozen=True)
    class Wrong(Attribution, name="test-wrong"):
        def map(self, run: Any, target: Any) -> Any:
            return WRONG[request.param][0](run.images)

    yield Wrong
    del Attribution.table["test-wrong"]


@pytest.mark.parametrize("wrong", WRONG, indirect=True)
def test_it_is_named_and_explain_leaves_it_out(wrong: type[Attribution], request: pytest.FixtureRequest) -> None:
    message = WRONG[request.node.callspec.params["wrong"]][1]
    with pytest.raises(OptionError, match=message):
        ph.attribute(nets.build("gap"), nets.pictures(1), 0, method=wrong)
    explanation = ph.explain(nets.build("gap"), nets.pictures(1), methods=["gradient", wrong], scores=False)
    assert [heatmap.name for heatmap in explanation.heatmaps] == ["gradient"]
    assert any("test-wrong is left out" in note for note in explanation.notes)
