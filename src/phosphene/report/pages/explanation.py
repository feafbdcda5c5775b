"""The report of the main job: what a network makes of one picture, on one page."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from phosphene.attribution import Heatmap
from phosphene.core import files
from phosphene.core.images.image import Uint8Image, levels
from phosphene.core.images.preprocess import Box
from phosphene.core.result import Manifest
from phosphene.report.figures import figure, percent, predicted
from phosphene.report.html import FOOTER, render
from phosphene.report.page import Figure, Page, Section, View
from phosphene.report.score_charts import charts, comparison
from phosphene.report.thumbnails import thumbnail
from phosphene.studies.evidence.map_scores import MapScores
from phosphene.studies.explain import Explanation

SHOWN = 32  # channels of a layer on the page
WIDE = 640  # a photograph on the page, in pixels


@dataclasses.dataclass(frozen=True, eq=False)
class ExplanationReport:
    """An explanation as one offline page, with its pictures, raw maps and manifest beside it.

    Args:
        found: what `phosphene.explain` returned.
        seed: that it ran with, for the manifest.
    """

    found: Explanation
    seed: int = 0

    @cached_property
    def scores(self) -> dict[str, MapScores]:
        """Method → what was measured of its map."""
        found = self.found
        names = dict.fromkeys((*found.curves, *found.sanity))
        return {name: MapScores.of(found.curves.get(name), found.sanity.get(name)) for name in names}

    @property
    def page(self) -> Page:
        """The page, before it is drawn."""
        found, best = self.found, self.found.predictions[0]
        return Page(
            title=f"Why {found.target}?",
            lead=f"{found.network.name} sees {best.label} in {found.picture.name or 'this picture'} "
            f"({percent(best.probability)}). The maps show which pixels speak for {found.target}.",
            facts=(
                ("Network", found.network.name),
                ("Weights", f"SHA-256 {found.network.sha256[:12]}…" if found.network.sha256 else "not from a file"),
                (
                    "Picture",
                    f"{found.picture.path or found.picture.name}, {found.picture.width} × {found.picture.height}",
                ),
                ("Cost", str(found.cost)),
            ),
            sections=tuple(self._sections()),
            footer=FOOTER,
        )

    def _sections(self) -> Iterator[Section]:
        found = self.found
        yield Section("What the network saw", figures=(self._photograph(),), tables=(predicted(found.predictions),))
        maps = tuple(self._figure(each) for each in found.heatmaps)
        text = "Every map is raw and on a color scale of its own, given below it with its unit."
        yield Section(f"Maps for {found.target}", text, maps, notes=found.notes)
        if self.scores:
            text = "Deletion and insertion cover or show the pixels in the order of a map and watch the probability; "
            text += "sanity compares the map with that of the network when the upper half of its weights is random."
            yield Section(
                "How far to believe each map", text, charts=charts(found.curves), tables=(comparison(self.scores),)
            )
        if found.cutout is not None or found.boxes:
            yield Section("Where it is", figures=tuple(self._places()))
        yield Section(
            "What the layers respond to",
            "The strongest channels of each layer, brightest where they respond most; the scale is shared in a layer.",
            tuple(self._layers()),
        )

    def _photograph(self) -> Figure:
        found = self.found
        whole = View("photograph", self._small, f"The photograph {found.picture.name}.")
        seen = levels(found.images[0].cpu().numpy().transpose(1, 2, 0))
        crop = View("as the network saw it", seen, f"The middle of it, at the size that {found.network.name} wants.")
        return Figure(found.picture.name or "picture", (crop, whole), notes=found.picture.notes)

    @cached_property
    def _small(self) -> bytes:
        return thumbnail(self.found.picture.pixels, WIDE)

    def _figure(self, heatmap: Heatmap) -> Figure:
        file = f"{files.slug(heatmap.name)}.npy"
        return figure(heatmap, scores=self.scores.get(heatmap.name), file=file)

    def _places(self) -> Iterator[Figure]:
        found = self.found
        if found.cutout is not None and not found.cutout.notes:
            over = _over(found.cutout.rgba)
            alt = f"The thing cut out of the picture; it covers {percent(found.cutout.share)} of it."
            reading = "Sure foreground and background from the quantiles of the saliency, the rest decided by GrabCut."
            yield Figure("cut-out", (View("cut-out", over, alt),), reading=reading)
        if found.boxes:
            alt = "The photograph with a box for each map: " + "; ".join(
                f"{name}, rows {box.top:.0f} to {box.bottom:.0f}, columns {box.left:.0f} to {box.right:.0f}"
                for name, box in found.boxes.items()
            )
            scale = WIDE / max(WIDE, found.picture.width, found.picture.height)
            drawn = tuple((name, Box(*(edge * scale for edge in box))) for name, box in found.boxes.items())
            reading = "The largest connected part of each map above 20 % of its maximum."
            yield Figure("boxes", (View("boxes", self._small, alt, boxes=drawn),), reading=reading)

    def _layers(self) -> Iterator[Figure]:
        for each in self.found.activations:
            channels = each.values.shape[1]
            shown = min(SHOWN, channels)
            alt = f"{shown} of {channels} channels of {each.layer} as grey maps, the strongest first."
            facts = (("Layer", each.layer), ("Channels", f"{shown} of {channels}"), ("Cost", str(each.cost)))
            yield Figure(each.layer, (View("channels", each.grid(), alt),), facts, notes=each.notes, wide=True)

    def html(self) -> str:
        """The page as one file of HTML."""
        return render(self.page)

    def save(self, folder: str | Path) -> tuple[Path, Manifest]:
        """Write index.html, pictures as PNG, raw maps as .npy, and result.json.

        Args:
            folder: made where it is missing.

        Returns:
            the path of the page, and the manifest.

        Raises:
            OutputError: the folder cannot be written.
        """
        path, found = Path(folder), self.found
        written: list[Mapping[str, Any]] = []
        parts = [(result, "") for result in (*found.heatmaps, *((found.cutout,) if found.cutout else ()))]
        parts += [(maps, f"activations-{files.slug(maps.layer)}/") for maps in found.activations]
        for result, inner in parts:
            for file in (dataclasses.replace(file, path=f"{inner}{file.path}") for file in result.files()):
                (path / file.path).parent.mkdir(parents=True, exist_ok=True)
                file.write(path / file.path)
                written.append(file.manifest())
        page = files.write(path / "index.html", self.html())
        manifest = self._manifest([*written, {"path": page.name, "kind": "report"}])
        manifest.save(path)
        return page, manifest

    def _manifest(self, written: list[Mapping[str, Any]]) -> Manifest:
        found = self.found
        extra = {
            "boxes": {name: list(box) for name, box in found.boxes.items()},
            "scores": {name: dataclasses.asdict(each) for name, each in self.scores.items()},
            "notes": list(found.notes),
        }
        options = {"methods": [dict(each.method.manifest()) for each in found.heatmaps]}
        return Manifest(
            "explain", found.network, (found.picture,), options, str(found.target), found.predictions, tuple(written),
            found.cost, self.seed, extra=extra,
        )  # fmt: skip


def _over(rgba: Uint8Image) -> Uint8Image:
    """A cut-out over a checkered ground."""
    height, width = rgba.shape[:2]
    alpha = rgba[..., 3:] / 255.0
    rows, columns = np.mgrid[:height, :width] // 8
    checks = ((rows + columns) % 2 * 24 + 216)[..., None]
    return levels((rgba[..., :3] * alpha + checks * (1 - alpha)) / 255.0)
