"""Points by class: the scatter of a map, with its legend, in numpy and Pillow."""

from __future__ import annotations

import collections
import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from phosphene.core.errors import OptionError, did_you_mean
from phosphene.core.images.image import Uint8Image
from phosphene.core.images.palette import HUES

Floats = npt.NDArray[np.float64]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


class Mark(NamedTuple):
    """How the points of a class are drawn.

    Args:
        label: of the class, as the legend has it.
        images: how many are of it.
        color: RGB in 0 … 255.
        hollow: draw a ring, since there are more classes than colors.
    """

    label: str
    images: int
    color: tuple[int, int, int]
    hollow: bool = False


def scatter(
    coordinates: Floats,
    labels: Sequence[str] = (),
    *,
    axes: Sequence[str] = ("x", "y", "z"),
    title: str = "",
    caption: str = "",
    size: int = 1200,
    classes: Sequence[str] | None = None,
) -> Uint8Image:
    """A point for each image, colored by class; both axes have the same scale, and y points up.

    At most twelve classes have a color; the rest are grey, drawn first, and the legend says how many they are. The
    others are drawn in random order, so that no class lies above another. The name of a class is written at its middle
    where most points around are of the class. Three dimensions are three views.

    Args:
        coordinates: (N, 2 or 3); rows of NaN are left out.
        labels: (N,), "" where there is none; none at all for grey points.
        axes: a name for each dimension.
        title: one line above.
        caption: one line below the title, smaller.
        size: width and height of the points and the legend together, in pixels; each of three views is half as wide.
        classes: which ones to color; the most frequent by default, none where no class has two images.

    Raises:
        OptionError: more than twelve classes, or one that no image has.
    """
    known = np.isfinite(coordinates).all(1)
    places, names = coordinates[known], np.array(labels or [""] * len(coordinates))[known]
    marks = key(names.tolist(), classes)
    column = _legend(marks, len(set(names)), size // 5, names.tolist())
    flat = places.shape[1] == 2
    side = size - column.shape[1] if flat else size // 2
    span = float(np.ptp(places, axis=0).max()) if len(places) else 0.0
    views = [
        _panel(places[:, pair], names, marks, span=span, side=side, axes=[axes[axis] for axis in pair])
        for pair in map(list, itertools.combinations(range(places.shape[1]), 2))
    ]
    blank = np.full((side, column.shape[1], 3), 255, np.uint8)
    blank[: min(side, len(column))] = column[:side]
    return _titled(np.concatenate([*views, blank], axis=1), title, caption)


def key(names: Sequence[str], classes: Sequence[str] | None = None) -> dict[str, Mark]:
    """The marks of the classes that have one, by label: all in the order of their names, or else the most frequent.

    Args:
        names: label of each point.
        classes: which ones to mark, in which order; none by default where no class has two points.

    Raises:
        OptionError: more than twelve classes, or one that no image has.

    >>> [(mark.label, mark.images) for mark in key("bbaca").values()]
    [('a', 2), ('b', 2), ('c', 1)]
    """
    counts = collections.Counter(name for name in names if name)
    if classes is None:
        few = len(counts) <= len(_MARKS)
        chosen = sorted(counts, key=lambda name: (not few and -counts[name], name))
        return _marked(chosen, counts) if max(counts.values(), default=0) > 1 else {}
    if len(classes) > len(_MARKS):
        raise OptionError(f"{len(classes)} classes cannot be told apart by color; give at most {len(_MARKS)}")
    for name in classes:
        if name not in counts:
            raise OptionError(f"no image is of class {name!r}; {did_you_mean(name, counts)}")
    return _marked(classes, counts)


def _marked(chosen: Sequence[str], counts: Mapping[str, int]) -> dict[str, Mark]:
    return {name: Mark(name, counts[name], *mark) for name, mark in zip(chosen, _MARKS, strict=False)}


def _panel(
    places: Floats,
    names: npt.NDArray[np.str_],
    marks: dict[str, Mark],
    *,
    span: float,
    side: int,
    axes: Sequence[str],
) -> Uint8Image:
    """One view: the points, the name of each marked class at its middle, and the names of the axes."""
    margin, line = side // 20, _line(side)
    room = side - 2 * margin - line
    middle = (places.max(0) + places.min(0)) / 2 if len(places) else np.zeros(2)
    scaled = (places - middle) / (span or 1.0) * room
    spots = np.stack([scaled[:, 0], -scaled[:, 1]], 1) + (side - line) / 2 + (line, 0)
    canvas = np.full((side, side, 3), 255.0)
    radius = float(np.clip(np.sqrt(0.03 * room**2 / max(1, len(places))), 1.5, side / 130))
    unmarked = np.array([name not in marks for name in names], bool)
    order = np.random.default_rng(0).permutation(len(places))
    for index in sorted(order, key=lambda index: not unmarked[index]):
        mark = marks.get(names[index])
        _disc(canvas, spots[index], radius if mark else 0.8 * radius, mark or _REST)
    image = Image.fromarray(np.rint(canvas).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    draw.rectangle((line, 0, side - 1, side - line - 1), outline=_FRAME)
    _names(draw, spots, names, marks, line=line)
    _axes(image, axes, line)
    return np.asarray(image)


def _disc(canvas: Floats, spot: Floats, radius: float, mark: Mark) -> None:
    """Blend one disc into the canvas, its edge a shade darker, both smooth."""
    reach = int(np.ceil(radius)) + 2
    left, top = (round(float(center)) - reach for center in spot)
    window = canvas[max(0, top) : max(0, top + 2 * reach + 1), max(0, left) : max(0, left + 2 * reach + 1)]
    rows, columns = np.mgrid[: window.shape[0], : window.shape[1]]
    away = np.hypot(rows + max(0, top) - spot[1], columns + max(0, left) - spot[0])
    color = np.array(mark.color, np.float64)
    inside, edge = 255.0 if mark.hollow else color, color if mark.hollow else 0.7 * color
    rim = max(0.8, (0.45 if mark.hollow else 0.16) * radius)
    for value, extent in ((edge, radius), (inside, radius - rim)):
        cover = np.clip(extent + 0.5 - away, 0, 1)[..., None]
        window += cover * (value - window)


def _names(
    draw: ImageDraw.ImageDraw, spots: Floats, names: npt.NDArray[np.str_], marks: Mapping[str, Mark], *, line: int
) -> None:
    """The name of each class, at the point with the least total distance to the others of its class.

    Only where most of the nearest points are of the class, and where the text overlaps no other; else only the legend
    names it.
    """
    font = ImageFont.load_default(0.8 * line)
    taken: list[tuple[float, float, float, float]] = []
    for label, mark in marks.items():
        own = spots[names == label]
        some = own[:: len(own) // 500 + 1]
        middle = some[np.hypot(*(some[:, None] - some[None]).transpose(2, 0, 1)).sum(1).argmin()]
        around = np.argsort(np.hypot(*(spots - middle).T), kind="stable")[: min(10, len(own))]
        box = draw.textbbox(tuple(middle), label, font, "mm", stroke_width=3)
        clear = all(box[2] < other[0] or other[2] < box[0] or box[3] < other[1] or other[3] < box[1] for other in taken)
        if clear and len(own) > 2 and (names[around] == label).mean() > 0.5:
            dark = tuple(int(0.55 * value) for value in mark.color)
            draw.text(tuple(middle), label, dark, font, "mm", stroke_width=3, stroke_fill="white")
            taken.append(box)


def _axes(image: Image.Image, axes: Sequence[str], line: int) -> None:
    """The name of x below, and of y turned at the left."""
    font, side = ImageFont.load_default(0.65 * line), image.height
    ImageDraw.Draw(image).text(((side + line) / 2, side - line / 2), axes[0], _TEXT, font, "mm")
    strip = Image.new("RGB", (side - line, line - 1), "white")
    ImageDraw.Draw(strip).text(((side - line) / 2, line / 2), axes[1], _TEXT, font, "mm")
    image.paste(strip.transpose(Image.Transpose.ROTATE_90), (0, 0))


def _legend(marks: dict[str, Mark], classes: int, width: int, names: Sequence[str]) -> Uint8Image:
    """A line for each marked class with its count, and one for all the others."""
    marked, line = sum(mark.images for mark in marks.values()), max(22, width // 9)
    unlabeled = sum(not name for name in names)
    others = classes - len(marks) - (unlabeled > 0)
    lines = list(marks.values())
    if others:
        label = f"{others:,} {'other ' if marks else ''}class{'es' if others > 1 else ''}"
        lines.append(_REST._replace(label=label, images=len(names) - marked - unlabeled))
    if unlabeled:
        lines.append(_REST._replace(label="no class", images=unlabeled))
    canvas = np.full((line * (len(lines) + 1), width, 3), 255.0)
    for row, mark in enumerate(lines):
        _disc(canvas, np.array([0.8 * line, line * (row + 1.0)]), line / 3.6, mark)
    image = Image.fromarray(np.rint(canvas).astype(np.uint8))
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(0.62 * line)
    for row, mark in enumerate(lines):
        count = f"{mark.images:,}"
        text = _truncated(draw, mark.label, font, width - 1.9 * line - draw.textlength(count, font))
        draw.text((1.4 * line, line * (row + 1)), text, _TEXT, font, "lm")
        draw.text((width - 4, line * (row + 1)), count, _FAINT, font, "rm")
    return np.asarray(image)


def _titled(pixels: Uint8Image, title: str, caption: str) -> Uint8Image:
    if not title:
        return pixels
    line = _line(pixels.shape[0])
    image = Image.new("RGB", (pixels.shape[1], (3 if caption else 2) * line), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(0.65 * line)
    draw.text((line, line), title, "black", ImageFont.load_default(0.85 * line), "lm")
    draw.text((line, 2.1 * line), _truncated(draw, caption, font, image.width - 2 * line), _FAINT, font, "lm")
    return np.concatenate([np.asarray(image), pixels])


def _truncated(draw: ImageDraw.ImageDraw, text: str, font: Font, room: float) -> str:
    """A text cut to a width, with "…" at the end where it is too long."""
    shown = text
    while text and draw.textlength(shown, font) > room:
        text = text[:-1]
        shown = text.rstrip() + "…"
    return shown


def _line(side: int) -> int:
    """Height of a line of text beside a picture of this side, in pixels."""
    return max(18, side // 36)


# Colors that color-blind readers can tell apart, the pale one last; then rings of the darkest.
_MARKS = [
    *((tuple(HUES[hue].tolist()), False) for hue in (5, 1, 3, 6, 2, 7, 8, 4)),
    *((tuple(HUES[hue].tolist()), True) for hue in (5, 6, 3, 8)),
]
_REST = Mark("", 0, (206, 206, 206))
_FRAME, _TEXT, _FAINT = (225, 225, 225), (60, 60, 60), (130, 130, 130)
