"""What went wrong, in the user's words."""

from __future__ import annotations

import pytest

from phosphene.core import errors
from phosphene.core.errors import OutputError, PhospheneError, did_you_mean

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_one_that_a_user_can_mend(kind: type[PhospheneError]) -> None:
    assert issubclass(kind, PhospheneError)
    assert kind.__doc__
    assert kind.exit_code == (75 if kind is OutputError else 2)
    assert str(kind("cat.jpg is missing; give another")) == "cat.jpg is missing; give another"


@pytest.mark.parametrize(
    ("name", "names", "text"),
    [
        ("layer5", ["layer3", "layer4", "fc"], "did you mean 'layer4' or 'layer3'?"),
        ("LAYER4", ["layer3", "layer4", "fc"], "did you mean 'layer4' or 'layer3'?"),
        ("goldfisch", ["Goldfish"], "did you mean 'Goldfish'?"),
        ("zzz", ["conv", "fc"], "there are 'conv', 'fc'"),
        ("zzz", [], "there is none"),
        ("zzz", [f"conv{i}" for i in range(6)], "there are 'conv0', 'conv1', 'conv2', 'conv3', 'conv4', 'conv5'"),
        (
            "zzz",
            (f"conv{i}" for i in range(9)),
            "there are 'conv0', 'conv1', 'conv2', 'conv3', 'conv4', 'conv5' and 3 more",
        ),
        ("", ["conv"], "there are 'conv'"),
    ],
)
def test_the_nearest_names_end_the_line(name: str, names: list[str], text: str) -> None:
    assert did_you_mean(name, names) == text


def test_no_more_than_asked_for_are_shown() -> None:
    assert did_you_mean("conv", [f"conv{i}" for i in range(9)], most=2).count("'conv") == 2
    assert did_you_mean("zzz", [f"conv{i}" for i in range(9)], most=1) == "there are 'conv0', 'conv1' and 7 more"


def test_names_that_differ_in_case_alone_are_shown_once_as_they_came() -> None:
    assert did_you_mean("conv", ["Conv", "CONV"]) == "did you mean 'Conv'?"
