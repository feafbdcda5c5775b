"""The page of heatmaps: every map of every picture, and what was measured of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from phosphene.attribution import Heatmap
from phosphene.core.result import Cost
from phosphene.report.comparison import HeatmapComparison, MapOfPicture, compare, seen_pixels
from phosphene.report.figures import figure, predicted, spelled
from phosphene.report.html import FOOTER
from phosphene.report.page import Figure, Page, Section, View
from phosphene.report.pages import page
from phosphene.report.plain_page import weights_text
from phosphene.report.score_charts import comparison


@page.register
def heatmap_page(result: Heatmap) -> Page:
    """The page of one heatmap."""
    return heatmaps_page(compare((result,)))


@page.register
def heatmaps_page(result: HeatmapComparison) -> Page:
    """The page of several heatmaps of one network."""
    height, width = result.heatmaps[0].images.shape[2:]
    cost = sum((heatmap.cost for heatmap in result.heatmaps), start=Cost())
    return Page(
        title=f"Which pixels matter to {_list(result.targets)}?",
        lead=_lead(result),
        facts=(
            ("Network", result.network.name),
            ("Weights", weights_text(result.network.sha256)),
            ("Input", f"{height} × {width} pixels"),
            ("Cost of the maps", str(cost)),
        ),
        sections=tuple(_sections(result)),
        footer=FOOTER,
    )


def _lead(result: HeatmapComparison) -> str:
    methods = len({spelled(heatmap.method) for heatmap in result.heatmaps})
    counts = f"{_count(methods, 'method')}, {_count(len(result.inputs), 'picture')}, 1 network."
    if methods < 2:
        return counts
    return (
        f"{counts} Where methods of different kinds agree, the answer does not depend on the method; the known "
        "weakness of each stands below its map."
    )


def _sections(result: HeatmapComparison) -> Iterator[Section]:
    several = len(result.inputs) > 1
    for number, of_picture in groupby(result.maps, key=lambda made: made.picture):
        where = f" in {result.inputs[number].name}" if several else ""
        maps = list(of_picture)
        yield _photograph(result, maps[0])
        for target, of_target in groupby(maps, key=lambda made: made.target):
            yield Section(
                f"Maps for {target}{where}",
                "Each map has a color scale of its own, given below it. Its cost comes on top of the one forward "
                "pass that maps can share.",
                tuple(
                    figure(made.heatmap, made.index, scores=made.scores, file=f"{made.stem}.npy") for made in of_target
                ),
            )
    if result.scores:
        names = [_name(result, heatmap) for heatmap in result.heatmaps]
        table = comparison(dict(zip(names, result.scores, strict=True)))
        yield Section("How reliable each map is", tables=(table,))


def _name(result: HeatmapComparison, heatmap: Heatmap) -> str:
    """The method, with target and options where they are needed to tell it from other heatmaps."""
    target = f" for {heatmap.target}" if len(result.targets) > 1 else ""
    same = [other for other in result.heatmaps if (other.name, other.target) == (heatmap.name, heatmap.target)]
    return (spelled(heatmap.method) if len(same) > 1 else heatmap.name) + target


def _photograph(result: HeatmapComparison, made: MapOfPicture) -> Section:
    name, best = result.inputs[made.picture].name, result.predicted[made.picture]
    alt = f"{name} at the size that {result.network.name} wants" + (f"; it sees {best[0].label}." if best else ".")
    shown = View("photograph", seen_pixels(made.heatmap, made.index), alt)
    return Section(
        name if len(result.inputs) > 1 else "What the network saw",
        figures=(Figure(name, (shown,)),),
        tables=(predicted(best),) if best else (),
        notes=() if best else ("The network returns no logits (N, K), so there is no best class to name.",),
    )


def _list(words: Sequence[str], most: int = 3) -> str:
    """Words with commas and "and", or how many there are."""
    *first, last = words if len(words) <= most else (f"{len(words)} targets",)
    return f"{', '.join(first)} and {last}" if first else last


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
