"""What every verb returns, as plain values."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nets
import phosphene as ph
from phosphene.core import result
from phosphene.core.errors import FolderError
from phosphene.core.images.image import Picture, Uint8Image, load
from phosphene.core.result import Cost, File, Result

KEYS = ["phosphene", "verb", "seed", "options", "target", "model", "inputs", "predictions", "files", "cost", "errors"]


@pytest.fixture(autouse=True)
def _version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(result, "version", lambda _: "0.1.0")


def test_costs_add_and_scale() -> None:
    assert Cost(1, 2, 0.5) + Cost(3, 4, 0.25) == Cost(4, 6, 0.75)
    assert Cost(1, 2, 0.5) * 3 == Cost(3, 6, 1.5)
    assert Cost() + Cost(1) == Cost(1)


@pytest.mark.parametrize(
    ("cost", "text"),
    [
        (Cost(), "0 forwards, 0 backwards"),
        (Cost(1, 1), "1 forward, 1 backward"),
        (Cost(2049, 2, 1.234), "2,049 forwards, 2 backwards in 1.23 s"),
    ],
)
def test_a_cost_reads_as_a_sentence(cost: Cost, text: str) -> None:
    assert str(cost) == text


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Greeting(Result):
    """A result with one file of each kind."""

    verb: str = "greet"
    target: str = "tabby"

    def files(self) -> Iterator[File]:
        yield File.picture("a.png", np.zeros((4, 6, 3), np.uint8), method="none")
        yield File.array("maps/a.npy", np.arange(6.0).reshape(2, 3), layer="conv")
        yield File.text("index.html", "<p>é</p>")

    def facts(self) -> dict[str, Any]:
        return {"norms": [1.0]}

    def pictures(self) -> tuple[Uint8Image, ...]:
        return (np.zeros((4, 6, 3), np.uint8),) * 3

    def lines(self) -> tuple[str, ...]:
        return ("a < b",)


def greeting() -> Greeting:
    network = dataclasses.replace(nets.build("gap"), sha256="ab" * 32)
    cat = Picture.from_array(np.zeros((4, 6, 3), np.uint8), name="cat.png")
    return Greeting(
        network=network,
        inputs=(cat,),
        options={"layer": None},
        predictions=network.predict(nets.pictures(1), 2)[0],
        cost=Cost(1, 2, 0.5),
        seed=7,
        notes=("so & so",),
    )


def test_a_result_saves_every_file_and_a_manifest_with_the_keys_of_the_design(tmp_path: Path) -> None:
    stored = greeting().save(tmp_path / "out")
    assert list(stored) == [*KEYS, "notes", "norms"]
    assert json.loads((tmp_path / "out" / "result.json").read_text("utf-8")) == stored
    assert stored["files"] == [
        {"path": "a.png", "kind": "picture", "method": "none"},
        {"path": "maps/a.npy", "kind": "heatmap", "layer": "conv", "shape": [2, 3]},
        {"path": "index.html", "kind": "report"},
    ]
    assert (np.load(tmp_path / "out" / "maps" / "a.npy") == np.arange(6.0).reshape(2, 3)).all()
    assert (tmp_path / "out" / "index.html").read_text("utf-8") == "<p>é</p>"
    assert (stored["phosphene"], stored["cost"]) == ("0.1.0", {"forwards": 1, "backwards": 2, "seconds": 0.5})
    assert stored["inputs"][0] | {"sha256": ""} == {"path": "cat.png", "sha256": "", "width": 6, "height": 4}
    assert list(stored["predictions"][0]) == ["index", "label", "probability", "logit"]
    assert (stored["verb"], stored["target"], stored["model"]["sha256"]) == ("greet", "tabby", "ab" * 32)


def test_an_empty_result_has_every_key() -> None:
    assert list(Result(verb="doctor").manifest()) == [*KEYS, "notes"]
    assert Result(verb="doctor").manifest()["model"] is None


def test_notes_of_the_network_and_of_pictures_are_kept() -> None:
    result = greeting()
    network = dataclasses.replace(nets.build("gap"), notes=("weights in eval mode",))
    cat = dataclasses.replace(result.inputs[0], notes=("orientation 6 undone",))
    stored = dataclasses.replace(result, network=network, inputs=(cat,), errors=("dog.jpg: no such file",)).manifest()
    assert stored["model"]["notes"] == ["weights in eval mode"]
    assert stored["inputs"][0]["notes"] == ["orientation 6 undone"]
    assert stored["errors"] == ["dog.jpg: no such file"]


def test_a_result_never_overwrites_its_input(tmp_path: Path) -> None:
    photograph = tmp_path / "a.png"
    photograph.write_bytes(b"mine")
    shown = dataclasses.replace(greeting().inputs[0], path=str(photograph))
    with pytest.raises(FolderError, match="is an input"):
        dataclasses.replace(greeting(), inputs=(shown,)).save(tmp_path)
    assert photograph.read_bytes() == b"mine"


def test_a_result_shows_itself_in_a_notebook() -> None:
    png = greeting()._repr_png_()
    assert png is not None
    assert load(png).pixels.shape == (12, 16, 3)  # two rows of two, four pixels apart
    page = greeting()._repr_html_()
    assert "data:image/png;base64," in page
    assert "a &lt; b" in page
    assert "so &amp; so" in page
    assert Result()._repr_png_() is None


def test_a_notebook_shows_the_first_sixteen_pictures_in_a_square() -> None:
    class Many(Greeting):
        def pictures(self) -> tuple[Uint8Image, ...]:
            return super().pictures() * 6

    png = Many()._repr_png_()
    assert png is not None
    assert load(png).pixels.shape == (28, 36, 3)  # four rows of four


def test_a_result_is_one_short_line() -> None:
    assert len(repr(greeting())) < 200


def test_no_result_prints_its_values() -> None:
    picture = nets.pictures(1)
    results = [
        ph.filters(nets.build("gap")),
        ph.activations(nets.build("gap"), picture, "features.2"),
        ph.visualize(nets.build("gap"), 1, preset=ph.Lecture(steps=1)),
        ph.explain(nets.build("gap"), picture, methods=["gradient"], scores=False),
    ]
    assert [len(repr(result)) < 120 for result in results] == [True] * len(results)
