"""The page of one unit: what excites it, what does not, and every number that says how far to believe it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from phosphene.core.images import drawing
from phosphene.core.images.image import Uint8Image
from phosphene.report import unit_charts
from phosphene.report.figures import percent
from phosphene.report.html import FOOTER, number, render, save
from phosphene.report.page import Facts, Mosaic, Page, Section, View
from phosphene.report.thumbnails import small, square
from phosphene.studies.evidence.crops import PatchCrop
from phosphene.studies.evidence.peaks import RANDOM
from phosphene.studies.unit_evidence import Level, UnitEvidence

TITLES = {"deconvnet": "Deconvnet", "guided-backprop": "Guided backprop", "gradient": "Gradient"}


@dataclasses.dataclass(frozen=True, eq=False)
class UnitReport:
    """The evidence of a unit as one offline page and one plate.

    Args:
        found: what `phosphene.studies.unit_evidence.unit` returned.
    """

    found: UnitEvidence

    @property
    def page(self) -> Page:
        """The page, before it is drawn."""
        found = self.found
        return Page(
            found.name,
            self._lead(),
            self._facts(),
            tuple(self._sections()),
            FOOTER,
        )

    def _lead(self) -> str:
        found, facts = self.found, self.found.facts
        images = f"{number(facts['images'])} images"
        if found.dead:
            return (
                f"This unit is dead: it answers {number(facts['max'])} at every place of all {images}. No picture "
                "excites it, so none is shown."
            )
        if not facts["images"]:
            broken = f": it was a NaN or an infinity in {_images(facts['broken'])}" if facts["broken"] else ""
            return f"No image tells what this unit answers{broken}. So none is shown."
        share = percent(facts["images_positive"] / facts["images"])
        places = percent(facts["places_positive"] / facts["places"])
        lead = f"It is above zero somewhere in {share} of {images}, and at {places} of all places."
        if found.vector:
            lead = f"It is above zero in {share} of {images}."
        if facts.get("class"):
            lead += f" It prefers {facts['class']}: selectivity {number(facts['selectivity'], 2)}, where 1 is the most."
        return lead

    def _facts(self) -> Facts:
        found, facts, network = self.found, self.found.facts, self.found.network
        place = "In an image" if found.vector else "Strongest in an image"
        numbers = {
            place: f"{number(facts['mean_max'])} ± {number(facts['std_max'])}",
            "At a place": "" if found.vector else f"{number(facts['mean'])} ± {number(facts['std'])}",
            "Range": f"{number(facts['min'])} … {number(facts['max'])}",
            "Images above zero": percent(facts["images_positive"] / max(1, facts["images"])),
            "Places above zero": "" if found.vector else percent(facts["places_positive"] / max(1, facts["places"])),
            "Dead": "yes" if found.dead else "no",
            "Broken": f"{_images(facts['broken'])} with a NaN or an infinity, not counted" if facts["broken"] else "",
        }
        return (
            ("Unit", self._unit()),
            ("Receptive field", _field(found)),
            *((term, told) for term, told in numbers.items() if told),
            ("Network", network.name),
            ("Weights", f"SHA-256 {network.sha256[:12]}…" if network.sha256 else "not from a file"),
            ("Survey", f"{_images(facts['images'])}, {found.run.folder.name}"),
            ("Cost of this page", str(found.cost)),
        )

    def _unit(self) -> str:
        found = self.found
        if found.layer == "logits":
            return f"the logit of {found.network.label(found.channel)}"
        return f"channel {found.channel} of {found.layer}, {found.network.layer(found.layer).kind}"

    def _sections(self) -> Iterator[Section]:
        found = self.found
        if found.top:
            yield Section(
                "What excites it most",
                f"Its strongest answers, in {_images(len(found.top))}, cut from the original files at {self._cut}. "
                "The same place in every grid is the same patch; the number is its activation.",
                mosaics=tuple(self._grids()),
                notes=found.notes,
            )
            yield Section("All images", _DISTRIBUTION, charts=unit_charts.charts(found))
        if len(found.classes.get("class", ())):
            yield unit_charts.classes(found)
        if found.levels:
            yield Section(
                "From least to most",
                "Images from each octave of the answers, drawn by a hash of their number: what the unit does on the "
                "way to its favorites.",
                mosaics=(Mosaic("", tuple(map(self._level, found.levels))),),
                notes=(f"The recorded activations were computed again; they differ by at most {number(found.drift)}.",),
            )
        if found.random and found.weakest:
            yield Section(
                "What it does otherwise",
                mosaics=(
                    self._row("Images at random", found.random, "Drawn at random", _RANDOM),
                    self._row("Weakest answers", found.weakest, "Weakest", _WEAKEST),
                ),
            )
        if found.top:
            yield Section("Where the patches are from", tables=(unit_charts.sources(found),))

    @property
    def _cut(self) -> str:
        whole = [shot.patch.whole for shot in self.found.top]
        exact = "the exact receptive field of the place that answers"
        if not any(whole):
            return exact
        effective = "the effective field, a box with at least 95 % of the gradient"
        if all(whole):
            return f"{effective}: the receptive field is the whole picture"
        return f"{exact}, or, where that is the whole picture, at {effective}"

    def _grids(self) -> Iterator[Mosaic]:
        found, columns = self.found, min(6, math.isqrt(len(self.found.top) - 1) + 1)
        views = tuple(self._view(f"Strongest patch {i + 1}", each) for i, each in enumerate(found.top))
        yield Mosaic("Patches", views, columns)
        for method, those in found.projections.items():
            tiles = tuple(
                View(number(each.patch.activation), small(each.picture()), f"{method} projection of patch {i + 1}.")
                for i, each in enumerate(those)
            )
            yield Mosaic(TITLES[method], tiles, columns)
        tiles = tuple(
            View(number(shot.patch.activation), small(pixels), f"Where patch {i + 1} lies in its photograph.")
            for i, (shot, pixels) in enumerate(zip(found.top, found.context, strict=True))
        )
        yield Mosaic("In context", tiles)

    def _view(self, what: str, shot: PatchCrop, label: str = "") -> View:
        patch, activation = shot.patch, number(shot.patch.activation)
        where = unit_charts.region(shot.patch)
        image = unit_charts.named(self.found.run, patch.image)
        alt = f"{what} of {self.found.name}: activation {activation}, {image}, {where}."
        return View(label or activation, small(shot.crop), alt)

    def _level(self, level: Level) -> View:
        ends = f"{number(level.low)} to {number(level.high)}".replace("−inf to", "below").replace("to inf", "and more")
        label = f"{number(level.shot.patch.activation)}\n{ends}: {_images(level.images)}"
        return self._view(f"From {ends}", level.shot, label)

    def _row(self, title: str, row: Sequence[PatchCrop], what: str, reading: str) -> Mosaic:
        return Mosaic(title, tuple(self._view(what, each) for each in row), 0, reading)

    def plate(self) -> Uint8Image | None:
        """Patches beside their projections, and below them the images at random; None for a dead unit."""
        found = self.found
        if not found.top:
            return None
        columns = math.isqrt(len(found.top) - 1) + 1
        parts = {f"{found.name} patches": [shot.crop for shot in found.top]}
        parts |= {method: [each.picture() for each in those] for method, those in found.projections.items()}
        blocks = [
            drawing.label(drawing.grid([square(each, TILE) for each in tiles], columns), name)
            for name, tiles in parts.items()
        ]
        sheet = drawing.grid(blocks, len(blocks), gap=16)
        if not found.random:
            return sheet
        side = (sheet.shape[1] + 4) // RANDOM - 4
        row = drawing.label(
            drawing.grid([square(shot.crop, side) for shot in found.random], RANDOM), "images at random"
        )
        white = np.full((sheet.shape[0] + 16 + row.shape[0], sheet.shape[1], 3), 255, np.uint8)
        white[: sheet.shape[0]], white[-row.shape[0] :, : row.shape[1]] = sheet, row
        return white

    def as_dict(self) -> dict[str, Any]:
        """What a manifest tells of the unit."""
        found = self.found
        columns = {name: column.tolist() for name, column in found.classes.items() if name not in {"layer", "channel"}}
        rows = zip(*(column[: unit_charts.CLASSES] for column in columns.values()), strict=True)
        return {
            "facts": unit_charts.plain(found.facts),
            "field": found.field and {"size": list(found.field.size), "whole": found.field.whole},
            "drift": found.drift,
            **{each: unit_charts.listed(found.run, getattr(found, each)) for each in ("top", "weakest", "random")},
            "classes": [unit_charts.plain(dict(zip(columns, row, strict=True))) for row in rows],
            "notes": list(found.notes),
        }

    def html(self) -> str:
        """The page as one file of HTML."""
        return render(self.page)

    def save(self, folder: str | Path) -> tuple[Mapping[str, Any], ...]:
        """Write index.html and plate.png; return what a manifest says of them.

        Args:
            folder: made where it is missing.

        Raises:
            OutputError: the folder cannot be written.
        """
        return save(folder, self.page, {"plate.png": self.plate()}, {"unit": self.found.name})


TILE = 112
"""Side of a patch on the plate, in pixels."""

_DISTRIBUTION = (
    "How strongly it answers in each image, and at places sampled from all maps. An octave is as wide as the next; "
    "what lies close to zero is one column."
)
_RANDOM = "Drawn uniformly, the same images for every unit of this survey, and cut where the unit answers most in each."
_WEAKEST = "Cut where the unit answers least."


def _field(found: UnitEvidence) -> str:
    height, width = found.network.preprocess.size
    if found.field is None and found.layer != "logits":
        return "not known; the whole picture is shown"
    if found.field is None or found.field.whole:
        return f"the whole picture, {height} × {width} pixels"
    rows, columns = found.field.size
    if rows >= height and columns >= width:
        return f"{rows} × {columns} pixels, cut off where the picture of {height} × {width} ends"
    seen = min(rows, height) * min(columns, width) / (height * width)
    return f"{rows} × {columns} pixels, {percent(seen)} of the picture"


def _images(count: int) -> str:
    return f"{count:,} image{'' if count == 1 else 's'}"
