"""The page of a class: the units that contribute to it, and those that are selective for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from phosphene.report.html import FOOTER, number
from phosphene.report.page import Bar, Column, Mosaic, Page, PageTable, Section, View
from phosphene.report.pages import page
from phosphene.report.thumbnails import small
from phosphene.report.unit_charts import box_text, image_name
from phosphene.studies.class_units import ClassUnits, Selective
from phosphene.studies.evidence.crops import PatchCrop

SHOWN = 3
"""Selective units of each layer that are shown by their patches; the table has them all."""


@page.register
def class_page(result: ClassUnits) -> Page:
    """The page of a class."""
    return Page(
        f"Units for {result.target}",
        f"Measured on {result.basis}.",
        (
            ("Network", result.network.name),
            ("Class", "none of that name" if result.index is None else f"{result.index}"),
            ("Survey", f"{number(len(result.run.images['ok']))} images, {result.run.folder.name}"),
        ),
        tuple(_sections(result)),
        FOOTER,
    )


def _sections(result: ClassUnits) -> Iterator[Section]:
    if result.contributions:
        yield Section(
            "Contributions to the logit",
            f"{result.network.name} ends in the mean over the places of {result.layer} and one linear layer, so the "
            "logit is a sum: each unit contributes its weight for the class times its mean. Each is shown with its "
            "part of the logit and the images of the survey with its largest means, given below them.",
            mosaics=tuple(
                _mosaic(result, f"{result.layer}:{unit.channel}", unit.value, unit.patches)
                for unit in result.contributions
            ),
            tables=(_contributions(result),),
        )
    for layer, units in list(result.selective.items())[::-1]:
        yield Section(
            f"Selective units of {layer}",
            mosaics=tuple(
                _mosaic(result, f"{unit.layer}:{unit.channel}", unit.selectivity, unit.patches)
                for unit in units[:SHOWN]
            ),
            tables=(_selective(layer, units),),
        )
    if result.notes:
        yield Section("Notes", notes=result.notes)


def _mosaic(result: ClassUnits, name: str, value: float, patches: Sequence[PatchCrop]) -> Mosaic:
    return Mosaic(f"{name}, {number(value, 2)}", tuple(_view(result, name, patch) for patch in patches), 3)


def _view(result: ClassUnits, name: str, cropped: PatchCrop) -> View:
    activation, image = number(cropped.patch.activation), image_name(result.run, cropped.patch.image)
    return View(activation, small(cropped.crop), f"{name}: {activation} in {image}, {box_text(cropped.patch)}.")


def _contributions(result: ClassUnits) -> PageTable:
    largest = max(abs(unit.value) for unit in result.contributions) or 1.0
    rows = tuple(
        (
            f"{result.layer}:{unit.channel}",
            unit.weight,
            unit.mean,
            Bar(max(0.0, unit.value) / largest, number(unit.value, 2)),
        )
        for unit in result.contributions
    )
    total = sum(unit.value for unit in result.contributions)
    note = (
        f"These {len(rows)} give {number(total, 2)} of the mean logit {number(result.logit, 2)}; the bias is "
        f"{number(result.bias, 2)}."
    )
    head = (Column("Unit"), Column("Weight"), Column("Mean"), Column("Contribution, in logits"))
    return PageTable("The largest contributions", head, rows, (note,))


def _selective(layer: str, units: Sequence[Selective]) -> PageTable:
    rows = tuple(
        (
            f"{layer}:{unit.channel}",
            unit.mean_max,
            unit.selectivity,
            unit.d_prime if unit.d_prime == unit.d_prime else None,
        )
        for unit in units
    )
    measured = f"over {units[0].images:,} image{'' if units[0].images == 1 else 's'}"
    head = (
        Column("Unit"),
        Column("Mean of the strongest activations", measured),
        Column("Selectivity", decimals=2),
        Column("d′", decimals=2),
    )
    return PageTable(f"The most selective units of {layer}", head, rows)
