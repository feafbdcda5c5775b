"""What holds for every recipe that changes pictures: it runs, saves, goes on, and leaves the network as it was."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

import nets
import phosphene.synthesis
from phosphene.core.images.image import Picture
from phosphene.core.progress import Progress
from phosphene.synthesis.loop.recipe import Job, Recipe
from phosphene.synthesis.loop.run import run
from phosphene.synthesis.loop.state_file import StateFile

assert phosphene.synthesis.__path__, "all recipes are registered"
SHORT: dict[str, Any] = {"steps": 4, "coarse": 2, "finish": 1, "frames": 2, "octaves": 2}
"""Options that make a recipe short, where it has them."""
RECIPES = [
    dataclasses.replace(recipe(), **{name: SHORT[name] for name in SHORT if hasattr(recipe(), name)})
    for name, recipe in sorted(Recipe.table.items())
    if recipe.takes == "pictures" and not name.startswith("test-")
]
every_recipe = pytest.mark.parametrize("recipe", RECIPES, ids=[str(recipe.name) for recipe in RECIPES])


def pictures(recipe: Recipe[Any]) -> tuple[Picture, ...]:
    """Two photographs for recipes that want a second one, else one."""
    one, two = (Picture.from_array(pixels, name) for pixels, name in zip(nets.pictures(2), ("a", "b"), strict=True))
    try:
        next(recipe.stages(Job(nets.build("gap"), (one,))))
    except ValueError:  # not enough values to unpack
        return one, two
    return (one,)


@every_recipe
def test_it_saves_what_it_tells(recipe: Recipe[Any], tmp_path: Path) -> None:
    result = run(recipe, nets.build("gap"), *pictures(recipe), seed=3)
    stored = result.save(tmp_path / "out")
    assert stored == json.loads((tmp_path / "out" / "result.json").read_text())
    assert (stored["seed"], stored["options"]["name"]) == (3, recipe.name)
    assert stored["cost"]["backwards"] > 0
    assert stored["files"]
    assert all((tmp_path / "out" / file["path"]).exists() for file in stored["files"])
    assert result.lines()
    assert result._repr_png_()


@every_recipe
def test_the_same_seed_gives_the_same_bytes_also_after_a_kill(
    recipe: Recipe[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StateFile, "due", property(lambda self: self.path is not None))
    network, inputs = nets.build("gap"), pictures(recipe)
    whole, again = (run(recipe, network, *inputs).pictures()[0] for _ in range(2))
    assert (whole == again).all()

    def die(progress: Progress) -> None:
        if progress.done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(recipe, network, *inputs, state=tmp_path, watch=die)
    assert (run(recipe, network, *inputs, state=tmp_path).pictures()[0] == whole).all()


@every_recipe
def test_the_network_is_left_as_it_was(recipe: Recipe[Any]) -> None:
    network = nets.build("gap")
    network.module.train()
    before = {name: values.clone() for name, values in network.module.state_dict().items()}
    torch.manual_seed(3)
    state = torch.get_rng_state()
    run(recipe, network, *pictures(recipe))
    assert network.module.training
    assert all(torch.equal(before[name], values) for name, values in network.module.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


@every_recipe
def test_progress_grows_and_ends_at_its_total(recipe: Recipe[Any]) -> None:
    told: list[Progress] = []
    run(recipe, nets.build("gap"), *pictures(recipe), watch=told.append)
    done = [progress.done for progress in told]
    assert done == sorted(set(done))
    assert told[-1].total in {None, done[-1]}
    assert all(progress.preview is not None and progress.scores is not None for progress in told)
