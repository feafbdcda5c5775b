"""What is killed goes on to the same bytes; what is of another plan, or damaged, begins anew."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import nets
from phosphene.core.objectives.classes import Logit
from phosphene.core.objectives.units import Channel
from phosphene.core.progress import Progress
from phosphene.synthesis.canvas.canvas import Canvas, Fourier, Pixels
from phosphene.synthesis.canvas.maco import MACO
from phosphene.synthesis.loop.loop import Synthesis, synthesize
from phosphene.synthesis.loop.optimizers import LBFGS, Adam, Ascent, Optimizer
from phosphene.synthesis.loop.state_file import StateFile, fingerprint
from phosphene.synthesis.transforms.pixel_regularizers import Decay
from phosphene.synthesis.transforms.transforms import Affine, Crops


class Killed(Exception):
    pass


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """The state is written after every second step."""
    calls = iter(range(10**6))
    monkeypatch.setattr(StateFile, "due", property(lambda self: self.path is not None and next(calls) % 2 == 0))


def make(canvas: Canvas, optimizer: Optimizer, **more: Any) -> Synthesis:
    how: dict[str, Any] = {"transforms": [Affine(3), Crops(2, noise=0.05)], "steps": 12, "redirect_steps": 4, "seed": 3}
    how["pixel_regularizers"] = [Decay(0.01)] if isinstance(canvas, Pixels) else []
    targets = [Logit(1), Channel("features.5", 2)][: 1 if isinstance(optimizer, LBFGS) else 2]
    return synthesize(nets.build("gap"), targets, canvas, optimizer=optimizer, **{**how, **more})


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize(
    ("canvas", "optimizer"),
    [(Fourier(), Adam()), (Pixels(), Ascent()), (Pixels(), LBFGS()), (MACO(), Adam(0.5))],
)
def test_killed_at_any_step_it_goes_on_to_the_same_bytes(canvas: Canvas, optimizer: Optimizer, tmp_path: Path) -> None:
    whole = make(canvas, optimizer)
    for kill in random.Random(1).sample(range(1, 12), 5):

        def die(progress: Progress, at: int = kill) -> None:
            if progress.done == at:
                raise Killed

        path = tmp_path / f"{kill}.pt"
        with pytest.raises(Killed):
            make(canvas, optimizer, state=path, watch=die)
        again = make(canvas, optimizer, state=path)
        assert torch.equal(again.images, whole.images)
        assert torch.equal(again.scores, whole.scores)
        assert again.cost.forwards == whole.cost.forwards


def test_what_had_finished_is_returned_at_once(tmp_path: Path) -> None:
    first = make(Fourier(), Adam(), state=tmp_path / "a.pt")
    stepped: list[int] = []
    again = make(Fourier(), Adam(), state=tmp_path / "a.pt", watch=lambda progress: stepped.append(progress.done))
    assert not stepped
    assert torch.equal(first.images, again.images)
    assert again.notes == ("went on at step 12",)


def test_more_steps_go_on_and_fewer_begin_anew(tmp_path: Path) -> None:
    make(Fourier(), Adam(), state=tmp_path / "a.pt")
    longer = make(Fourier(), Adam(), state=tmp_path / "a.pt", steps=15)
    assert torch.equal(longer.images, make(Fourier(), Adam(), steps=15).images)
    assert len(make(Fourier(), Adam(), state=tmp_path / "a.pt", steps=3).scores) == 3


@pytest.mark.parametrize(
    "change", [{"seed": 4}, {"redirect_steps": 0}, {"transforms": [Affine(4)]}, {"size": (40, 40)}, {"batch": 1}]
)
def test_another_plan_begins_anew(change: dict[str, Any], tmp_path: Path) -> None:
    make(Fourier(), Adam(), state=tmp_path / "a.pt")
    again = make(Fourier(), Adam(), state=tmp_path / "a.pt", **change)
    assert again.notes == ()
    assert torch.equal(again.images, make(Fourier(), Adam(), **change).images)


@pytest.mark.parametrize("damage", [b"", b"not a state", None])
def test_a_damaged_state_begins_anew(damage: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    first = make(Fourier(), Adam(), state=path)
    path.write_bytes(path.read_bytes()[:-200] if damage is None else damage)
    assert torch.equal(make(Fourier(), Adam(), state=path).images, first.images)


def test_a_fingerprint_sees_every_number() -> None:
    weights = nets.build("gap").module
    before = fingerprint(weights, Crops(2), (1, 2.0), {"a": torch.ones(2)})
    assert before == fingerprint(nets.build("gap").module, Crops(2), (1, 2.0), {"a": torch.ones(2)})
    with torch.no_grad():
        next(weights.parameters()).view(-1)[0] += 1
    changed = [
        fingerprint(weights, Crops(2), (1, 2.0), {"a": torch.ones(2)}),
        fingerprint(nets.build("gap").module, Crops(3), (1, 2.0), {"a": torch.ones(2)}),
        fingerprint(nets.build("gap").module, Crops(2), (1, 2), {"a": torch.ones(2)}),
        fingerprint(nets.build("gap").module, Crops(2), (1, 2.0), {"a": torch.ones(3)}),
        fingerprint(nets.build("gap").module, Crops(2), (1, 2.0), {"b": torch.ones(2)}),
    ]
    assert len({before, *changed}) == 6
    relu, gelu = (nn.Sequential(nn.Linear(2, 2), bend) for bend in (nn.ReLU(), nn.GELU()))
    gelu.load_state_dict(relu.state_dict())
    assert fingerprint(relu) != fingerprint(gelu)
    places = iter(("<f at 0x7f01>", "<f at 0x7f02>"))  # in memory: others in each process
    relu[1].extra_repr = lambda: next(places)  # type: ignore[method-assign]
    assert fingerprint(relu) == fingerprint(relu)
    assert fingerprint([1, [2]]) != fingerprint([[1], 2])
