"""Heatmaps as a report that can be saved: page, pictures, raw values and manifest in one folder."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from importlib.metadata import version
from itertools import groupby, repeat
from pathlib import Path
from typing import Any

from phosphene.attribution import Heatmap
from phosphene.core import files
from phosphene.core.errors import OptionError
from phosphene.core.images import image
from phosphene.core.images.image import Picture, Uint8Image
from phosphene.core.networks.network import Network, Prediction
from phosphene.core.result import Cost, Manifest
from phosphene.report.figures import figure, predicted, spelled
from phosphene.report.html import render
from phosphene.report.page import Figure, Page, Section, View
from phosphene.report.scores import Scores, comparison


@dataclasses.dataclass(frozen=True, eq=False)
class Item:
    """One map of one picture: its place in the batch, the number of the picture, and what its files are called."""

    heatmap: Heatmap
    index: int
    picture: int
    stem: str
    scores: Scores | None

    @property
    def target(self) -> str:
        """As text."""
        return str(self.heatmap.target)

    @property
    def figure(self) -> Figure:
        """The map on the page."""
        return figure(self.heatmap, self.index, scores=self.scores, file=f"{self.stem}.npy")

    def save(self, folder: Path) -> Iterator[Mapping[str, Any]]:
        """Write the raw values and the overlay; tell what the manifest says of them."""
        values = self.heatmap.values[self.index].detach().cpu().numpy()
        raw = files.write_array(folder / f"{self.stem}.npy", values)
        drawn = image.save(folder / f"{self.stem}.png", self.heatmap.overlay(self.index)[0])
        where = {"layer": self.heatmap.layer, "target": self.target, "input": self.picture}
        told = {"method": self.heatmap.name, **where}
        yield {"path": raw.name, "kind": "heatmap", **told, "shape": list(values.shape), "unit": self.heatmap.unit}
        yield {"path": drawn.name, "kind": "overlay", **told}


@dataclasses.dataclass(frozen=True, eq=False)
class Report:
    """Some heatmaps, of one network, as one page. `report` makes it.

    Args:
        heatmaps: in the order in which they are shown.
        pictures: the photographs, in the order in which the heatmaps first show them.
        scores: what was measured of each heatmap, as many as there are, or none.
        title: of the page; "" for the question that the maps answer.
    """

    heatmaps: tuple[Heatmap, ...]
    pictures: tuple[Picture, ...]
    scores: tuple[Scores, ...] = ()
    title: str = ""

    @property
    def network(self) -> Network:
        """Whose decisions are explained."""
        return self.heatmaps[0].network

    @property
    def targets(self) -> tuple[str, ...]:
        """Each target once."""
        return tuple(dict.fromkeys(str(each.target) for each in self.heatmaps))

    @property
    def cost(self) -> Cost:
        """Of all maps, without the forward pass that they share."""
        return sum((each.cost for each in self.heatmaps), start=Cost())

    @cached_property
    def items(self) -> tuple[Item, ...]:
        """Every map of every picture: picture by picture, target by target."""
        numbers, stems, found = {key: i for i, key in enumerate(_seen(self.heatmaps))}, Counter[str](), []
        for heatmap, scores in zip(self.heatmaps, self.scores or repeat(None), strict=False):
            for index in range(len(heatmap.images)):
                picture = numbers[_key(_pixels(heatmap, index))]
                stem = self._stem(heatmap, picture)
                stems[stem] += 1
                again = f"~{stems[stem]}" if stems[stem] > 1 else ""
                found.append(Item(heatmap, index, picture, stem + again, scores))
        return tuple(sorted(found, key=lambda each: (each.picture, self.targets.index(each.target))))

    @cached_property
    def predictions(self) -> tuple[tuple[Prediction, ...], ...]:
        """The best classes of each picture; none where the network is no classifier. Cost: a forward pass for each."""
        first = {each.picture: each for each in reversed(self.items)}
        logits = (self.network(each.heatmap.images[each.index, None]) for _, each in sorted(first.items()))
        return tuple(self.network.top_classes(each)[0] if each.ndim == 2 else () for each in logits)

    def _stem(self, heatmap: Heatmap, picture: int) -> str:
        """By picture and target only where there are several."""
        parts = [str(picture + 1)] * (len(self.pictures) > 1) + [heatmap.name]
        return files.slug(" ".join(parts + [str(heatmap.target)] * (len(self.targets) > 1)))

    @property
    def page(self) -> Page:
        """The page, before it is drawn."""
        height, width = self.heatmaps[0].images.shape[2:]
        return Page(
            title=self.title or f"Which pixels matter to {_list(self.targets)}?",
            lead=self._lead(),
            facts=(
                ("Network", self.network.name),
                ("Weights", f"SHA-256 {self.network.sha256[:12]}…" if self.network.sha256 else "not from a file"),
                ("Input", f"{height} × {width} pixels"),
                ("Cost of the maps", str(self.cost)),
            ),
            sections=tuple(self._sections()),
            footer=f"Made by phosphene {version('phosphene')}. The file result.json beside this page tells the rest.",
        )

    def _lead(self) -> str:
        methods = len({spelled(each.method) for each in self.heatmaps})
        counts = f"{_count(methods, 'method')}, {_count(len(self.pictures), 'picture')}, 1 network."
        return counts + (
            " Where methods of different kinds agree, the answer does not hang on the method; what is known against "
            "each stands below its map."
            if methods > 1
            else ""
        )

    def _sections(self) -> Iterator[Section]:
        several = len(self.pictures) > 1
        for number, of_picture in groupby(self.items, key=lambda each: each.picture):
            where = f" in {self.pictures[number].name}" if several else ""
            maps = list(of_picture)
            yield self._photograph(maps[0])
            for target, of_target in groupby(maps, key=lambda each: each.target):
                yield Section(
                    f"Maps for {target}{where}",
                    "Each map has a color scale of its own, given below it. Its cost comes on top of the one forward "
                    "pass that maps can share.",
                    tuple(each.figure for each in of_target),
                )
        if self.scores:
            names = [self._name(each) for each in self.heatmaps]
            table = comparison(dict(zip(names, self.scores, strict=True)))
            yield Section("How far to believe each map", tables=(table,))

    def _name(self, heatmap: Heatmap) -> str:
        """A heatmap in a table: its method, with target and options where they are needed to tell it from others."""
        target = f" for {heatmap.target}" if len(self.targets) > 1 else ""
        alike = [each for each in self.heatmaps if (each.name, each.target) == (heatmap.name, heatmap.target)]
        return (spelled(heatmap.method) if len(alike) > 1 else heatmap.name) + target

    def _photograph(self, item: Item) -> Section:
        name, best = self.pictures[item.picture].name, self.predictions[item.picture]
        alt = f"{name} at the size that {self.network.name} wants" + (f"; it sees {best[0].label}." if best else ".")
        shown = View("photograph", _pixels(item.heatmap, item.index), alt)
        return Section(
            name if len(self.pictures) > 1 else "What the network saw",
            figures=(Figure(name, (shown,)),),
            tables=(predicted(best),) if best else (),
            notes=() if best else ("The network returns no logits (N, K), so there is no best class to name.",),
        )

    def html(self) -> str:
        """The page as one file of HTML."""
        return render(self.page)

    def save(self, folder: str | Path) -> Path:
        """Write index.html, the overlays as PNG, the raw maps as .npy, and result.json; return the path of the page.

        Args:
            folder: made where it is missing.

        Raises:
            OutputError: the folder cannot be written.
        """
        folder = Path(folder)
        written = [entry for each in self.items for entry in each.save(folder)]
        page = files.write(folder / "index.html", self.html())
        self._manifest([*written, {"path": page.name, "kind": "report"}]).save(folder)
        return page

    def _manifest(self, written: Sequence[Mapping[str, Any]]) -> Manifest:
        return Manifest(
            "report",
            self.network,
            self.pictures,
            {"methods": [dict(each.method.manifest()) for each in self.heatmaps]},
            ", ".join(self.targets),
            self.predictions[0],
            tuple(written),
            self.cost + Cost(forwards=len(self.pictures)),
            extra={"scores": [dataclasses.asdict(each) for each in self.scores]},
        )


def report(
    heatmaps: Heatmap | Sequence[Heatmap],
    *,
    pictures: Sequence[Picture] = (),
    scores: Sequence[Scores] = (),
    title: str = "",
) -> Report:
    """One offline page for some heatmaps: of one network, of any number of pictures, methods and targets.

    Args:
        heatmaps: what `attribute` and `attribute_all` returned.
        pictures: the photographs, in the order in which the heatmaps first show them, for their names and hashes.
        scores: what was measured of each heatmap.
        title: of the page.

    Raises:
        OptionError: nothing to show, maps of several networks, or another number of pictures or scores.

    >>> found = report(attribute(tiny, images, "goldfish", method="grad-cam"))
    >>> len(found.pictures), [item.stem for item in found.items]
    (2, ['1-grad-cam', '2-grad-cam'])
    """
    maps = (heatmaps,) if isinstance(heatmaps, Heatmap) else tuple(heatmaps)
    if not maps:
        raise OptionError("a report of nothing: give at least one heatmap, as phosphene.attribute returns it")
    networks = list(dict.fromkeys(id(each.network) for each in maps))
    if len(networks) > 1:
        raise OptionError(f"the heatmaps come from {len(networks)} networks; make a report for each")
    seen = _seen(maps)
    if len(pictures) not in {0, len(seen)}:
        raise OptionError(f"the heatmaps show {len(seen)} pictures, but {len(pictures)} were given; give each once")
    if len(scores) not in {0, len(maps)}:
        raise OptionError(f"there are {len(maps)} heatmaps and {len(scores)} scores; give one for each heatmap")
    if not pictures:
        names = ["picture"] if len(seen) == 1 else [f"picture {i + 1}" for i in range(len(seen))]
        pictures = [Picture.from_array(pixels, name) for pixels, name in zip(seen.values(), names, strict=True)]
    return Report(maps, tuple(pictures), tuple(scores), title)


def _pixels(heatmap: Heatmap, index: int) -> Uint8Image:
    """What the network saw."""
    return image.levels(heatmap.images[index])


def _key(pixels: Uint8Image) -> str:
    return files.sha256(pixels.tobytes())


def _seen(heatmaps: Sequence[Heatmap]) -> dict[str, Uint8Image]:
    """Each picture once, in the order in which the heatmaps show them."""
    shown = (_pixels(each, index) for each in heatmaps for index in range(len(each.images)))
    found: dict[str, Uint8Image] = {}
    for pixels in shown:
        found.setdefault(_key(pixels), pixels)
    return found


def _list(words: Sequence[str], most: int = 3) -> str:
    """Words in a row, or how many there are."""
    *first, last = words if len(words) <= most else (f"{len(words)} targets",)
    return f"{', '.join(first)} and {last}" if first else last


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
