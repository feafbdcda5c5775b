"""The plate: the units asked for, their strongest patches beside their projections, and what it says of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phosphene.core.errors import OptionError
from phosphene.studies.evidence.selection import strongest_patches
from phosphene.studies.plate import plate


def test_panels_hold_the_strongest_patches_of_their_units(plated: Any) -> None:
    plated_units = plate(plated.network, plated.run, "features.5", "3,0,5", k=4)
    assert [one_panel.channel for one_panel in plated_units.panels] == [3, 0, 5]
    assert plated_units.method == "deconvnet"
    for panel in plated_units.panels:
        wanted = strongest_patches(plated.run, "features.5", panel.channel, 4)
        assert tuple(projection.patch for projection in panel.projections) == wanted
        assert len(panel.crops) == len(wanted)
        assert f"features.5:{panel.channel} · {wanted[0].activation:.3g}" == panel.title


def test_the_picture_has_projections_beside_patches_in_columns(plated: Any) -> None:
    plated_units = plate(plated.network, plated.run, "features.5", "random:5", k=9, side=20, field="exact")
    pair = 2 * (3 * 20 + 2 * 2) + 4
    assert plated_units.picture(columns=2).shape == (3 * (20 + 64) + 2 * 12, 2 * pair + 12, 3)
    panel = plated_units.panels[0]
    tile = panel.projections[0].picture(20)
    drawn = panel.picture(3, 3, 20)
    top, left = 20 + (20 - tile.shape[0]) // 2, (20 - tile.shape[1]) // 2
    assert np.array_equal(drawn[top : top + tile.shape[0], left : left + tile.shape[1]], tile)
    crop = panel.crops[0]
    top, left = 20 + (20 - crop.shape[0]) // 2, 64 + 4 + (20 - crop.shape[1]) // 2
    assert np.array_equal(drawn[top : top + crop.shape[0], left : left + crop.shape[1]], crop)


def test_the_same_plate_comes_again_at_no_cost(own: Any) -> None:
    first = plate(own.network, own.run, "features.5", "random:3", seed=2)
    again = plate(own.network, own.run, "features.5", "random:3", seed=2)
    assert first.cost.forwards > 0
    assert (again.cost.forwards, again.cost.backwards) == (0, 0)
    assert np.array_equal(first.picture(), again.picture())


def test_effective_fields_fill_their_tiles_and_lie_in_the_exact_ones(plated: Any) -> None:
    exact, effective = (
        plate(plated.network, plated.run, "features.5", "0,3", field=extent) for extent in ("exact", "effective")
    )
    for one, other in zip(exact.panels, effective.panels, strict=True):
        for wide, narrow in zip(one.projections, other.projections, strict=True):
            assert wide.box == wide.patch.box
            assert wide.box[0] <= narrow.box[0] + 1e-9 < narrow.box[2] <= wide.box[2] + 1e-9
    assert any("square around 95%" in note for note in effective.notes)
    assert not any("square around" in note for note in exact.notes)


def test_a_dead_unit_says_so_and_shows_no_image(dead: Any) -> None:
    plated_units = plate(dead.network, dead.run, "features.5", "0,1", side=16)
    assert [one_panel.title for one_panel in plated_units.panels] == ["features.5:0 · dead", "features.5:1 · dead"]
    assert all(one_panel.projections == () for one_panel in plated_units.panels)
    assert len(np.unique(plated_units.panels[0].picture(3, 3, 16)[20:])) == 2  # empty tiles, and the gaps between


def test_a_layer_below_all_relus_is_its_filters(plated: Any) -> None:
    plated_units = plate(plated.network, plated.run, "features.0", "top:2")
    assert plated_units.method == "gradient"
    assert "no ReLU lies below features.0" in plated_units.notes[0]


def test_the_check_stands_on_the_plate(plated: Any) -> None:
    plated_units = plate(plated.network, plated.run, "features.5", "top:2", check=True)
    for panel in plated_units.panels:
        assert panel.covering is not None
        assert "falls by" in panel.title
        assert "elsewhere" in panel.title
    assert plate(plated.network, plated.run, "features.5", "top:2").panels[0].covering is None


def test_a_lost_photograph_is_named_once(own: Any) -> None:
    lost = strongest_patches(own.run, "features.5", 3, 9)[0].image
    Path(own.run.source(lost)).unlink()
    plated_units = plate(own.network, own.run, "features.5", "3,5")
    assert len([note for note in plated_units.notes if "does not exist" in note]) == 1


def test_it_is_saved_with_what_stands_on_it(plated: Any, tmp_path: Path) -> None:
    plated_units = plate(plated.network, plated.run, "features.5", "3,0", check=True)
    entries = plated_units.save(tmp_path)["files"]
    assert [(entry["path"], entry["kind"]) for entry in entries] == [
        ("plate-features.5.png", "picture"),
        ("plate-features.5.json", "table"),
    ]
    table = json.loads((tmp_path / "plate-features.5.json").read_text())
    assert [row["unit"] for row in table["units"]] == ["features.5:3", "features.5:0"]
    first = table["units"][0]["patches"][0]
    assert first["activation"] == pytest.approx(plated_units.panels[0].projections[0].patch.activation)
    assert len(table["units"][0]["covering"]["fall"]) > 0


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"k": 0}, "k=0, side=96: want at least 1 patch"),
        ({"side": 4}, "of at least 8 pixels"),
        ({"field": "theoretical"}, "field is 'theoretical'; it can be effective or exact"),
    ],
)
def test_options_that_draw_nothing_are_refused(plated: Any, options: dict[str, Any], text: str) -> None:
    with pytest.raises(OptionError, match=text):
        plate(plated.network, plated.run, "features.5", "random:2", **options)


def test_five_patches_stand_in_three_columns(plated: Any) -> None:
    drawn = plate(plated.network, plated.run, "features.5", "3", k=5, side=20)
    assert drawn.picture(columns=1).shape[1] == 2 * (3 * 20 + 2 * 2) + 4


def test_a_watcher_stops_it_after_a_unit(plated: Any) -> None:
    drawn = plate(plated.network, plated.run, "features.5", "3,0", k=1, watch=lambda progress: progress.done == 1)
    assert [panel.channel for panel in drawn.panels] == [3]
    assert "stopped after 1 of 2 units" in drawn.notes
