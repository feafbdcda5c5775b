"""Methods that carry a public name, and whose fields are their options."""

from __future__ import annotations

import dataclasses
import json
import pickle
from typing import Literal

import pytest

import phosphene as ph
from phosphene.attribution import Attribution
from phosphene.core.errors import OptionError
from phosphene.core.objectives.objective import Objective
from phosphene.core.registry import Named, arguments


class Shape(Named):
    """A family."""


@dataclasses.dataclass(frozen=True)
class Round(Shape):
    """What is round: no name, so abstract.

    Args:
        radius: in pixels.
    """

    radius: float = 1.0


@dataclasses.dataclass(frozen=True)
class Disc(Round, name="disc"):
    """A full round thing.

    More of it.

    Args:
        radius: in pixels, from the center to
            the rim.
        color: of it; see `Color`.

    Raises:
        OptionError: never.
    """

    color: Literal["red", "blue"] = "red"
    sizes: tuple[int, ...] = (1, 2)
    parts: tuple[Shape, ...] = dataclasses.field(default_factory=tuple)


@dataclasses.dataclass(frozen=True)
class Box(Shape, name="box-2d"):
    """A box."""

    side: int


def test_a_family_has_a_table_of_its_own() -> None:
    assert Shape.table == {"disc": Disc, "box-2d": Box}
    assert Shape.family == "shape"
    assert not Shape.table.keys() & Attribution.table.keys()
    assert not Objective.table.keys() & Attribution.table.keys()
    assert Disc.table is Shape.table


def test_a_name_finds_its_class() -> None:
    assert Shape.find("disc") is Disc
    assert Disc.name == "disc"
    assert Round.name is None
    assert Shape.find("box-2d")(side=3) == Box(3)


@pytest.mark.parametrize(
    ("family", "name", "text"),
    [
        (Shape, "disk", "no shape is called 'disk'; did you mean 'disc'?"),
        (Shape, "DISC", "no shape is called 'DISC'; did you mean 'disc'?"),
        (Shape, "", "no shape is called ''; there are 'box-2d', 'disc'"),
        (Attribution, "gradcam", "no attribution is called 'gradcam'; did you mean 'grad-cam'"),
        (Attribution, "occulsion", "no attribution is called 'occulsion'; did you mean 'occlusion'"),
    ],
)
def test_an_unknown_name_is_an_error_with_the_nearest(family: type[Named], name: str, text: str) -> None:
    with pytest.raises(OptionError) as caught:
        family.find(name)
    assert str(caught.value).startswith(text)


def test_what_has_no_name_is_abstract() -> None:
    with pytest.raises(OptionError, match="Round is abstract; shapes are box-2d, disc"):
        Round()
    with pytest.raises(OptionError, match="LayerMap is abstract; attributions are cam, deconvnet"):
        Attribution.find("grad-cam").__mro__[1]()


def test_a_subclass_without_a_name_takes_nothing_from_its_parent() -> None:
    @dataclasses.dataclass(frozen=True)
    class Half(Disc):
        """Half of it."""

    assert Shape.find("disc") is Disc
    with pytest.raises(OptionError, match="Half is abstract"):
        Half()


def test_a_name_belongs_to_one_class() -> None:
    with pytest.raises(OptionError, match=r"Other wants the name 'disc', which .*Disc has; choose another"):
        type("Other", (Shape,), {"__qualname__": "Other"}, name="disc")
    elsewhere = {"__module__": "somebody.elses", "__qualname__": "Disc"}
    with pytest.raises(
        OptionError, match=r"^somebody.elses.Disc wants the name 'disc', which .*registry.Disc has; choose another"
    ):
        type("Disc", (Shape,), elsewhere, name="disc")
    assert Shape.find("disc") is Disc


def test_a_module_may_be_loaded_again() -> None:
    class Again(Named):
        """A family."""

    for _ in range(2):
        made = dataclasses.dataclass(frozen=True)(
            type("Member", (Again,), {"__module__": "mine", "__qualname__": "Member"}, name="member")
        )
        assert Again.find("member") is made


def test_fields_are_options_with_their_help() -> None:
    options = {option.name: option for option in Disc.options()}
    assert list(options) == ["radius", "color", "sizes", "parts"]
    assert options["radius"].help == "in pixels, from the center to the rim."
    assert options["radius"].type is float
    assert options["radius"].default == 1.0
    assert options["color"].type == Literal["red", "blue"]
    assert options["color"].help == "of it; see `Color`."
    assert options["sizes"].default == (1, 2)
    assert options["parts"].default == ()
    (side,) = Box.options()
    assert side.default is dataclasses.MISSING
    assert side.help == ""


def test_the_summary_is_the_first_line() -> None:
    assert Disc.summary() == "A full round thing."
    assert Box.summary() == "A box."


def test_arguments_end_where_the_section_ends() -> None:
    assert arguments(Disc.__doc__ or "").keys() == {"radius", "color"}
    assert arguments("Nothing.") == {}
    assert arguments("") == {}


def test_a_manifest_holds_plain_values() -> None:
    manifest = Disc(color="blue", parts=(Box(2), Disc())).manifest()
    assert json.loads(json.dumps(manifest)) == {
        "name": "disc",
        "radius": 1.0,
        "color": "blue",
        "sizes": [1, 2],
        "parts": [
            {"name": "box-2d", "side": 2},
            {"name": "disc", "radius": 1.0, "color": "red", "sizes": [1, 2], "parts": []},
        ],
    }


def test_members_are_values() -> None:
    assert pickle.loads(pickle.dumps(Disc(2.0))) == Disc(2.0)
    assert dataclasses.replace(Disc(), radius=3.0) == Disc(3.0)
    assert eval(repr(Disc(2.0, "blue"))) == Disc(2.0, "blue")


def test_an_option_that_is_not_there_is_named_with_the_nearest() -> None:
    with pytest.raises(OptionError, match="integrated-gradients has no option 'n_steps'; did you mean 'steps'"):
        ph.IntegratedGradients(n_steps=4)


def test_a_text_is_no_tuple_of_letters() -> None:
    with pytest.raises(OptionError, match="layers of invert is of type str; give a tuple"):
        ph.Invert(layers="blocks.2")
