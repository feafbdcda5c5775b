"""Figure 2 of Zeiler and Fergus: for some units of a layer, the strongest activations over a survey, each projected."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from phosphene.core import files
from phosphene.core.errors import OptionError
from phosphene.core.images import drawing, image
from phosphene.core.images.image import Uint8Image
from phosphene.core.networks.anatomy import has_max_pooling
from phosphene.core.networks.network import Network
from phosphene.core.result import Cost
from phosphene.studies.evidence.backprojection import Backprojection, backproject
from phosphene.studies.evidence.crops import Notify, crops
from phosphene.studies.evidence.hiding import Hiding, hide
from phosphene.studies.evidence.neurons import EFFECTIVE_SHARE, ProjectionMethod, default_method
from phosphene.studies.evidence.selection import select_units, strongest_patches
from phosphene.survey.store.run import Run

Extent = Literal["effective", "exact"]
Watch = Callable[[int, int], None]
"""(units done, units in all)"""


@dataclasses.dataclass(frozen=True, eq=False)
class Panel:
    """One unit of a plate.

    Args:
        layer: of the unit.
        channel: of the unit.
        projections: of its strongest patches, the strongest first; none for a unit that never changes.
        crops: what each shows of its photograph, uint8 (h, w, 3).
        dead: whether the unit has the same value everywhere in every image.
        hiding: how far the activations fall without what the projections show; None where that was not asked.
    """

    layer: str
    channel: int
    projections: tuple[Backprojection, ...]
    crops: tuple[Uint8Image, ...] = dataclasses.field(repr=False)
    dead: bool = False
    hiding: Hiding | None = None

    @property
    def cost(self) -> Cost:
        """Passes that were needed now."""
        return sum((each.cost for each in self.projections), self.hiding.cost if self.hiding else Cost())

    @property
    def title(self) -> str:
        """Its name, and its strongest activation."""
        name = f"{self.layer}:{self.channel}"
        if not self.projections:
            return f"{name} · {'dead' if self.dead else 'never above its least value'}"
        checked = f" · {self.hiding}" if self.hiding else ""
        return f"{name} · {self.projections[0].patch.activation:.3g}{checked}"

    def picture(self, columns: int, rows: int, side: int) -> Uint8Image:
        """Projections, and beside them the patches in the same places, uint8 (h, w, 3)."""
        empty = np.full((side, side, 3), _PAPER, np.uint8)
        projected = [_square(each.picture(side), side, _ZERO) for each in self.projections]
        cut = [_square(each, side, _PAPER) for each in self.crops]
        spare = [empty] * (columns * rows - len(cut))
        pair = [drawing.grid(tiles + spare, columns, gap=_GAP) for tiles in (projected, cut)]
        return drawing.label(drawing.grid(pair, 2, gap=2 * _GAP), self.title)

    def as_dict(self) -> dict[str, Any]:
        """A row of a table."""
        return {
            "unit": f"{self.layer}:{self.channel}",
            "dead": self.dead,
            "hiding": self.hiding and self.hiding.as_dict(),
            "patches": [
                {
                    "image": each.patch.image,
                    "activation": each.patch.activation,
                    "row": each.patch.row,
                    "column": each.patch.column,
                    "box": list(each.box),
                    "effective": each.effective,
                    "note": each.note,
                }
                for each in self.projections
            ],
        }


@dataclasses.dataclass(frozen=True, eq=False)
class Plate:
    """Some units of a layer, each by its strongest activations over a survey: projections beside image patches.

    Args:
        layer: whose units.
        panels: one for each unit.
        method: that projected.
        k: patches of a unit, at most.
        side: of a patch on the plate, in pixels.
        cost: passes that were needed now; projections that were kept cost nothing.
        notes: what was chosen, and what could not be shown.
    """

    layer: str
    panels: tuple[Panel, ...]
    method: ProjectionMethod
    k: int
    side: int
    cost: Cost
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Of its files."""
        return f"plate-{files.slug(self.layer)}"

    def picture(self, columns: int = 4) -> Uint8Image:
        """All panels in columns, uint8 (h, w, 3).

        Args:
            columns: how many units stand side by side.
        """
        across = int(np.ceil(np.sqrt(self.k)))
        tiles = [each.picture(across, -(-self.k // across), self.side) for each in self.panels]
        return drawing.grid(tiles, columns, gap=6 * _GAP)

    def save(self, folder: str | Path) -> list[dict[str, Any]]:
        """Write the plate as PNG, and what stands on it as JSON, into a folder.

        Args:
            folder: where to.

        Returns:
            one mapping for each file, as a manifest wants it.
        """
        folder, name = Path(folder), self.name
        about = {"layer": self.layer, "method": self.method}
        image.save(folder / f"{name}.png", self.picture())
        table = {**about, "units": [each.as_dict() for each in self.panels], "notes": list(self.notes)}
        files.write_json(folder / f"{name}.json", table)
        return [
            {"path": f"{name}.png", "kind": "picture", **about},
            {"path": f"{name}.json", "kind": "table", **about},
        ]


def plate(
    network: Network,
    run: Run,
    layer: str,
    units: str | Sequence[int] = "random:16",
    *,
    k: int = 9,
    method: ProjectionMethod | None = None,
    field: Extent = "effective",
    check: bool = False,
    seed: int = 0,
    side: int = 96,
    watch: Watch | None = None,
) -> Plate:
    """For each unit its k strongest activations over a survey, each projected to pixels, beside the image patches.

    Both are cut to the same box. A dead unit says so. Cost: see `project`; with check, see `hide`.

    Args:
        network: that was surveyed.
        run: the survey.
        layer: whose units.
        units: see `choose`.
        k: patches of each unit, at most.
        method: deconvnet, guided-backprop or gradient; see `default_method`.
        field: what is cut out: the effective field, see `effective_field`, in which a projection fills its tile; or the
            exact receptive field, which in deep layers is mostly empty, and gives way where it is the whole picture.
        check: whether to hide the pixels that are shown, and tell how far the activations fall.
        seed: of units drawn at random, and of the check.
        side: of a patch on the plate, in pixels.
        watch: told of progress.

    Raises:
        LayerError: the survey has no such layer.
        TargetError: the layer has no such unit.
        RunError: another network was surveyed.

    Reference: Zeiler & Fergus, ECCV 2014, figure 2.
    """
    run.check_network(network)
    if k < 1 or side < 8:
        raise OptionError(f"k={k}, side={side}: want at least 1 patch of at least 8 pixels")
    if field not in get_args(Extent):
        raise OptionError(f"field is {field!r}; it can be {' or '.join(get_args(Extent))}")
    start, notes = time.perf_counter(), dict[str, None]()
    method = method or default_method(network, layer)
    drawing = _Drawing(
        network, run, layer, k, method=method, field=field, check=check, seed=seed, side=side, notify=notes.setdefault
    )
    channels, panels = select_units(run, layer, units, seed=seed), list[Panel]()
    for done, channel in enumerate(channels):
        if watch is not None:
            watch(done, len(channels))
        panels.append(drawing.panel(channel))
    cost = sum((each.cost for each in panels), Cost(seconds=time.perf_counter() - start))
    return Plate(layer, tuple(panels), method, k, side, cost, (*_remarks(network, layer, method, panels), *notes))


@dataclasses.dataclass(frozen=True)
class _Drawing:
    """What all panels of a plate have in common."""

    network: Network
    run: Run
    layer: str
    k: int
    method: ProjectionMethod
    field: Extent
    check: bool
    seed: int
    side: int
    notify: Notify

    def panel(self, channel: int) -> Panel:
        """The panel of one unit."""
        dead = bool(self.run.unit(self.layer, channel).get("dead", False))
        patches = strongest_patches(self.run, self.layer, channel, self.k)
        effective = self.field == "effective"
        found = backproject(
            self.network, self.run, patches, method=self.method, effective=effective, notify=self.notify
        )
        # A photograph that is lost is told of when it is cut.
        notes = list(dict.fromkeys(each.note for each in found if each.note and not math.isnan(each.activation)))
        for note in notes[:1]:
            self.notify(f"{note} (and {len(notes) - 1} more of this unit)" if len(notes) > 1 else note)
        shown = [dataclasses.replace(each.patch, box=each.box) for each in found]
        tiles = crops(self.run, shown, side=self.side, notify=self.notify)
        hiding = hide(self.network, self.run, found, seed=self.seed) if self.check else None
        return Panel(self.layer, channel, found, tiles, dead, hiding)


def _remarks(network: Network, layer: str, method: ProjectionMethod, panels: Sequence[Panel]) -> tuple[str, ...]:
    """How the projections were made, and what of a picture is shown."""
    remarks = [f"projected by {method}"]
    if method != "gradient" and not has_max_pooling(network):
        remarks[0] += f": {network.name} has no max pooling, so a deconvnet has no switches and hardly sees the picture"
    if method == "gradient" and default_method(network, layer) == "gradient":
        remarks[0] += f": no ReLU lies below {layer}"
    if any(each.effective for panel in panels for each in panel.projections):
        remarks.append(
            f"cut to the effective field, the square around {EFFECTIVE_SHARE:.0%} of the gradient of the activation"
        )
    return tuple(remarks)


def _square(pixels: Uint8Image, side: int, level: int) -> Uint8Image:
    """A picture in the middle of a square of one grey level."""
    height, width = pixels.shape[:2]
    square = np.full((side, side, 3), level, np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = pixels
    return square


_GAP = 2  # between two patches, in pixels
_PAPER, _ZERO = 238, 128  # grey around a patch at the border of a picture, and around its projection
