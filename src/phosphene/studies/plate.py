"""Figure 2 of Zeiler and Fergus: for some units of a layer, the strongest activations over a survey, each projected."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np

from phosphene.attribution.evaluate.covering import Covering
from phosphene.core import files
from phosphene.core.errors import OptionError
from phosphene.core.images import drawing
from phosphene.core.images.image import Uint8Image
from phosphene.core.networks.anatomy import has_max_pooling
from phosphene.core.networks.network import Network
from phosphene.core.progress import Progress, Watch
from phosphene.core.result import Cost, File, Result
from phosphene.studies.evidence.backprojection import Backprojection, backproject
from phosphene.studies.evidence.covering import cover_projections
from phosphene.studies.evidence.crops import Notify, crops
from phosphene.studies.evidence.neurons import EFFECTIVE_SHARE, ProjectionMethod, default_method
from phosphene.studies.evidence.selection import select_units, strongest_patches
from phosphene.studies.evidence.tiles import pad_square
from phosphene.survey.store.run import Run

Extent = Literal["effective", "exact"]
"""Which receptive field is cut out."""


@dataclasses.dataclass(frozen=True, eq=False)
class Panel:
    """One unit of a plate.

    Args:
        layer: of the unit.
        channel: of the unit.
        projections: of its strongest patches, the strongest first; none for a unit that never changes.
        crops: the same part of each photograph, uint8 (h, w, 3).
        dead: whether the unit has the same value everywhere in every image.
        covering: how far the activations fall when the pixels that are shown are covered; None where not measured.
    """

    layer: str
    channel: int
    projections: tuple[Backprojection, ...]
    crops: tuple[Uint8Image, ...] = dataclasses.field(repr=False)
    dead: bool = False
    covering: Covering | None = None

    @property
    def cost(self) -> Cost:
        """Passes that were needed now."""
        return sum((made.cost for made in self.projections), self.covering.cost if self.covering else Cost())

    @property
    def title(self) -> str:
        """Its name, and its strongest activation."""
        name = f"{self.layer}:{self.channel}"
        if not self.projections:
            return f"{name} · {'dead' if self.dead else 'never above its least value'}"
        checked = f" · {self.covering}" if self.covering else ""
        return f"{name} · {self.projections[0].patch.activation:.3g}{checked}"

    def picture(self, columns: int, rows: int, side: int) -> Uint8Image:
        """Projections, and beside them the patches in the same places, uint8 (h, w, 3)."""
        empty = np.full((side, side, 3), _PAPER, np.uint8)
        projected = [pad_square(made.picture(side), side, _ZERO) for made in self.projections]
        patches = [pad_square(crop, side, _PAPER) for crop in self.crops]
        spare = [empty] * (columns * rows - len(patches))
        pair = [drawing.grid(tiles + spare, columns, gap=_GAP) for tiles in (projected, patches)]
        return drawing.label(drawing.grid(pair, 2, gap=2 * _GAP), self.title)

    def as_dict(self) -> dict[str, Any]:
        """A row of a table."""
        return {
            "unit": f"{self.layer}:{self.channel}",
            "dead": self.dead,
            "covering": self.covering and self.covering.as_dict(),
            "patches": [
                {
                    "image": made.patch.image,
                    "activation": made.patch.activation,
                    "row": made.patch.row,
                    "column": made.patch.column,
                    "box": list(made.box),
                    "effective": made.effective,
                    "note": made.note,
                }
                for made in self.projections
            ],
        }


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Plate(Result):
    """Some units of a layer, each by its strongest activations over a survey: projections beside image patches.

    The cost counts what was needed now: cached projections cost nothing.

    Args:
        layer: whose units.
        panels: one for each unit.
        method: that projected.
        k: patches of a unit, at most.
        side: of a patch on the plate, in pixels.
    """

    verb: str = "plate"

    layer: str
    panels: tuple[Panel, ...]
    method: ProjectionMethod
    k: int
    side: int

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
        tiles = [panel.picture(across, -(-self.k // across), self.side) for panel in self.panels]
        return drawing.grid(tiles, columns, gap=6 * _GAP)

    def files(self) -> Iterator[File]:
        """The plate as PNG, and its content as JSON."""
        about: dict[str, Any] = {"layer": self.layer, "method": self.method}
        table = {**about, "units": [panel.as_dict() for panel in self.panels], "notes": list(self.notes)}
        yield File.picture(f"{self.name}.png", self.picture(), **about)
        yield File(f"{self.name}.json", "table", lambda path: files.write_json(path, table), about)

    def facts(self) -> Mapping[str, Any]:
        """The units."""
        return {"units": [f"{self.layer}:{panel.channel}" for panel in self.panels]}

    def pictures(self) -> Sequence[Uint8Image]:
        """The plate."""
        return (self.picture(),)

    def lines(self) -> tuple[str, ...]:
        """How many units, the cost, and how far the activations fall where that was measured."""
        checked = tuple(f"  {panel.title}" for panel in self.panels if panel.covering)
        count = len(self.panels)
        return (f"{self.layer}: {count} unit{'s' * (count != 1)}, {self.cost}", *checked)


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

    Both are cut to the same box. A dead unit is named so. Cost: see `backproject`; with check, see `cover_projections`.

    Args:
        network: that was surveyed.
        run: the survey.
        layer: whose units.
        units: see `select_units`.
        k: patches of each unit, at most.
        method: deconvnet, guided-backprop or gradient; see `default_method`.
        field: what is cut out: the effective field, see `effective_field`, in which a projection fills its tile; or the
            exact receptive field, which in deep layers is mostly empty, unless it is the whole picture.
        check: whether to cover the pixels that are shown, and measure how far the activations fall.
        seed: of units drawn at random, and of the check.
        side: of a patch on the plate, in pixels.
        watch: is told of progress; true leaves out the units that are not done yet.

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
    panels = _Panels(
        network, run, layer, k, method=method, field=field, check=check, seed=seed, side=side, notify=notes.setdefault
    )
    channels, made = select_units(run, layer, units, seed=seed), list[Panel]()
    for done, channel in enumerate(channels):
        if watch is not None and watch(Progress(done, len(channels), f"{layer}:{channel}")):
            notes.setdefault(f"stopped after {done} of {len(channels)} units")
            break
        made.append(panels.panel(channel))
    return Plate(
        network=network, layer=layer, panels=tuple(made), method=method, k=k, side=side,
        options=panels.options(units),
        seed=seed,
        cost=sum((panel.cost for panel in made), Cost(seconds=time.perf_counter() - start)),
        notes=(*_remarks(network, layer, method, made), *notes),
    )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class _Panels:
    """The options that all panels of a plate share."""

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

    def options(self, units: str | Sequence[int]) -> dict[str, Any]:
        """What was chosen, as plain values."""
        named = units if isinstance(units, str) else list(units)
        shared = {name: getattr(self, name) for name in ("k", "method", "field", "check", "side")}
        return {"survey": str(self.run.folder), "layer": self.layer, "units": named, **shared}

    def panel(self, channel: int) -> Panel:
        """The panel of one unit."""
        dead = bool(self.run.unit(self.layer, channel).get("dead", False))
        patches = strongest_patches(self.run, self.layer, channel, self.k)
        effective = self.field == "effective"
        made = backproject(self.network, self.run, patches, method=self.method, effective=effective, notify=self.notify)
        # A photograph that cannot be read is named once, when it is cut.
        notes = list(dict.fromkeys(p.note for p in made if p.note and not math.isnan(p.activation)))
        for note in notes[:1]:
            self.notify(f"{note} (and {len(notes) - 1} more of this unit)" if len(notes) > 1 else note)
        shown = [dataclasses.replace(projection.patch, box=projection.box) for projection in made]
        tiles = crops(self.run, shown, side=self.side, notify=self.notify)
        covered = cover_projections(self.network, self.run, made, seed=self.seed) if self.check else None
        return Panel(self.layer, channel, made, tiles, dead, covered)


def _remarks(network: Network, layer: str, method: ProjectionMethod, panels: Sequence[Panel]) -> tuple[str, ...]:
    """How the projections were made, and what is cut out of a picture."""
    remarks = [f"projected by {method}"]
    if method != "gradient" and not has_max_pooling(network):
        remarks[0] += f": {network.name} has no max pooling, whose switches a deconvnet needs"
    if method == "gradient" and default_method(network, layer) == "gradient":
        remarks[0] += f": no ReLU lies below {layer}"
    if any(projection.effective for panel in panels for projection in panel.projections):
        share = f"{EFFECTIVE_SHARE:.0%}"
        remarks.append(f"cut to the effective field, the square around {share} of the gradient of the activation")
    return tuple(remarks)


_GAP = 2  # between two patches, in pixels
_PAPER, _ZERO = 238, 128  # grey around a patch at the border of a picture, and around its projection
