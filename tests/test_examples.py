"""Every example draws its figure."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from phosphene.core.images import image

EXAMPLES = Path(__file__).parent.parent / "examples"
# The others take minutes: they optimize pictures or cover a picture many times.
QUICK = ("compare", "difference", "first_layer", "channel", "pointing", "digits", "digits_visualize")


@pytest.mark.parametrize("name", QUICK)
def test_example_draws_one_figure(name: str, tmp_path: Path) -> None:
    runpy.run_path(str(EXAMPLES / f"{name}.py"))["main"](str(tmp_path / "figure.png"))
    assert [file.name for file in tmp_path.iterdir()] == ["figure.png"]
    figure = image.load(tmp_path / "figure.png")
    assert min(figure.width, figure.height) > 200
    assert figure.pixels.std() > 10  # not one color


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_example_is_short_and_says_what_it_shows(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert len(lines) <= 25
    assert lines[0].startswith('"""')
    assert callable(runpy.run_path(str(path))["main"])
