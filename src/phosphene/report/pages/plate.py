"""The page of a plate: projections beside image patches, and the patches as a table."""

from __future__ import annotations

from phosphene.report.html import FOOTER
from phosphene.report.page import Cell, Column, Figure, Page, PageTable, Section, View
from phosphene.report.pages import page
from phosphene.report.plain_page import provenance
from phosphene.studies.plate import Plate


@page.register
def plate_page(result: Plate) -> Page:
    """The page of a plate."""
    units = ", ".join(f"{result.layer}:{panel.channel}" for panel in result.panels)
    alt = f"The strongest patches of {units}, their {result.method} projections to the left of them."
    figure = Figure(
        f"Strongest activations of {result.layer}",
        (View("plate", result.picture(), alt),),
        reading="Each unit has its projections on the left and the same patches of the photographs on the right.",
        notes=result.notes,
        wide=True,
    )
    return Page(
        f"Units of {result.layer}",
        result.lines()[0],
        provenance(result),
        (Section("Projections and patches", figures=(figure,)), Section("In numbers", tables=(_table(result),))),
        FOOTER,
    )


def _table(result: Plate) -> PageTable:
    rows: list[tuple[Cell, ...]] = []
    for panel in result.panels:
        hiding = str(panel.covering) if panel.covering else None
        strongest = panel.projections[0].patch.activation if panel.projections else None
        rows.append((f"{panel.layer}:{panel.channel}", strongest, len(panel.projections), panel.dead, hiding))
    head = ("Unit", "Strongest activation", "Patches", "Dead", "When the pixels shown are hidden")
    return PageTable("Units of the plate", tuple(map(Column, head)), tuple(rows))
