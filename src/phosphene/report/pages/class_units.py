"""The page of a class: the units that speak for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from phosphene.core.images import drawing
from phosphene.core.images.image import Uint8Image
from phosphene.report.html import FOOTER, number, render, save
from phosphene.report.page import Bar, Column, Mosaic, Page, Section, Table, View
from phosphene.report.thumbnails import small, square
from phosphene.report.unit_charts import listed, named, plain, region
from phosphene.studies.class_units import ClassUnits, Contribution, Selective
from phosphene.studies.evidence.crops import PatchCrop

SHOWN = 3
"""Selective units of each layer that are shown by their patches; the table has them all."""

TILE = 96
"""Side of a patch on the plate, in pixels."""


@dataclasses.dataclass(frozen=True, eq=False)
class ClassReport:
    """The units that speak for a class as one offline page and one plate.

    Args:
        found: what `phosphene.studies.class_units.class_units` returned.
    """

    found: ClassUnits

    @property
    def page(self) -> Page:
        """The page, before it is drawn."""
        found = self.found
        return Page(
            f"Units for {found.name}",
            f"Measured on {found.basis}.",
            (
                ("Network", found.network.name),
                ("Class", "none of that name" if found.index is None else f"{found.index}"),
                ("Survey", f"{number(len(found.run.images['ok']))} images, {found.run.folder.name}"),
            ),
            tuple(self._sections()),
            FOOTER,
        )

    def _sections(self) -> Iterator[Section]:
        found = self.found
        if found.contributions:
            yield Section(
                "What the classifier adds up",
                f"{found.network.name} ends in the mean over the places of {found.layer} and one linear layer, so the "
                "logit is a sum: each unit gives its weight for the class times its mean. Each stands with its part "
                "of the logit and the images of the survey in which its mean is greatest; below an image is that mean.",
                mosaics=tuple(self._unit(each) for each in found.contributions),
                tables=(self._contributions(),),
            )
        for layer, units in list(found.selective.items())[::-1]:
            yield Section(
                f"Selective units of {layer}",
                mosaics=tuple(self._row(each) for each in units[:SHOWN]),
                tables=(_selective(layer, units),),
            )
        if found.notes:
            yield Section("What to bear in mind", notes=found.notes)

    def _unit(self, unit: Contribution) -> Mosaic:
        name = f"{self.found.layer}:{unit.channel}"
        return Mosaic(f"{name}, {number(unit.value, 2)}", tuple(self._view(name, shot) for shot in unit.shots), 3)

    def _row(self, unit: Selective) -> Mosaic:
        name = f"{unit.layer}:{unit.channel}"
        return Mosaic(f"{name}, {number(unit.selectivity, 2)}", tuple(self._view(name, shot) for shot in unit.shots), 3)

    def _view(self, name: str, shot: PatchCrop) -> View:
        activation, what = number(shot.patch.activation), named(self.found.run, shot.patch.image)
        return View(activation, small(shot.crop), f"{name}: {activation} in {what}, {region(shot.patch)}.")

    def _contributions(self) -> Table:
        found = self.found
        most = max(abs(each.value) for each in found.contributions) or 1.0
        rows = tuple(
            (
                f"{found.layer}:{each.channel}",
                each.weight,
                each.mean,
                Bar(max(0.0, each.value) / most, number(each.value, 2)),
            )
            for each in found.contributions
        )
        some = sum(each.value for each in found.contributions)
        told = (
            f"These {len(rows)} give {number(some, 2)} of the mean logit {number(found.logit, 2)}; the bias is "
            f"{number(found.bias, 2)}."
        )
        head = (Column("Unit"), Column("Weight"), Column("Mean"), Column("Contribution, in logits"))
        return Table("The greatest contributions", head, rows, (told,))

    def plate(self) -> Uint8Image | None:
        """The contributing units, or else the selective ones of the last layer, a row of patches each."""
        found = self.found
        last: Sequence[Contribution | Selective] = (list(found.selective.values()) or [()])[-1]
        rows = [
            drawing.label(
                drawing.grid([square(shot.crop, TILE) for shot in each.shots], len(each.shots)),
                f"{getattr(each, 'layer', found.layer)}:{each.channel}",
            )
            for each in found.contributions or last
            if each.shots
        ]
        return drawing.grid(rows, 2, gap=12) if rows else None

    def as_dict(self) -> dict[str, Any]:
        """What a manifest tells of the class."""
        found = self.found
        return {
            "class": {"name": found.name, "index": found.index},
            "basis": found.basis,
            "images": list(found.images),
            "layer": found.layer,
            "logit": found.logit,
            "bias": found.bias,
            "contributions": [self._told(each) for each in found.contributions],
            "selective": {layer: [self._told(each) for each in units] for layer, units in found.selective.items()},
            "notes": list(found.notes),
        }

    def _told(self, unit: Contribution | Selective) -> dict[str, Any]:
        return {**plain(unit._asdict()), "shots": listed(self.found.run, unit.shots)}

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
        return save(folder, self.page, {"plate.png": self.plate()}, {"class": self.found.name})


def _selective(layer: str, units: Sequence[Selective]) -> Table:
    rows = tuple(
        (
            f"{layer}:{each.channel}",
            each.mean_max,
            each.selectivity,
            each.d_prime if each.d_prime == each.d_prime else None,
        )
        for each in units
    )
    measured = f"over {units[0].images:,} image{'' if units[0].images == 1 else 's'}"
    head = (
        Column("Unit"),
        Column("Mean of the strongest answers", measured),
        Column("Selectivity", decimals=2),
        Column("d′", decimals=2),
    )
    return Table(f"The most selective units of {layer}", head, rows)
